// A picture from an address, which the gateway fetches.

import { html, useState } from '../html.js';
import { t } from '../i18n.js';
import { addFrom } from '../images/pictures.js';
import { overlay } from '../state.js';
import { Dialog } from './parts.js';

const LONGEST = 2048;
const close = () => (overlay.value = null);

export function FromAddress() {
  const [typed, setTyped] = useState('');
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    if (!typed.trim()) return;
    close();
    addFrom(typed.trim());
  };
  return html`<${Dialog} title=${t('address.title')} onClose=${close}>
    <form class="key" onSubmit=${submit}>
      <p id="address-about">${t('address.about')}</p>
      <input class="field" type="text" inputmode="url" autofocus dir="ltr" autocomplete="off" autocapitalize="off" spellcheck=${false} maxlength=${LONGEST} placeholder="https://"
        aria-label=${t('address.label')} aria-describedby="address-about" value=${typed} onInput=${(/** @type {any} */ event) => setTyped(event.currentTarget.value)} />
      <button class="button main" type="submit" disabled=${!typed.trim()}>${t('address.add')}</button>
    </form>
  <//>`;
}
