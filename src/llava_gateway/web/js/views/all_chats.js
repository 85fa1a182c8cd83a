// The dialog for all chats: where the gateway keeps them, saving them to a file, opening a file, and deleting everything.

import { html, useState } from '../html.js';
import { t } from '../i18n.js';
import { Icon } from '../icons.js';
import { deleteAllChats, pickFiles, saveAllChats } from '../chat/sessions.js';
import { catalogue, overlay, sessions } from '../state.js';
import { Dialog } from './parts.js';

const close = () => (overlay.value = null);

export function AllChats() {
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const count = sessions.value?.length ?? 0;

  /** @param {() => Promise<void>} work */
  async function attempt(work) {
    setBusy(true);
    await work();
    setBusy(false);
  }

  return html`<${Dialog} title=${t('chats.title')} onClose=${close} class="sheet all-chats">
    <p>${t(catalogue.value?.keep === 'sqlite' ? 'sessions.on_disk' : 'sessions.in_memory')}</p>
    <p>
      <button class="button" type="button" disabled=${busy || !count} onClick=${() => attempt(saveAllChats)}><${Icon} name="save" />${t('chats.save')}</button>
      <button class="button" type="button" disabled=${busy} onClick=${pickFiles}><${Icon} name="open" />${t('sessions.import')}</button>
    </p>
    ${asking
      ? html`<div role="alertdialog" aria-label=${t('chats.delete')}>
          <p>${t('chats.delete_sure', { count })}</p>
          <p>
            <button class="button grave" type="button" disabled=${busy} onClick=${() => attempt(deleteAllChats)}>${t('chats.delete')}</button>
            <button class="button" type="button" disabled=${busy} onClick=${() => setAsking(false)}>${t('cancel')}</button>
          </p>
        </div>`
      : html`<p><button class="button" type="button" disabled=${busy || !count} onClick=${() => setAsking(true)}><${Icon} name="trash" />${t('chats.delete')}</button></p>`}
  <//>`;
}
