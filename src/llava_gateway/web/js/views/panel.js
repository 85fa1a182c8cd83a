// The picture panel: a picture as it is kept, or as a model sees it, with its changes, token count and options.

import { asFailure } from '../api.js';
import { explained } from '../failures.js';
import { beside, gallery, hungAt, lookCloser, setDetail, setPinned } from '../images/gallery.js';
import { html, useLayoutEffect, useRef, useState } from '../html.js';
import { bytes, pixels, t } from '../i18n.js';
import { Icon } from '../icons.js';
import { drawing, seen, usualDetail } from '../images/seen.js';
import { changesOf, said, stepsOf } from '../notes.js';
import { panel } from '../state.js';
import { PartFrame } from './part.js';
import { Choice, PictureImage } from './parts.js';

/** @typedef {import('../images/gallery.js').Hung} Hung */

const DETAILS = /** @type {const} */ (['auto', 'low', 'high']);

export function PicturePanel() {
  const hung = hungAt(panel.value);
  return hung && html`<${Opened} hung=${hung} />`;
}

/** @param {{hung: Hung}} props */
function Opened({ hung }) {
  const { at, picture, number: shownNumber } = hung;
  const [asModel, setAsModel] = useState(false);
  const box = useRef(/** @type {HTMLElement|null} */ (null));
  const before = useRef(document.activeElement);
  useLayoutEffect(() => {
    box.current?.focus();
    return () => /** @type {HTMLElement|null} */ (before.current)?.focus();
  }, []);
  const told = seen(picture, hung.model);
  const shown = asModel && told ? { ...told.drawing, address: drawing(picture, hung.model) } : null;
  const [previous, next] = [beside(at, -1), beside(at, 1)];
  const close = () => (panel.value = null);
  /** @param {Hung|null} to */
  const go = (to) => {
    if (to) panel.value = to.at;
  };
  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.key === 'ArrowLeft') go(previous);
    else if (event.key === 'ArrowRight') go(next);
    else if (event.key === 'Escape') {
      event.stopPropagation();
      close();
    }
  }
  return html`<aside class="panel" ref=${box} tabindex="-1" aria-label=${t('panel.title')} onKeyDown=${onKey} ...${swipedAway(close)}>
    <div class="panel-head">
      <h2>${t('panel.number', { number: shownNumber, of: Math.max(...gallery.value.map((each) => each.number)) })}</h2>
      ${(previous || next) &&
      html`<button class="icon-button" type="button" disabled=${!previous} title=${t('panel.previous')} aria-label=${t('panel.previous')} onClick=${() => go(previous)}><${Icon} name="left" /></button>
        <button class="icon-button" type="button" disabled=${!next} title=${t('panel.next')} aria-label=${t('panel.next')} onClick=${() => go(next)}><${Icon} name="right" /></button>`}
      <button class="icon-button" type="button" title=${t('close')} aria-label=${t('close')} onClick=${close}><${Icon} name="close" /></button>
    </div>
    <button class="panel-picture" type="button" aria-label=${t('chip.closer')} title=${t('chip.closer')} onClick=${() => lookCloser(at)}>
      <span class="framed">
        <${PictureImage} key=${picture.id + Boolean(shown)} picture=${picture} drawing=${shown} alt=${t(shown ? 'lightbox.seen_alt' : 'panel.alt', { number: shownNumber })} />
        ${picture.region && !shown && html`<${PartFrame} region=${picture.region} />`}
      </span>
    </button>
    <${Choice} label=${t('panel.view')} value=${asModel} onChoose=${setAsModel}
      choices=${[
        { value: false, label: t('panel.kept') },
        { value: true, label: t('panel.sent') },
      ]} />
    <${About} hung=${hung} told=${told} asModel=${asModel} />
    <${Wishes} hung=${hung} />
    <${Facts} picture=${picture} told=${told} />
    ${told && html`<${Steps} picture=${picture} told=${told} />`}
  </aside>`;
}

/** The shown picture. @param {{hung: Hung, told: import('../types.js').Seen|null, asModel: boolean}} props */
function About({ hung, told, asModel }) {
  if (!asModel) return html`<p class="quiet">${t('panel.kept_about')}</p>`;
  if (!told) return html`<p class="quiet">${t('panel.unseen', { model: hung.model ?? '' })}</p>`;
  return html`<p class="quiet">${t('panel.sent_about', { model: told.model })}</p>
    <p class="quiet">${t('lightbox.legend')}</p>`;
}

/** Pixels that a finger slides to the right to close the panel. */
const SWIPE = 80;
let from = /** @type {{x: number, y: number}|null} */ (null);

/** @param {() => void} close */
const swipedAway = (close) => ({
  /** @param {PointerEvent} event */
  onPointerDown(event) {
    from = event.pointerType === 'touch' ? { x: event.clientX, y: event.clientY } : null;
  },
  /** @param {PointerEvent} event */
  onPointerUp(event) {
    if (from && event.clientX - from.x > SWIPE && event.clientX - from.x > 2 * Math.abs(event.clientY - from.y)) close();
    from = null;
  },
});

/** The picture's options: detail, pin, and the part to ask about. @param {{hung: Hung}} props */
function Wishes({ hung }) {
  const { at, picture } = hung;
  const [failed, setFailed] = useState(/** @type {{at: number, failure: import('../api.js').Failure}|null} */ (null));
  /** @param {Promise<void>} wish */
  const tell = (wish) =>
    wish.then(
      () => setFailed(null),
      (error) => setFailed({ at, failure: asFailure(error) }),
    );
  /** @param {Event & {currentTarget: HTMLInputElement}} event */
  async function pin({ currentTarget: box }) {
    await tell(setPinned(hung, box.checked));
    // The box shows the stored value, not the pressed one; the panel may show another picture by now.
    box.checked = Boolean(hungAt(panel.value)?.picture.pinned);
  }
  return html`<div class="panel-wishes">
    <button class="button small" type="button" onClick=${() => lookCloser(at, true)}><${Icon} name="crop" />${t('chip.pick')}</button>
    <label class="panel-pin" title=${t('pin.about')}>
      <input type="checkbox" checked=${Boolean(picture.pinned)} onChange=${pin} />${t('chip.pin')}
    </label>
    <div class="panel-detail"><span class="quiet">${t('panel.detail')}</span>
      <${Choice} label=${t('panel.detail')} value=${picture.detail ?? usualDetail.value} onChoose=${(/** @type {import('../types.js').Detail} */ v) => tell(setDetail(hung, v))}
        choices=${DETAILS.map((value) => ({ value, label: t(`detail.${value}`), title: t(`detail.${value}.about`) }))} />
    </div>
    ${failed?.at === at && html`<p class="option-failure" role="alert">${explained(failed.failure).cause}</p>`}
    ${hung.chip === null && html`<p class="quiet">${t('panel.from_now')}</p>`}
  </div>`;
}

/** @param {{picture: import('../types.js').Picture, told: import('../types.js').Seen|null}} props */
function Facts({ picture, told }) {
  const { name, original } = picture;
  const rows = [
    name && [t('fact.name'), html`<bdi>${name}</bdi>`],
    original && [t('fact.original'), `${pixels(original)} · ${original.format} · ${bytes(original.bytes)}`],
    [t('fact.kept'), pixels(picture)],
    (told || picture.sent) && [t('fact.sent'), sentWords(picture, told)],
    !told && [t('fact.changes'), changesOf(picture) || t('fact.no_changes')],
  ];
  return html`<dl class="facts-list figures">
    ${rows.map((row) => row && html`<div key=${row[0]}><dt>${row[0]}</dt><dd>${row[1]}</dd></div>`)}
  </dl>`;
}

/** @param {import('../types.js').Picture} picture @param {import('../types.js').Seen|null} told */
function sentWords({ sent }, told) {
  const largest = told ? told.pieces.reduce((a, b) => (b.width * b.height > a.width * a.height ? b : a)) : sent;
  if (!largest) return '';
  const count = told?.pieces.length ?? 1;
  const tokens = told ? told.tokens : largest.tokens;
  const facts = [count > 1 && `${t('fact.files', { count })}`, pixels(largest), largest.format, tokens && t('picture.tokens', { count: tokens }), told && t(`label.${told.label}`)];
  return facts.filter(Boolean).join(' · ');
}

/** The steps from the file to the tokens. @param {{picture: import('../types.js').Picture, told: import('../types.js').Seen}} props */
function Steps({ picture, told }) {
  return html`<h3 class="option-title">${t('panel.steps')}</h3>
    <ol class="steps figures">${stepsOf(picture, told).map((step, i) => html`<li key=${i}>${step}</li>`)}</ol>
    ${told.notes.map(said).map((words) => html`<p class="quiet" key=${words}><${Icon} name="warning" />${words}</p>`)}`;
}
