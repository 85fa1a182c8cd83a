// The pages of a document, or the frames of an animation, to choose from.

import { html, useState } from '../html.js';
import { t } from '../i18n.js';
import { addPages, roomLeft } from '../images/pictures.js';
import { choosing } from '../images/documents.js';
import { overlay } from '../state.js';
import { Dialog } from './parts.js';

const close = () => {
  overlay.value = null;
  choosing.value = null;
};

export function Pages() {
  const { source, list, draft, replaces } = /** @type {NonNullable<typeof choosing.value>} */ (choosing.value);
  const there = list.pages.filter((page) => page.thumbnail);
  const most = roomLeft(draft) + (replaces === null ? 0 : 1);
  const [chosen, setChosen] = useState(/** @type {number[]} */ (there.slice(0, Math.min(1, most)).map((page) => page.number)));
  /** @param {number} number */
  const toggle = (number) => setChosen(chosen.includes(number) ? chosen.filter((n) => n !== number) : [...chosen, number].sort((a, b) => a - b));
  function add() {
    addPages(source, list, chosen, draft, replaces);
    close();
  }
  /** @param {Event} event */
  const onSubmit = (event) => {
    event.preventDefault();
    if (chosen.length) add();
  };
  const full = chosen.length >= most;
  return html`<${Dialog} title=${t(list.field === 'pages' ? 'pages.title' : 'pages.title_frames', { name: source.name })} onClose=${close} class="sheet pages-sheet">
    <form onSubmit=${onSubmit}>
      <p class="quiet">${t(list.field === 'pages' ? 'pages.about' : 'pages.about_frames', { count: list.count })}</p>
      <ul class="pages" aria-label=${t('pages.label')}>
        ${list.pages.map((page) => html`<${Page} key=${page.number} page=${page} field=${list.field} on=${chosen.includes(page.number)} full=${full} onToggle=${toggle} />`)}
      </ul>
      ${list.field === 'pages' && list.count > list.pages.length && html`<p class="quiet">${t('pages.first', { count: list.pages.length })}</p>`}
      <div class="pages-foot">
      ${full && html`<p class="quiet" role="status">${t('pages.most', { count: most })}</p>`}
      <p><button class="button main" type="submit" disabled=${!chosen.length}>${t('pages.add', { count: chosen.length })}</button></p>
      </div>
    </form>
  <//>`;
}

/** @param {{page: import('../types.js').ListedPage, field: 'pages'|'frames', on: boolean, full: boolean, onToggle: (number: number) => void}} props */
function Page({ page, field, on, full, onToggle }) {
  const { number, seconds, thumbnail } = page;
  const name = field === 'pages' ? t('pages.page', { number }) : t('pages.frame', { number, seconds: (seconds ?? 0).toFixed(1) });
  return html`<li class="page" data-on=${on || undefined}>
    <label>
      <span class="page-image">${thumbnail ? html`<img src=${thumbnail} alt="" />` : t('pages.unreadable')}</span>
      <span class="page-name"><input type="checkbox" checked=${on} disabled=${!thumbnail || (full && !on)} onChange=${() => onToggle(number)} />${name}</span>
    </label>
  </li>`;
}
