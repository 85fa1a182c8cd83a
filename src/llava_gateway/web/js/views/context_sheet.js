// The use of the context, turn by turn; what is dropped next, in which order, and what helps.

import { asFailure } from '../api.js';
import { composing } from '../chat/composing.js';
import { changePicture, counted, meter } from '../chat/context.js';
import { explained } from '../failures.js';
import { html, useState } from '../html.js';
import { between, number, t } from '../i18n.js';
import { Icon } from '../icons.js';
import { droppedWords, said } from '../notes.js';
import { chat, overlay } from '../state.js';
import { Bar, free, LargerButton, PARTS } from './context.js';
import { PolicyChoice, Refused } from './options.js';
import { Dialog, PictureImage } from './parts.js';

export function ContextSheet() {
  const now = meter.value;
  const found = counted.value;
  return html`<${Dialog} title=${t('context.title')} onClose=${() => (overlay.value = null)} class="sheet context">
    ${now ? html`<${Legend} now=${now} found=${found} />` : html`<p>${t('context.nothing')}</p>`}
    ${chat.value.choices.own.value === null && html`<p class="quiet">${t('options.for_new')}</p>`}
    ${found?.larger && html`<${LargerButton} size=${found.larger.num_ctx} lastLoad=${found.larger.last_load_ms} />`}
    <${PolicyChoice} />
    <${Refused} />
    ${found && html`<p class="quiet">${order(found)}</p><${Turns} found=${found} />`}
  <//>`;
}

/** @param {{now: import('../chat/context.js').Meter, found: import('../types.js').Counted|null}} props */
function Legend({ now, found }) {
  return html`<div class="context-legend figures">
    <p>${t('context.used', { used: now.used, limit: now.limit })} <span class="quiet">${t(now.label ? `context.label.${now.label}` : 'context.label.engine')}</span></p>
    <${Bar} of=${now} />
    <dl>
      ${PARTS.map((part) => html`<div key=${part} data-part=${part}><dt>${t(`context.${part}`)}</dt><dd>${number(now[part])}</dd></div>`)}
      <div data-part="free"><dt>${t('context.free')}</dt><dd>${number(free(now))}</dd></div>
    </dl>
    ${now.over > 0 && html`<p class="context-over" role="alert"><${Icon} name="warning" />${t('context.over', { count: now.over })}</p>`}
    ${found && html`<p class="quiet">${t('context.room', { count: found.answer_room })}${now.assumed && `${between()}${said(now.assumed)}`}</p>`}
  </div>`;
}

/** Says in one sentence what is dropped when the context is full. @param {import('../types.js').Counted} found */
function order(found) {
  if (found.policy === 'strict') return t('context.order.strict');
  if (!found.next.length) return t('context.order.nothing');
  const first = found.next.slice(0, found.together);
  const texts = first.filter((item) => item.image_id === null).length;
  return texts ? t('context.order', { what: droppedWords(texts, first.length - texts) }) : t('context.order.pictures');
}

/** @param {{found: import('../types.js').Counted}} props */
function Turns({ found }) {
  return html`<ol class="context-turns figures">
    ${found.turns.map((turn) => html`<${TurnRow} key=${turn.turn} turn=${turn} found=${found} />`)}
  </ol>`;
}

/** Returns the place in the order of dropping, counted from 1; 0 for what stays. @param {import('../types.js').Counted} found @param {number|null} turn @param {string|null} image */
const place = (found, turn, image) => 1 + found.next.findIndex((item) => item.turn === turn && item.image_id === image);

/** @param {{turn: import('../types.js').TurnCost, found: import('../types.js').Counted}} props */
function TurnRow({ turn, found }) {
  const isQuestion = turn.turn === null;
  if (isQuestion && !turn.images.length && !composing.value.words.value.trim()) return null;
  return html`<li data-told=${turn.sent}>
    <p class="context-row">
      <span class="context-words" dir="auto">${isQuestion ? t('context.question') : turn.asked}</span>
      <${Fate} told=${turn.sent} at=${isQuestion ? 0 : place(found, turn.turn, null)} together=${found.together} />
      <span>≈ ${number(turn.text_tokens)}</span>
    </p>
    ${turn.images.map((image) => html`<${PictureRow} key=${image.number} image=${image} turn=${turn.turn} found=${found} />`)}
  </li>`;
}

/** Says when it will be dropped. @param {{told: boolean, at: number, together: number}} props */
function Fate({ told, at, together }) {
  if (!told) return html`<span class="context-fate" data-fate="gone">${t('context.gone')}</span>`;
  if (!at) return null;
  return at <= together
    ? html`<span class="context-fate" data-fate="next">${t('context.goes_first')}</span>`
    : html`<span class="context-fate">${t('context.goes', { place: at })}</span>`;
}

/** @param {{image: import('../types.js').ImageCost, turn: number|null, found: import('../types.js').Counted}} props */
function PictureRow({ image, turn, found }) {
  const [failure, setFailure] = useState(/** @type {import('../api.js').Failure|null} */ (null));
  const id = image.image_id;
  const picture = chat.value.turns.value.flatMap((one) => one.images.value).find((one) => one.id === id);
  const stays = image.pinned ?? found.policy !== 'sliding';
  /** @param {Parameters<typeof changePicture>[1]} patch */
  const change = (patch) => () => {
    setFailure(null);
    changePicture(/** @type {string} */ (id), patch).catch((error) => setFailure(asFailure(error)));
  };
  return html`<div class="context-row context-picture" data-told=${image.sent}>
    ${picture ? html`<${PictureImage} picture=${picture} alt="" />` : html`<${Icon} name="picture" />`}
    <span class="context-words">${t('panel.alt', { number: image.number })}${image.pinned && html` · ${t('context.pinned')}`}</span>
    <${Fate} told=${image.sent} at=${turn === null ? 0 : place(found, turn, id)} together=${found.together} />
    <span>${number(image.tokens ?? 0)}</span>
    ${id &&
    turn !== null &&
    html`<span class="context-ways">
      ${image.pinned !== true && html`<button class="link-button" type="button" title=${t('context.pin_named', { number: image.number })} aria-label=${t('context.pin_named', { number: image.number })} onClick=${change({ pinned: true })}>${t('context.pin')}</button>`}
      ${stays && html`<button class="link-button" type="button" title=${t('context.unpin_named', { number: image.number })} aria-label=${t('context.unpin_named', { number: image.number })} onClick=${change({ pinned: false })}>${t('context.unpin')}</button>`}
      ${image.detail === 'high' && html`<button class="link-button" type="button" title=${t('context.lower_named', { number: image.number })} aria-label=${t('context.lower_named', { number: image.number })} onClick=${change({ detail: 'low' })}>${t('context.lower')}</button>`}
      ${failure && html`<span class="option-failure" role="alert">${explained(failure).cause}</span>`}
    </span>`}
  </div>`;
}
