// How full the context is: a thin bar, and messages in the thread if it is nearly full, something was dropped, or a question does not fit.

import { askAgain } from '../chat/branches.js';
import { counted, larger, meter, NEARLY } from '../chat/context.js';
import { html } from '../html.js';
import { duration, number, t } from '../i18n.js';
import { Icon } from '../icons.js';
import { said } from '../notes.js';
import { chat, overlay } from '../state.js';

export const PARTS = /** @type {const} */ (['system', 'text', 'images']);

/** Above 100 %, the exact figure does not matter: nobody compares 300 % with 7,929 %. @param {number} share */
const percent = (share) => `${share > 1 ? '> ' : ''}${number(Math.min(1, share), { style: 'percent' })}`;

/** The bar alone. @param {{of: import('../chat/context.js').Meter}} props */
export function Bar({ of }) {
  const whole = Math.max(of.limit, of.used);
  return html`<span class="meter" data-over=${of.over > 0} aria-hidden="true">
    ${PARTS.map((part) => of[part] > 0 && html`<span key=${part} data-part=${part} style=${{ '--share': of[part] / whole }}></span>`)}
  </span>`;
}

/** The bar in the line under the composer. It keeps its place while there is nothing to show. */
export function ContextMeter() {
  const now = meter.value;
  if (!now) return html`<span class="context-meter" aria-hidden="true"></span>`;
  const full = percent(now.used / now.limit);
  const words = t('context.meter', { used: now.used, limit: now.limit, system: now.system, text: now.text, images: now.images, free: free(now) });
  return html`<button class="line-button context-meter figures" type="button" aria-haspopup="dialog" title=${words} aria-label=${words}
    data-nearly=${now.over > 0 || now.used / now.limit >= NEARLY} onClick=${() => (overlay.value = 'context')}>
    <${Bar} of=${now} /><span aria-hidden="true">${full}</span>
  </button>`;
}

/** @param {import('../chat/context.js').Meter} now */
export const free = (now) => Math.max(0, now.limit - now.used);

/** The button that makes the chat's context larger, with the time that this takes. @param {{size: number, lastLoad: number|null, then?: () => void}} props */
export function LargerButton({ size, lastLoad, then }) {
  const onClick = () => {
    chat.value.choices.set('num_ctx', size);
    then?.();
  };
  const took = lastLoad ? t('context.took', { duration: duration(lastLoad) }) : '';
  return html`<p class="context-larger">
    <button class="button small" type="button" onClick=${onClick}>${t(then ? 'context.again_larger' : 'context.larger', { size })}</button>
    <span class="quiet reloads">${t('options.reloads')}${took}</span>
  </p>`;
}

/** A message in the thread with a button that opens the context. */
const ABOUT_CONTEXT = new Set(['context_full', 'context_trimmed', 'num_ctx_grown']);

/** @param {import('../types.js').Note} warning */
export const isAboutContext = ({ code }) => ABOUT_CONTEXT.has(code);

/** Whether an answer ended because the context was full. @param {import('../types.js').Note[]} warnings */
export const isFull = (warnings) => warnings.some(({ code }) => code === 'context_full');

/** The effect of an answer on the context; under the last answer also whether it is nearly full. @param {{turn: import('../chat/turns.js').Turn}} props */
export function ContextNotes({ turn }) {
  const warnings = turn.summary.value?.warnings ?? [];
  const notes = warnings.filter(isAboutContext).map(said);
  const now = meter.value;
  const nearly = !isFull(warnings) && chat.value.turns.value.at(-1) === turn && turn.summary.value && now && now.used / now.limit >= NEARLY;
  return html`${notes.map((note) => html`<p class="ended context-note" key=${note}><${Icon} name="warning" /><span>${note} <${OpenButton} /></span></p>`)}
  ${nearly && html`<p class="ended context-note"><${Icon} name="warning" /><span>${t('context.nearly', { share: percent(Math.min(1, now.used / now.limit)) })} <${OpenButton} /></span></p>`}`;
}

const OpenButton = () => html`<button class="link-button" type="button" onClick=${() => (overlay.value = 'context')}>${t('context.show')}</button>`;

/** Buttons that make a question fit. @param {{failure: import('../api.js').Failure, turn?: import('../chat/turns.js').Turn}} props */
export function ContextWays({ failure, turn }) {
  const { choices } = chat.value;
  const size = larger(Number(failure.values.num_ctx_needed) || 0);
  const strict = (choices.now.value.policy ?? counted.value?.policy) === 'strict';
  const again = turn && (() => askAgain(turn));
  const drop = () => {
    choices.choose({ policy: 'pin_images' });
    again?.();
  };
  const { detail } = choices.now.value;
  const tiled = detail !== 'low' && turn?.images.value.some(({ sent }) => detail === 'high' || (sent?.pieces ?? 1) > 1);
  const low = () => {
    choices.choose({ detail: 'low' });
    again?.();
  };
  return html`${size && html`<${LargerButton} size=${size} lastLoad=${counted.value?.larger?.last_load_ms ?? null} then=${again} />`}
  ${strict && html`<button class="button small" type="button" onClick=${drop}>${t('context.drop_text')}</button>`}
  ${tiled && html`<button class="button small" type="button" onClick=${low}>${t('context.low')}</button>`}
  <button class="button small" type="button" onClick=${() => (overlay.value = 'context')}>${t('context.show')}</button>`;
}
