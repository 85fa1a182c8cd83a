// The field that searches all chats, and its results.

import { html, useEffect } from '../html.js';
import { t } from '../i18n.js';
import { Icon } from '../icons.js';
import { found, openAt, sought } from '../chat/sessions.js';
import { announcement } from '../state.js';

const FIELD = 'search-chats';

/** Moves the focus to the field. */
export function goToSearch() {
  const field = /** @type {HTMLInputElement} */ (document.getElementById(FIELD));
  field.focus();
  // If the list was hidden, its field can take the focus only once it is drawn.
  if (document.activeElement !== field) requestAnimationFrame(() => setTimeout(() => field.focus()));
  field.select();
}

export function SearchField() {
  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.key === 'Escape' && sought.value) {
      event.stopPropagation();
      sought.value = '';
    } else if (event.key === 'ArrowDown') {
      event.preventDefault();
      /** @type {HTMLElement|null} */ (document.querySelector('.sessions button, .sessions a'))?.focus();
    }
  }
  return html`<div class="search" role="search">
    <${Icon} name="search" />
    <input id=${FIELD} class="search-field" type="search" maxlength="200" autocomplete="off" placeholder=${t('search.chats')} aria-label=${t('search.chats')} title=${`${t('search.chats')} (Ctrl+K)`}
      value=${sought.value} onInput=${(/** @type {any} */ event) => (sought.value = event.currentTarget.value)} onKeyDown=${onKey} />
  </div>`;
}

/** The results, shown instead of the list of chats. */
export function Found() {
  const chats = found.value;
  useEffect(() => {
    if (chats) announcement.value = chats.length ? t('search.found', { count: chats.length }) : t('search.nothing');
  }, [chats]);
  if (!chats) return html`<div class="sessions" aria-busy="true"></div>`;
  if (!chats.length) return html`<p class="sessions quiet">${t('search.nothing')}</p>`;
  return html`<div class="sessions">
    <ul>
      ${chats.map(
        (row) => html`<li key=${row.id} class="found">
          <button class="session-open" type="button" onClick=${() => openAt(row.id, null)}><bdi>${row.title || t('sessions.untitled')}</bdi></button>
          ${row.matches
            .filter((match) => match.turn !== null)
            .map(
              (match) => html`<button key=${`${match.turn}${match.in}`} class="found-match" type="button" onClick=${() => openAt(row.id, match.turn)}>
                <bdi>${match.before}<mark>${match.text}</mark>${match.after}</bdi>
              </button>`,
            )}
        </li>`,
      )}
    </ul>
  </div>`;
}
