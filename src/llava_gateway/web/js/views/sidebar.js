// The gateway's sessions: list, search, open, rename, delete, fork, save and import; and the page's own settings at the bottom.

import { explained } from '../failures.js';
import { asFailure } from '../api.js';
import { newChat, openedChat, openSession, rename } from '../chat/chat.js';
import { html, useLayoutEffect, useRef, useState } from '../html.js';
import { language, t } from '../i18n.js';
import { LANGUAGES } from '../i18n/languages.js';
import { Icon } from '../icons.js';
import * as prefs from '../prefs.js';
import { deleteChat, fork, pickFiles, save, sought } from '../chat/sessions.js';
import { catalogue, chat, drawer, overlay, sessions } from '../state.js';
import { focusAfterwards, useHeir } from './focus.js';
import { Menu } from './menu.js';
import { Choice } from './parts.js';
import { Found, SearchField } from './search.js';

export function Sidebar() {
  const nav = useRef(/** @type {HTMLElement|null} */ (null));
  useFocusInside(nav);
  return html`<nav ref=${nav} class="sidebar" data-open=${prefs.sidebarOpen.value} data-drawer=${drawer.value} aria-label=${t('sessions.title')}>
    <div class="sidebar-head">
      <span class="wordmark"><img src="static/icon.svg" width="24" height="24" alt="" />LLaVA Gateway</span>
      <button class="icon-button" type="button" title=${t('sidebar.close')} aria-label=${t('sidebar.close')} onClick=${closeSidebar}><${Icon} name="sidebar" /></button>
    </div>
    <button class="button new-chat" type="button" onClick=${newChat}><${Icon} name="compose" />${t('sessions.new')}</button>
    <${SearchField} />
    ${sought.value.trim() ? html`<${Found} />` : html`<${SessionList} />`}
    <div class="sidebar-foot">
      <${Choice} label=${t('language')} value=${language.value} onChoose=${(/** @type {any} */ v) => (language.value = v)}
        choices=${Object.entries(LANGUAGES).map(([value, { label, name, tag }]) => ({ value, label, title: name, lang: tag }))} />
      <${Choice} label=${t('theme')} value=${prefs.theme.value} onChoose=${(/** @type {any} */ v) => (prefs.theme.value = v)}
        choices=${[
          { value: 'system', label: t('theme.system'), icon: 'system' },
          { value: 'light', label: t('theme.light'), icon: 'sun' },
          { value: 'dark', label: t('theme.dark'), icon: 'moon' },
        ]} />
      <button class="icon-button" type="button" title=${t('shortcuts.title')} aria-label=${t('shortcuts.title')} onClick=${() => (overlay.value = 'shortcuts')}><${Icon} name="keyboard" /></button>
    </div>
  </nav>`;
}

export function openSidebar() {
  if (matchMedia('(min-width: 700px)').matches) prefs.sidebarOpen.value = true;
  else drawer.value = true;
}

/** Closes the drawer, or hides the sidebar. */
function closeSidebar() {
  if (drawer.value) drawer.value = false;
  else prefs.sidebarOpen.value = false;
}

/** The button that shows the sidebar moves the focus into it. When the sidebar is hidden, the focus returns to that button. @param {{current: HTMLElement|null}} nav */
function useFocusInside(nav) {
  const was = useRef(false);
  useLayoutEffect(() => {
    const bar = /** @type {HTMLElement} */ (nav.current);
    const focused = document.activeElement;
    const shown = bar.getClientRects().length > 0;
    // The element with the focus may be gone: the row of a deleted chat.
    const inside = bar.contains(focused) || focused === document.body;
    if (shown && focused?.matches('.sidebar-toggle')) focusAfterwards(() => bar.querySelector('.sidebar-head button'));
    if (was.current && !shown && inside) focusAfterwards(() => document.querySelector('.sidebar-toggle'));
    was.current = shown;
  }, [prefs.sidebarOpen.value, drawer.value]);
}

function SessionList() {
  // A session without turns has nothing to show, unless its first question is being answered here.
  const list = sessions.value?.filter((s) => s.turn_count || openedChat(s.id)?.running.value);
  if (!list) return html`<div class="sessions"></div>`;
  if (!list.length) return html`<div class="sessions"><p class="quiet">${t('sessions.none')}</p><${TakeIn} /></div>`;
  const today = new Date().toDateString();
  const groups = [
    { title: t('sessions.today'), rows: list.filter((s) => new Date(s.updated_at).toDateString() === today) },
    { title: t('sessions.earlier'), rows: list.filter((s) => new Date(s.updated_at).toDateString() !== today) },
  ];
  return html`<div class="sessions">
    ${groups.map(
      ({ title, rows }) =>
        rows.length > 0 &&
        html`<section key=${title} aria-label=${title}>
          <h2>${title}</h2>
          <ul>${rows.map((row) => html`<${SessionRow} key=${row.id} row=${row} />`)}</ul>
        </section>`,
    )}
    <p class="list-foot">
      <${TakeIn} />
      <button class="button small" type="button" aria-haspopup="dialog" onClick=${() => (overlay.value = 'chats')}>${t('chats.open')}</button>
    </p>
    ${catalogue.value && html`<p class="quiet">${t(catalogue.value.keep === 'sqlite' ? 'sessions.on_disk' : 'sessions.in_memory')}</p>`}
  </div>`;
}

/** The button that opens saved chats. */
const TakeIn = () =>
  html`<button class="button small take-in" type="button" onClick=${pickFiles}><${Icon} name="open" />${t('sessions.import')}</button>`;

const FORMATS = /** @type {const} */ (['zip', 'html', 'markdown', 'json']);

/** @param {{row: import('../types.js').SessionSummary}} props */
function SessionRow({ row }) {
  const [mode, setMode] = useState(/** @type {'shown'|'renaming'} */ ('shown'));
  const [failure, setFailure] = useState(/** @type {import('../api.js').Failure|null} */ (null));
  const title = row.title || openedChat(row.id)?.turns.value[0]?.prompt || t('sessions.untitled');
  const current = chat.value.id.value === row.id;
  const answering = !current && openedChat(row.id)?.running.value;
  const item = useRef(/** @type {HTMLElement|null} */ (null));
  const link = useRef(/** @type {HTMLElement|null} */ (null));
  useHeir(item, () => neighbour(link.current));

  /** @param {() => Promise<void>} work */
  async function attempt(work) {
    setFailure(null);
    setMode('shown');
    try {
      await work();
    } catch (error) {
      setFailure(asFailure(error));
    }
  }

  /** @param {string} given @param {boolean} stays */
  function endRenaming(given, stays) {
    if (stays) focusAfterwards(() => link.current);
    if (given && given !== row.title) attempt(() => rename(row.id, given));
    else setMode('shown');
  }

  if (mode === 'renaming') return html`<li><${TitleField} title=${row.title ?? ''} onDone=${endRenaming} /></li>`;
  return html`<li ref=${item} class="session" data-current=${current}>
    <a ref=${link} class="session-open" href=${`#session=${row.id}`} aria-current=${current ? 'page' : undefined} title=${title}
      onClick=${(/** @type {MouseEvent} */ event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        openSession(row.id);
      }}>${answering && html`<span class="pulse" role="img" aria-label=${t('sessions.answering')} title=${t('sessions.answering')}></span>`}<bdi>${title}</bdi>${row.temporary && html` <span class="quiet">${t('sessions.temporary')}</span>`}</a>
    <span class="session-actions">
      <${Menu} label=${t('sessions.actions_of', { title })} icon="more" items=${() => [
        { label: t('sessions.rename'), icon: 'pencil', onChoose: () => setMode('renaming') },
        { label: t('sessions.fork'), icon: 'fork', onChoose: () => void fork(row.id) },
        { label: t('sessions.delete'), icon: 'trash', onChoose: () => void attempt(() => deleteChat(row.id, title)) },
        { label: t('sessions.save') },
        ...FORMATS.map((format) => ({ label: t(`save.${format}`), hint: t(`save.${format}.about`), icon: 'save', onChoose: () => void save(row.id, format) })),
      ]} />
    </span>
    ${failure && html`<p class="session-failure" role="alert">${explained(failure).cause}</p>`}
  </li>`;
}

/** Returns the chat next to a deleted one in the list. @param {HTMLElement|null} link */
function neighbour(link) {
  const links = [...document.querySelectorAll('.session-open')];
  const at = links.findIndex((one) => one === link);
  return links[at + 1] ?? links[at - 1] ?? document.querySelector('.new-chat');
}

/** @param {{title: string, onDone: (title: string, stays: boolean) => void}} props  `stays`: the person goes nowhere else */
function TitleField({ title, onDone }) {
  const field = useRef(/** @type {HTMLInputElement|null} */ (null));
  const left = useRef(false);
  useLayoutEffect(() => field.current?.select(), []); // before the first key
  /** @param {string} given @param {boolean} stays */
  const leave = (given, stays) => {
    if (left.current) return;
    left.current = true;
    onDone(given.trim(), stays);
  };
  return html`<input ref=${field} class="field" maxlength="200" aria-label=${t('sessions.rename')} value=${title}
    onBlur=${(/** @type {any} */ event) => leave(event.currentTarget.value, false)}
    onKeyDown=${(/** @type {any} */ event) => {
      if (event.key === 'Enter' && !event.isComposing) leave(event.currentTarget.value, true);
      else if (event.key === 'Escape') {
        event.stopPropagation();
        leave('', true);
      }
    }} />`;
}
