// The sessions on the gateway: list, open, rename, delete; and the page's own settings at its foot.

import { explained } from '../failures.js';
import { asFailure, forget, newChat, openedChat, openSession, rename } from '../chat.js';
import { html, useLayoutEffect, useRef, useState } from '../html.js';
import { language, t } from '../i18n.js';
import { Icon } from '../icons.js';
import * as prefs from '../prefs.js';
import { chat, drawer, overlay, sessions } from '../state.js';
import { Choice } from './parts.js';

export function Sidebar() {
  return html`<nav class="sidebar" data-open=${prefs.sidebarOpen.value} data-drawer=${drawer.value} aria-label=${t('sessions.title')}>
    <div class="sidebar-head">
      <span class="wordmark"><img src="static/icon.svg" width="24" height="24" alt="" />LLaVA Gateway</span>
      <button class="icon-button" type="button" title=${t('sidebar.close')} aria-label=${t('sidebar.close')} onClick=${closeSidebar}><${Icon} name="sidebar" /></button>
    </div>
    <button class="button new-chat" type="button" onClick=${newChat}><${Icon} name="compose" />${t('sessions.new')}</button>
    <${SessionList} />
    <div class="sidebar-foot">
      <${Choice} label=${t('language')} value=${language.value} onChoose=${(/** @type {any} */ v) => (language.value = v)}
        choices=${[
          { value: 'en', label: 'EN', title: 'English', lang: 'en' },
          { value: 'zh', label: '中文', lang: 'zh' },
        ]} />
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

/** Closes the drawer, or folds the sidebar away. */
export function closeSidebar() {
  if (drawer.value) drawer.value = false;
  else prefs.sidebarOpen.value = false;
}

function SessionList() {
  // A session without a turn has nothing to show, unless its first question is being answered here.
  const list = sessions.value?.filter((s) => s.turn_count || openedChat(s.id)?.running.value);
  if (!list) return html`<div class="sessions"></div>`;
  if (!list.length) return html`<p class="sessions quiet">${t('sessions.none')}</p>`;
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
    <p class="quiet">${t('sessions.kept')}</p>
  </div>`;
}

/** @param {{row: import('../types.js').SessionSummary}} props */
function SessionRow({ row }) {
  const [mode, setMode] = useState(/** @type {'shown'|'renaming'|'deleting'} */ ('shown'));
  const [failure, setFailure] = useState(/** @type {import('../api.js').Failure|null} */ (null));
  const title = row.title || openedChat(row.id)?.turns.value[0]?.prompt || t('sessions.untitled');
  const current = chat.value.id.value === row.id;

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

  if (mode === 'renaming') return html`<li><${TitleField} title=${row.title ?? ''} onDone=${(/** @type {string} */ given) =>
    given && given !== row.title ? attempt(() => rename(row.id, given)) : setMode('shown')} /></li>`;
  if (mode === 'deleting')
    return html`<li class="session-question" role="group" aria-label=${t('sessions.delete_question')}>
      <p>${t('sessions.delete_question')}</p>
      <button class="button small grave" type="button" ref=${focused} onClick=${() => attempt(() => forget(row.id))}>${t('sessions.delete')}</button>
      <button class="button small" type="button" onClick=${() => setMode('shown')}>${t('sessions.keep')}</button>
    </li>`;
  return html`<li class="session" data-current=${current}>
    <a class="session-open" href=${`#session=${row.id}`} aria-current=${current ? 'page' : undefined} title=${title}
      onClick=${(/** @type {MouseEvent} */ event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        openSession(row.id);
      }}><bdi>${title}</bdi></a>
    <span class="session-actions">
      <button class="icon-button" type="button" title=${t('sessions.rename')} aria-label=${t('sessions.rename_named', { title })} onClick=${() => setMode('renaming')}><${Icon} name="pencil" /></button>
      <button class="icon-button" type="button" title=${t('sessions.delete')} aria-label=${t('sessions.delete_named', { title })} onClick=${() => setMode('deleting')}><${Icon} name="trash" /></button>
    </span>
    ${failure && html`<p class="session-failure" role="alert">${explained(failure).cause}</p>`}
  </li>`;
}

/** @param {HTMLElement|null} element */
const focused = (element) => element?.focus();

/** @param {{title: string, onDone: (title: string) => void}} props */
function TitleField({ title, onDone }) {
  const field = useRef(/** @type {HTMLInputElement|null} */ (null));
  const left = useRef(false);
  useLayoutEffect(() => field.current?.select(), []); // before the first key
  /** @param {string} given */
  const leave = (given) => {
    if (left.current) return;
    left.current = true;
    onDone(given.trim());
  };
  return html`<input ref=${field} class="field" maxlength="200" aria-label=${t('sessions.rename')} value=${title}
    onBlur=${(/** @type {any} */ event) => leave(event.currentTarget.value)}
    onKeyDown=${(/** @type {any} */ event) => {
      if (event.key === 'Enter' && !event.isComposing) leave(event.currentTarget.value);
      else if (event.key === 'Escape') {
        event.stopPropagation();
        leave('');
      }
    }} />`;
}
