// The whole page, and everything that works anywhere on it: drop, paste, shortcuts.

import { stepHere } from '../chat/branches.js';
import { stop } from '../chat/chat.js';
import { endEditing } from '../chat/drafts.js';
import { html, useEffect, useState } from '../html.js';
import { t } from '../i18n.js';
import { takeTransfer } from '../images/intake.js';
import { choosing } from '../images/pictures.js';
import { announcement, chat, drawer, lightbox, overlay, panel } from '../state.js';
import { Composer } from './composer.js';
import { Overlays } from './dialogs.js';
import { Banners, DropVeil, TopBar } from './frame.js';
import { Lightbox } from './lightbox.js';
import { PicturePanel } from './panel.js';
import { goToSearch } from './search.js';
import { openSidebar, Sidebar } from './sidebar.js';
import { ChatFailure, Thread } from './thread.js';
import { Toasts } from './toasts.js';

export function App() {
  const dragging = useDrop();
  usePaste();
  useShortcuts();
  const title = chat.value?.title.value;
  useEffect(() => {
    document.title = title ? `${title} · LLaVA Gateway` : 'LLaVA Gateway';
  }, [title]);
  if (!chat.value) return null;
  return html`<div class="app">
    <${Sidebar} />
    ${drawer.value && html`<button class="drawer-scrim" type="button" tabindex="-1" aria-label=${t('sidebar.close')} onClick=${() => (drawer.value = false)}></button>`}
    <main class="conversation" inert=${drawer.value}>
      <${TopBar} />
      <${Banners} />
      <${Thread} />
      <${ChatFailure} />
      <${Composer} />
    </main>
    <${PicturePanel} />
    <${Lightbox} />
    <${Overlays} />
    ${dragging && html`<${DropVeil} />`}
    <${Toasts} />
    <p class="for-readers" role="status" aria-live="polite">${announcement.value}</p>
  </div>`;
}

const words = () => /** @type {HTMLTextAreaElement|null} */ (document.getElementById('words'));

/** Text that is dragged into a text field goes there. @param {DragEvent} event */
function isWords({ dataTransfer, target }) {
  const types = dataTransfer?.types ?? [];
  const field = target instanceof HTMLElement && target.matches('input, textarea');
  return field && types.includes('text/plain') && !types.includes('Files') && !types.includes('text/uri-list');
}

/** Handles drops anywhere on the page. Returns whether something is being dragged over it. */
function useDrop() {
  const [dragging, setDragging] = useState(false);
  useEffect(() => {
    // Every element that is entered is also left, so the count is zero when the page is left.
    let inside = 0;
    /** @param {number} step */
    const count = (step) => (/** @type {DragEvent} */ event) => {
      if (isWords(event)) return;
      event.preventDefault();
      inside = Math.max(0, inside + step);
      setDragging(inside > 0);
    };
    const handlers = {
      dragenter: count(1),
      dragleave: count(-1),
      dragover: (/** @type {DragEvent} */ event) => isWords(event) || event.preventDefault(),
      drop(/** @type {DragEvent} */ event) {
        if (isWords(event)) return;
        event.preventDefault();
        inside = 0;
        setDragging(false);
        if (event.dataTransfer) takeTransfer(event.dataTransfer);
        words()?.focus();
      },
    };
    return listen(document, handlers);
  }, []);
  return dragging;
}

function usePaste() {
  useEffect(
    () =>
      listen(document, {
        paste(/** @type {ClipboardEvent} */ event) {
          const data = event.clipboardData;
          const target = /** @type {HTMLElement} */ (event.target);
          if (!data || (target.matches('input, textarea') && target.id !== 'words' && !data.files.length)) return;
          // Copied cells and paragraphs come as text and as a picture of the text. The text is meant.
          if (data.getData('text/plain')) {
            if (target.id !== 'words') words()?.focus();
          } else if (takeTransfer(data)) {
            event.preventDefault();
            words()?.focus();
          }
        },
      }),
    [],
  );
}

function useShortcuts() {
  useEffect(
    () =>
      listen(document, {
        keydown(/** @type {KeyboardEvent} */ event) {
          if (event.defaultPrevented || event.isComposing || overlay.value || lightbox.value || choosing.value) return;
          const typing = /** @type {HTMLElement} */ (event.target).matches('input, textarea, select');
          if (event.key.toLowerCase() === 'k' && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
            event.preventDefault();
            openSidebar();
            goToSearch();
          } else if (event.key === 'Escape') escape();
          else if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
          else if (event.key === '/') {
            event.preventDefault();
            words()?.focus();
          } else if (event.key === '[') stepHere(-1);
          else if (event.key === ']') stepHere(1);
          else if (event.key === '?') overlay.value = 'shortcuts';
        },
      }),
    [],
  );
}

/** Esc closes the top layer, else stops the answer. */
function escape() {
  if (drawer.value) drawer.value = false;
  else if (panel.value) panel.value = null;
  else if (chat.value.running.value) stop();
  else endEditing();
}

/** @param {EventTarget} target @param {Record<string, (event: any) => void>} handlers */
function listen(target, handlers) {
  for (const [name, handler] of Object.entries(handlers)) target.addEventListener(name, handler);
  return () => {
    for (const [name, handler] of Object.entries(handlers)) target.removeEventListener(name, handler);
  };
}
