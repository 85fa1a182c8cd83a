// The short messages. Each disappears after a while, but not while it is pointed at or has the focus.

import { html, useEffect, useRef, useState } from '../html.js';
import { t } from '../i18n.js';
import { Icon } from '../icons.js';
import { putAway, toasts } from '../toasts.js';
import { useHeir } from './focus.js';

const SHOWN_MS = 20_000;

export function Toasts() {
  return html`<div class="toasts" role="status">${toasts.value.map((one) => html`<${ToastView} key=${one.key} one=${one} />`)}</div>`;
}

/** @param {{one: import('../toasts.js').Toast}} props */
function ToastView({ one }) {
  const [held, setHeld] = useState(false);
  const box = useRef(/** @type {HTMLElement|null} */ (null));
  useHeir(box);
  useEffect(() => {
    if (held) return undefined;
    const timer = setTimeout(() => putAway(one.key), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [held]);
  const { action } = one;
  const hold = { onPointerEnter: () => setHeld(true), onPointerLeave: () => setHeld(false), onFocusIn: () => setHeld(true), onFocusOut: () => setHeld(false) };
  return html`<div ref=${box} class="toast" data-wrong=${one.wrong} ...${hold}>
    <p>${one.words}</p>
    ${action &&
    html`<button class="button small" type="button" onClick=${() => {
      putAway(one.key);
      action.run();
    }}>${action.label}</button>`}
    <button class="icon-button" type="button" aria-label=${t('close')} onClick=${() => putAway(one.key)}><${Icon} name="close" /></button>
  </div>`;
}
