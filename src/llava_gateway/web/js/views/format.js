// The format of answers: text, any JSON, or JSON of a built-in or custom schema.

import { html, useLayoutEffect, useRef } from '../html.js';
import { t } from '../i18n.js';
import { means } from '../chat/options.js';
import { chat } from '../state.js';

const text = { type: 'string' };
const number = { type: 'number' };

/** @param {Record<string, object>} properties */
const object = (properties) => ({ type: 'object', properties, required: Object.keys(properties) });

/** @param {Record<string, object>} properties */
const list = (properties) => ({ type: 'array', items: object(properties) });

/** Schemas for common questions. */
const READY = {
  things: object({ things: list({ name: text, colour: text, count: { type: 'integer' } }) }),
  shapes: object({ background: text, shapes: list({ color: text, shape: text }), text }),
  receipt: object({ shop: text, date: text, lines: list({ item: text, quantity: number, price: number }), total: number }),
  table: object({ rows: { type: 'array', items: { type: 'object', additionalProperties: text } } }),
  verdict: object({ answer: { type: 'string', enum: ['yes', 'no', 'unclear'] }, reason: text }),
};
const NAMES = /** @type {(keyof typeof READY)[]} */ (Object.keys(READY));

/** @param {unknown} schema */
const written = (schema) => JSON.stringify(schema, null, 2);

/** @param {string} source @returns {{schema: Record<string, any>}|{wrong: string}} */
function checked(source) {
  try {
    const schema = JSON.parse(source);
    if (typeof schema === 'object' && schema && !Array.isArray(schema)) return { schema };
    return { wrong: t('format.not_object') };
  } catch (error) {
    return { wrong: `${t('format.not_json')} ${/** @type {Error} */ (error).message}` };
  }
}

export function FormatEditor() {
  const { choices } = chat.value;
  const { format } = choices.now.value;
  const { typed, refused } = choices.schema.value ?? { typed: null, refused: null };
  const found = typed === null ? null : checked(typed);
  const wrong = found && 'wrong' in found ? found.wrong : refused ? `${t('format.refused')} ${refused.sentence}` : null;
  // The typed text may be invalid for a while. Then the last valid schema stays in effect, and a message says so. The text is kept as typed while it means the stored schema.
  const draft = typed !== null && (wrong || means(typed, format)) ? typed : null;
  const chosen = format === null ? '' : format === 'json' ? 'json' : (NAMES.find((name) => written(READY[name]) === written(format)) ?? 'own');
  const source = draft ?? (format && format !== 'json' ? written(format) : '');

  const fault = useRef(/** @type {HTMLElement|null} */ (null));
  // A person who types looks at the text, which may end at the bottom of the dialog.
  useLayoutEffect(() => {
    if (document.activeElement?.matches('.format-source')) fault.current?.scrollIntoView({ block: 'nearest' });
  }, [wrong]);

  /** @param {string|null} text */
  const type = (text) => (choices.schema.value = text === null ? null : { typed: text, refused: null });
  /** @param {any} event */
  function onChoose(event) {
    const name = event.currentTarget.value;
    type(name === 'own' ? written(READY.things) : null);
    if (name === '') choices.choose({ format: null });
    else if (name === 'json') choices.choose({ format: 'json' });
    else choices.choose({ format: READY[/** @type {keyof typeof READY} */ (name === 'own' ? 'things' : name)] });
  }
  /** @param {any} event */
  function onInput(event) {
    const text = event.currentTarget.value;
    const read = checked(text);
    type(text);
    if ('schema' in read) choices.choose({ format: read.schema });
  }

  return html`<div class="option-text">
    <label for="format-kind">${t('format.title')}</label>
    <select id="format-kind" class="field" value=${draft === null ? chosen : 'own'} onChange=${onChoose}>
      <option value="">${t('format.words')}</option>
      ${NAMES.map((name) => html`<option key=${name} value=${name}>${t(`format.${name}`)}</option>`)}
      <option value="json">${t('format.json')}</option>
      <option value="own">${t('format.own')}</option>
    </select>
    ${source &&
    html`<textarea class="field format-source" rows="6" spellcheck="false" dir="ltr" aria-label=${t('format.schema')} aria-invalid=${wrong !== null}
        aria-describedby="format-state" value=${source} onInput=${onInput}></textarea>`}
    ${(format || wrong) && html`<p class="quiet" id="format-state" role="status">${wrong ? html`<span ref=${fault} class="option-failure">${wrong} ${t('format.last_right')}</span>` : t('format.about')}</p>`}
  </div>`;
}
