// Dialogs above the page: shortcuts and the API key; the others have their own files, which are loaded when they are opened.

import { giveKey, keyNeeded } from '../api.js';
import { html, useState } from '../html.js';
import { t } from '../i18n.js';
import { choosing, failToChoose } from '../images/pictures.js';
import { lightbox, overlay } from '../state.js';
import { Dialog, lazily } from './parts.js';

const close = () => (overlay.value = null);
const AllChats = lazily(async () => (await import('./all_chats.js')).AllChats, close);
const Compare = lazily(async () => (await import('./compare.js')).Compare, close);
const ContextSheet = lazily(async () => (await import('./context_sheet.js')).ContextSheet, close);
const Models = lazily(async () => (await import('./models.js')).Models, close);
const FromAddress = lazily(async () => (await import('./from_address.js')).FromAddress, close);
const Pages = lazily(async () => (await import('./pages.js')).Pages, () => choosing.value && failToChoose(choosing.value));
const Options = lazily(async () => (await import('./options.js')).Options, close);

export function Overlays() {
  return html`${overlay.value === 'models' && html`<${Models} />`} ${overlay.value === 'compare' && html`<${Compare} />`} ${overlay.value === 'options' && html`<${Options} />`}
  ${overlay.value === 'address' && html`<${FromAddress} />`} ${overlay.value === 'context' && html`<${ContextSheet} />`} ${overlay.value === 'shortcuts' && html`<${Shortcuts} />`} ${overlay.value === 'chats' && html`<${AllChats} />`} 
  ${choosing.value && !overlay.value && !lightbox.value && html`<${Pages} key=${choosing.value.key} chip=${choosing.value} />`} ${keyNeeded.value && html`<${KeyQuestion} />`}`;
}

const KEYS = /** @type {const} */ ([
  ['Enter', 'shortcut.send'],
  ['Shift+Enter', 'shortcut.line'],
  ['Esc', 'shortcut.stop'],
  ['/', 'shortcut.focus'],
  ['Ctrl+V', 'shortcut.paste'],
  ['←  →', 'shortcut.pictures'],
  ['Alt+←', 'shortcut.order'],
  ['+  -  0', 'shortcut.zoom'],
  ['Shift+←', 'shortcut.pan'],
  ['[  ]', 'shortcut.branches'],
  ['Ctrl+K', 'shortcut.search'],
  ['?', 'shortcut.list'],
]);

function Shortcuts() {
  return html`<${Dialog} title=${t('shortcuts.title')} onClose=${close}>
    <dl class="shortcuts">
      ${KEYS.map(([keys, words]) => html`<div key=${keys}><dt>${keys.split(/(?<=\w)\+| {2}/).map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${t(words)}</dd></div>`)}
    </dl>
  <//>`;
}

function KeyQuestion() {
  const [given, setGiven] = useState('');
  const [put, setPut] = useState(false);
  if (put) return html`<button class="button small key-again" type="button" onClick=${() => setPut(false)}>${t('key.title')}</button>`;
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    if (given.trim()) giveKey(given.trim());
  };
  return html`<${Dialog} title=${t('key.title')} onClose=${() => setPut(true)}>
    <form class="key" onSubmit=${submit}>
      <p id="key-about">${keyNeeded.value === 'wrong' ? t('key.wrong') : t('key.about')}</p>
      <input class="field" type="password" autocomplete="off" aria-label=${t('key.label')} aria-describedby="key-about" value=${given} onInput=${(/** @type {any} */ event) => setGiven(event.currentTarget.value)} />
      <button class="button main" type="submit" disabled=${!given.trim()}>${t('key.use')}</button>
      <p class="quiet">${t('key.kept')}</p>
    </form>
  <//>`;
}
