// Small parts that several views share: pictures, dialogs, buttons that copy.

import { address, pathOf } from '../images/addresses.js';
import { html, useEffect, useLayoutEffect, useRef, useState } from '../html.js';
import { t } from '../i18n.js';
import { Icon } from '../icons.js';

/**
 * A picture of the gateway, or a drawing of it. It has its size before its bytes arrive, so that nothing moves. A picture that can't be shown says so.
 * @param {{picture: import('../types.js').Picture, alt: string, drawing?: {address: string|null, width: number, height: number}|null, class?: string}} props
 */
export function PictureImage({ picture, alt, drawing = null, class: name = '' }) {
  const [failed, setFailed] = useState(/** @type {string|null} */ (null));
  const source = drawing ? drawing.address : address(pathOf(picture.id));
  const size = drawing ?? picture;
  if (source && failed === source) return html`<span class="picture-gone"><${Icon} name="broken" />${t('picture.gone')}</span>`;
  const box = { '--width': size.width, '--height': size.height };
  return html`<img class=${name} src=${source ?? undefined} width=${size.width} height=${size.height} style=${box} alt=${alt} decoding="async" draggable=${false}
    onError=${() => setFailed(source)} />`;
}

/**
 * A dialog above the page: Esc, the close button and a click beside it close it.
 * @param {{title: string, onClose: () => void, class?: string, children?: any}} props
 */
export function Dialog({ title, onClose, class: name = 'sheet', children }) {
  const dialog = useRef(/** @type {HTMLDialogElement|null} */ (null));
  // A layout effect, so that the focus returns as soon as the dialog is closed.
  useLayoutEffect(() => {
    const before = /** @type {HTMLElement|null} */ (document.activeElement);
    dialog.current?.showModal();
    return () => {
      dialog.current?.close();
      before?.focus();
    };
  }, []);
  /** @param {Event} event */
  const onBackdrop = (event) => {
    if (event.target === dialog.current) onClose();
  };
  return html`<dialog ref=${dialog} class=${name} aria-label=${title} onCancel=${prevented(onClose)} onPointerDown=${onBackdrop}>
    <div class="dialog-head">
      <h2>${title}</h2>
      <button class="icon-button" type="button" aria-label=${t('close')} onClick=${onClose}><${Icon} name="close" /></button>
    </div>
    ${children}
  </dialog>`;
}

/**
 * A view whose code is loaded when it is first shown, so that the page loads faster.
 * @param {() => Promise<any>} load  gives the component
 * @param {() => void} [onFailure]  the gateway did not give it
 */
export function lazily(load, onFailure = () => {}) {
  return function Lazy(/** @type {any} */ props) {
    const [view, setView] = useState(/** @type {{View: any}|null} */ (null));
    useEffect(() => void load().then((View) => setView({ View }), onFailure), []);
    return view && html`<${view.View} ...${props} />`;
  };
}

/** @param {() => void} then */
const prevented = (then) => (/** @type {Event} */ event) => {
  event.preventDefault();
  then();
};

/** @param {{text: string, label: string, class?: string}} props */
export function CopyButton({ text, label, class: name = 'icon-button' }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return undefined;
    const timer = setTimeout(() => setDone(false), 1600);
    return () => clearTimeout(timer);
  }, [done]);
  const words = done ? t('copied') : label;
  return html`<button class=${name} type="button" title=${words} aria-label=${words} onClick=${async () => setDone(await copy(text))}>
    <${Icon} name=${done ? 'check' : 'copy'} />
  </button>`;
}

/** The clipboard API works only in secure contexts. A page over plain HTTP in a local network is not one. @param {string} text */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'for-readers';
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}

/**
 * A choice of one among a few.
 * @template T
 * @param {{label: string, value: T, choices: {value: T, label: string, icon?: any, title?: string, lang?: string}[], onChoose: (value: T) => void}} props
 */
export function Choice({ label, value, choices, onChoose }) {
  return html`<div class="choice" role="group" aria-label=${label}>
    ${choices.map(
      (choice) => html`<button type="button" key=${choice.label} aria-pressed=${choice.value === value} title=${choice.title ?? (choice.icon && choice.label)}
        aria-label=${choice.icon && choice.label} lang=${choice.lang} onClick=${() => onChoose(choice.value)}>
        ${choice.icon ? html`<${Icon} name=${choice.icon} />` : choice.label}
      </button>`,
    )}
  </div>`;
}

/** Draws again every quarter of a second, for texts about elapsed time. @returns {number} performance.now() */
export function useClock() {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 250);
    return () => clearInterval(timer);
  }, []);
  return now;
}
