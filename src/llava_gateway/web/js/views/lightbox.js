// The lightbox: a picture as large as the window, as it is or as a model sees it, to zoom, move and go to the others, and to pick a part.

import { askAbout, beside, gallery, hungAt } from '../images/gallery.js';
import { html, useEffect, useLayoutEffect, useRef, useState } from '../html.js';
import { number, pixels, t } from '../i18n.js';
import { Icon } from '../icons.js';
import { drawing, seen } from '../images/seen.js';
import { lightbox } from '../state.js';
import { PartFrame } from './part.js';
import { Choice, PictureImage } from './parts.js';
import { MIDDLE, RegionPicker } from './region.js';
import { useZoom, ZOOM_STEP } from './zooming.js';

/** @typedef {import('../images/gallery.js').Hung} Hung */

const MOVE = 60;

export function Lightbox() {
  const open = lightbox.value;
  const hung = hungAt(open?.at);
  return open && hung && html`<${Opened} hung=${hung} picking=${open.picking} />`;
}

/** @param {{hung: Hung, picking: boolean}} props */
function Opened({ hung, picking }) {
  const { at, picture, number: shownNumber } = hung;
  const dialog = useRef(/** @type {HTMLDialogElement|null} */ (null));
  const [asModel, setAsModel] = useState(false);
  const [region, setRegion] = useState(picture.region ?? MIDDLE);
  const told = seen(picture, hung.model);
  const drawn = asModel && !picking ? told : null;
  const shown = drawn ? { ...drawn.drawing, address: drawing(picture, hung.model) } : null;
  const size = shown ?? picture;
  const zoom = useZoom(size, `${at} ${Boolean(shown)}`, (step) => go(step));

  useLayoutEffect(() => {
    const before = /** @type {HTMLElement|null} */ (document.activeElement);
    dialog.current?.showModal();
    if (!picking) dialog.current?.focus();
    return () => {
      dialog.current?.close();
      before?.focus();
    };
  }, []);
  useEffect(() => setRegion(picture.region ?? MIDDLE), [picture.id]);

  const close = () => (lightbox.value = null);
  /** @param {boolean} wanted */
  const pick = (wanted) => (lightbox.value = { at, picking: wanted });
  const ask = () => askAbout(hung, region);
  /** The next picture; none while a part of this one is picked, because the part would be lost. @param {1|-1} step */
  const to = (step) => (picking ? null : beside(at, step));
  /** @param {1|-1} step */
  function go(step) {
    const next = to(step);
    if (next) lightbox.value = { at: next.at, picking: false };
  }
  /** @param {Event} event */
  function onCancel(event) {
    event.preventDefault();
    if (picking) pick(false);
    else close();
  }
  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [dx, dy] = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
    if (event.shiftKey && (dx || dy)) zoom.moveBy(dx * MOVE, dy * MOVE);
    else if (dx) go(dx < 0 ? 1 : -1);
    else if (event.key === '+' || event.key === '=') zoom.zoomBy(ZOOM_STEP);
    else if (event.key === '-') zoom.zoomBy(1 / ZOOM_STEP);
    else if (event.key === '0') zoom.fit();
    else return;
    event.preventDefault();
  }

  const { place } = zoom;
  const lying = { width: `${size.width * place.scale}px`, height: `${size.height * place.scale}px`, transform: `translate(${place.x}px, ${place.y}px)` };
  const title = t('panel.number', { number: shownNumber, of: Math.max(...gallery.value.map((each) => each.number)) });
  return html`<dialog ref=${dialog} class="lightbox" tabindex="-1" aria-label=${title} onCancel=${onCancel} onKeyDown=${onKey}>
    <div class="lightbox-head">
      <h2>${title} ${picture.name && html`<bdi class="quiet">${picture.name}</bdi>`}</h2>
      <${Choice} label=${t('panel.view')} value=${asModel && !picking} onChoose=${(/** @type {boolean} */ v) => (pick(false), setAsModel(v))}
        choices=${[
          { value: false, label: t('panel.kept') },
          { value: true, label: t('panel.sent') },
        ]} />
      <div class="lightbox-tools">
        <${Tool} icon="zoomout" label=${t('lightbox.smaller')} disabled=${zoom.isFitted} onClick=${() => zoom.zoomBy(1 / ZOOM_STEP)} />
        <output class="figures" aria-label=${t('lightbox.scale')}>${number(place.scale, { style: 'percent' })}</output>
        <${Tool} icon="zoomin" label=${t('lightbox.larger')} onClick=${() => zoom.zoomBy(ZOOM_STEP)} />
        <${Tool} icon="fit" label=${t('lightbox.fit')} disabled=${zoom.isFitted} onClick=${zoom.fit} />
        <${Tool} icon="crop" label=${t('chip.pick')} pressed=${picking} onClick=${() => pick(!picking)} />
        <${Tool} icon="close" label=${t('close')} onClick=${close} />
      </div>
    </div>
    <div ref=${zoom.stage} class="lightbox-stage" data-zoomed=${!zoom.isFitted} ...${zoom.handlers}>
      <div class="lightbox-picture" style=${lying}>
        <${PictureImage} key=${picture.id + Boolean(shown)} picture=${picture} drawing=${shown} alt=${t(shown ? 'lightbox.seen_alt' : 'panel.alt', { number: shownNumber })} />
        ${picking && html`<${RegionPicker} region=${region} onChange=${setRegion} onAsk=${ask} />`}
        ${!picking && !shown && picture.region && html`<${PartFrame} region=${picture.region} />`}
      </div>
      ${to(-1) && html`<${Tool} class="icon-button lightbox-side before" icon="left" label=${t('panel.previous')} onClick=${() => go(-1)} />`}
      ${to(1) && html`<${Tool} class="icon-button lightbox-side after" icon="right" label=${t('panel.next')} onClick=${() => go(1)} />`}
    </div>
    <div class="lightbox-foot figures">
      ${picking
        ? html`<p role="status">${t('region.size', { pixels: pixels(partSize(picture, region)) })} <span id="region-keys" class="quiet">${t('region.keys')}</span></p>
            <button class="button" type="button" onClick=${() => pick(false)}>${t('region.cancel')}</button>
            <button class="button main" type="button" onClick=${ask}>${t('region.ask')}</button>`
        : html`<p class="lightbox-caption quiet">${caption(hung, told, asModel)}</p>`}
    </div>
  </dialog>`;
}

/** @param {{icon: any, label: string, onClick: () => void, disabled?: boolean, pressed?: boolean, class?: string}} props */
function Tool({ icon, label, onClick, disabled, pressed, class: name = 'icon-button' }) {
  return html`<button class=${name} type="button" title=${label} aria-label=${label} aria-pressed=${pressed} disabled=${disabled} onClick=${onClick}><${Icon} name=${icon} /></button>`;
}

/** @param {import('../types.js').Picture} picture @param {import('../types.js').Region} region */
const partSize = (picture, region) => ({ width: Math.round(picture.width * region[2]), height: Math.round(picture.height * region[3]) });

/** Describes the shown picture in one line. @param {Hung} hung @param {import('../types.js').Seen|null} told @param {boolean} asModel */
function caption(hung, told, asModel) {
  if (!asModel) return [pixels(hung.picture), told?.tokens && t('picture.tokens', { count: told.tokens })].filter(Boolean).join(' · ');
  if (!told) return t('panel.unseen', { model: hung.model ?? '' });
  const files = t('fact.files', { count: told.pieces.length });
  const facts = [told.model, files, told.tokens && t('picture.tokens', { count: told.tokens })].filter(Boolean).join(' · ');
  return html`<span>${facts}</span> <span>${t('lightbox.legend')}</span>`;
}
