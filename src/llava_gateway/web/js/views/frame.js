// The frame around the conversation: top bar, banners, and the overlay that shows where pictures can be dropped.

import { newChat } from '../chat/chat.js';
import { html, useLayoutEffect, useRef } from '../html.js';
import { rich, t } from '../i18n.js';
import { Icon } from '../icons.js';
import * as prefs from '../prefs.js';
import { chat, engineNews, models, overlay, pickedModel, readiness } from '../state.js';
import { PassingButton } from './focus.js';
import { openSidebar } from './sidebar.js';

export function TopBar() {
  const title = chat.value.title.value;
  return html`<header class="topbar" data-sidebar=${prefs.sidebarOpen.value}>
    <button class="icon-button sidebar-toggle" type="button" title=${t('sidebar.open')} aria-label=${t('sidebar.open')} onClick=${openSidebar}><${Icon} name="sidebar" /></button>
    ${title ? html`<h1 class="topbar-title"><bdi>${title}</bdi></h1>` : html`<p class="topbar-title"></p>`}
    <button class="icon-button topbar-new" type="button" title=${t('sessions.new')} aria-label=${t('sessions.new')} onClick=${newChat}><${Icon} name="compose" /></button>
  </header>`;
}

/** A banner about a problem or a change of the gateway or its engines; empty if there is none. */
export function Banners() {
  const now = readiness.value;
  const news = engineNews.value;
  const gone = goneModel();
  return html`<div class="banners" aria-live="polite">
    ${now === null && html`<${Banner} kind="wrong" title=${t('banner.no_gateway')}>${rich('banner.no_gateway.next')}<//>`}
    ${now && !now.ready && html`<${Banner} kind="wrong" title=${t('banner.no_engine')}>${rich(now.reason.values?.uninstalled ? 'banner.not_installed.next' : 'banner.no_engine.next')}<//>`}
    ${now?.ready &&
    news &&
    html`<${Banner} kind="news" title=${t('banner.engine_changed', { model: news.to })} onClose=${() => (engineNews.value = null)}>
      ${chat.value.turns.value.length > 0 && models.value.some((m) => m.name === news.to) && html`<button class="button small" type="button" onClick=${() => ((engineNews.value = null), (pickedModel.value = news.to))}>${t('arrival.use')}</button>`}
      ${chat.value.turns.value.length > 0 && html`<button class="button small" type="button" onClick=${() => ((engineNews.value = null), newChat())}>${t('sessions.new')}</button>`}
    <//>`}
    ${now?.ready &&
    gone &&
    html`<${Banner} kind="care" title=${t('banner.model_gone', { model: gone })}>
      <button class="button small" type="button" onClick=${() => (overlay.value = 'models')}>${t('failure.choose_model')}</button>
    <//>`}
  </div>`;
}

/** The model of the chat on screen, if no engine has it any more. */
function goneModel() {
  const name = chat.value.model.value;
  if (!name || pickedModel.value || !models.value.length) return null;
  return models.value.some((m) => m.name === name) ? null : name;
}

/** @param {{kind: 'wrong'|'care'|'news', title: string, onClose?: () => void, children?: any}} props */
function Banner({ kind, title, onClose, children }) {
  return html`<div class="banner" data-kind=${kind}>
    <p><strong>${title}</strong> ${children}</p>
    ${onClose && html`<${PassingButton} class="icon-button" title=${t('close')} aria-label=${t('close')} onClick=${onClose}><${Icon} name="close" /><//>`}
  </div>`;
}

/** The overlay also covers dialogs. */
export function DropVeil() {
  const veil = useRef(/** @type {HTMLElement|null} */ (null));
  useLayoutEffect(() => veil.current?.showPopover(), []);
  return html`<div ref=${veil} class="veil" popover="manual" aria-hidden="true">
    <p><${Icon} name="picture" />${t('drop.here')}</p>
  </div>`;
}
