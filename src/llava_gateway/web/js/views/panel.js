// The picture panel: a picture as it is kept, or as the model gets it, with what was done to it.

import { changesOf } from '../changes.js';
import { html, useLayoutEffect, useRef, useState } from '../html.js';
import { bytes, pixels, t } from '../i18n.js';
import { Icon } from '../icons.js';
import { model, panel } from '../state.js';
import { Choice, PictureImage } from './parts.js';

export function PicturePanel() {
  const open = panel.value;
  return open && html`<${Opened} open=${open} />`;
}

/** @param {{open: NonNullable<typeof panel.value>}} props */
function Opened({ open }) {
  const { pictures, at } = open;
  const picture = pictures[at];
  const [sent, setSent] = useState(false);
  const box = useRef(/** @type {HTMLElement|null} */ (null));
  const before = useRef(document.activeElement);
  useLayoutEffect(() => {
    box.current?.focus();
    return () => /** @type {HTMLElement|null} */ (before.current)?.focus();
  }, []);
  const close = () => (panel.value = null);
  /** @param {number} step */
  const go = (step) => {
    const next = at + step;
    if (next >= 0 && next < pictures.length) panel.value = { pictures, at: next };
  };
  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.key === 'ArrowLeft') go(-1);
    else if (event.key === 'ArrowRight') go(1);
    else if (event.key === 'Escape') {
      event.stopPropagation();
      close();
    }
  }
  const forModel = sent ? (picture.sentModel ?? model.value) : null;
  return html`<aside class="panel" ref=${box} tabindex="-1" aria-label=${t('panel.title')} onKeyDown=${onKey}>
    <div class="panel-head">
      <h2>${t('panel.number', { number: at + 1, of: pictures.length })}</h2>
      ${pictures.length > 1 &&
      html`<button class="icon-button" type="button" disabled=${at === 0} title=${t('panel.previous')} aria-label=${t('panel.previous')} onClick=${() => go(-1)}><${Icon} name="left" /></button>
        <button class="icon-button" type="button" disabled=${at === pictures.length - 1} title=${t('panel.next')} aria-label=${t('panel.next')} onClick=${() => go(1)}><${Icon} name="right" /></button>`}
      <button class="icon-button" type="button" title=${t('close')} aria-label=${t('close')} onClick=${close}><${Icon} name="close" /></button>
    </div>
    <div class="panel-picture"><${PictureImage} key=${picture.id + forModel} picture=${picture} forModel=${forModel} alt=${t('panel.alt', { number: at + 1 })} /></div>
    <${Choice} label=${t('panel.view')} value=${sent} onChoose=${setSent}
      choices=${[
        { value: false, label: t('panel.kept') },
        { value: true, label: t('panel.sent') },
      ]} />
    <p class="quiet">${sent ? t('panel.sent_about', { model: forModel ?? '' }) : t('panel.kept_about')}</p>
    <${Facts} picture=${picture} />
  </aside>`;
}

/** @param {{picture: import('../types.js').Picture}} props */
function Facts({ picture }) {
  const { name, original, sent } = picture;
  const changes = changesOf(picture);
  const rows = [
    name && [t('fact.name'), html`<bdi>${name}</bdi>`],
    original && [t('fact.original'), `${pixels(original)} · ${original.format} · ${bytes(original.bytes)}`],
    [t('fact.kept'), pixels(picture)],
    sent && [t('fact.sent'), `${pixels(sent)} · ${sent.format}${sent.tokens ? ` · ${t('picture.tokens', { count: sent.tokens })}` : ''}`],
    [t('fact.changes'), changes || t('fact.no_changes')],
  ];
  return html`<dl class="facts-list figures">
    ${rows.map((row) => row && html`<div key=${row[0]}><dt>${row[0]}</dt><dd>${row[1]}</dd></div>`)}
  </dl>`;
}
