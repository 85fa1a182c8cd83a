// The pages of a document, or the frames of an animation, to choose from.

import { html, useState } from '../html.js';
import { between, t } from '../i18n.js';
import { addPages, chooseNone, roomFor, waitingToChoose } from '../images/pictures.js';
import { catalogue } from '../state.js';
import { Dialog } from './parts.js';

/** @param {{chip: import('../images/pictures.js').Chip}} props */
export function Pages({ chip }) {
  const list = /** @type {import('../types.js').PageList} */ (chip.list);
  const there = list.pages.filter((page) => page.thumbnail);
  const most = roomFor(chip);
  const limit = catalogue.value?.limits.images_per_turn;
  const [chosen, setChosen] = useState(there.slice(0, 1).map((page) => page.number));
  /** @param {number} number */
  const toggle = (number) => setChosen(chosen.includes(number) ? chosen.filter((n) => n !== number) : [...chosen, number].sort((a, b) => a - b));
  /** @param {Event} event */
  const onSubmit = (event) => {
    event.preventDefault();
    if (chosen.length) addPages(chip, chosen);
  };
  const pages = list.field === 'pages';
  const full = chosen.length >= most;
  const about = [t(pages ? 'pages.about' : 'frames.about', { count: list.count })];
  if (list.count > list.pages.length) about.push(t(pages ? 'pages.some' : 'frames.some', { count: list.pages.length }));
  const waiting = waitingToChoose.value;
  return html`<${Dialog} title=${t(pages ? 'pages.title' : 'frames.title', { name: chip.name })} onClose=${() => chooseNone(chip)} class="sheet pages-sheet">
    <form onSubmit=${onSubmit}>
      <p class="quiet">${about.join(between())}</p>
      <ul class="pages" aria-label=${t(pages ? 'pages.label' : 'frames.label')}>
        ${list.pages.map((page) => html`<${Page} key=${page.number} page=${page} pages=${pages} first=${page === there[0]} on=${chosen.includes(page.number)} full=${full} onToggle=${toggle} />`)}
      </ul>
      <div class="pages-foot">
        <div>
          ${there.length > most && html`<p class="pages-most" data-full=${full || undefined} role="status">${t(pages ? 'pages.most' : 'frames.most', { count: most, limit })}</p>`}
          ${waiting > 0 && html`<p class="quiet">${t('pages.waiting', { count: waiting })}</p>`}
        </div>
        <button class="button main" type="submit" disabled=${!chosen.length}>${t('pages.add', { count: chosen.length })}</button>
      </div>
    </form>
  <//>`;
}

/** The focus begins at the first one. @param {{page: import('../types.js').ListedPage, pages: boolean, first: boolean, on: boolean, full: boolean, onToggle: (number: number) => void}} props */
function Page({ page, pages, first, on, full, onToggle }) {
  const { number, seconds, thumbnail } = page;
  const name = pages ? t('pages.page', { number }) : seconds === null ? t('frames.frame', { number }) : t('frames.frame_at', { number, seconds: seconds.toFixed(1) });
  const out = !thumbnail || (full && !on);
  return html`<li class="page" data-on=${on || undefined} data-out=${out || undefined}>
    <label>
      <span class="page-image">${thumbnail ? html`<img src=${thumbnail} alt="" />` : t(pages ? 'pages.unreadable' : 'frames.unreadable')}</span>
      <span class="page-name"><input type="checkbox" autofocus=${first} checked=${on} disabled=${out} onChange=${() => onToggle(number)} />${name}</span>
    </label>
  </li>`;
}
