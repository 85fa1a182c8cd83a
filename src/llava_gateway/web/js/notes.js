// What the gateway notes of pictures, of the context and of the engine, in the person's language: by codes and values.

import { between, bytes, duration, number, t, told, under } from './i18n.js';

/** @typedef {import('./types.js').Note} Note */
/** @typedef {import('./types.js').Values} Values */

/** @param {unknown} value @param {(value: number) => string} words */
const asNumber = (value, words) => (typeof value === 'number' ? words(value) : undefined);

/** @param {unknown} share */
const percent = (share) => asNumber(share, (value) => number(value, { style: 'percent' }));

/** What the model is no longer told: the texts of so many turns, and so many pictures. @param {number} texts @param {number} pictures */
export function droppedWords(texts, pictures) {
  if (!texts) return t('context.pictures', { count: pictures });
  return t('context.texts', { count: texts }) + (pictures ? t('context.and_pictures', { count: pictures }) : '');
}

/** Values that words need as words themselves, by code. @type {Record<string, (values: any) => Values>} */
const IN_WORDS = {
  context_trimmed: ({ turns, images, summarised }) => ({
    what: turns || images ? droppedWords(turns, images) : undefined,
    summary: summarised ? t('context.summary') : '',
  }),
  model_reload: ({ reason, ...values }) => ({ why: wordsFor(reason, values) ?? undefined }),
  region: ({ x, y }) => ({ x: percent(x), y: percent(y) }),
  tokens: ({ label }) => ({ label: told(({ words }) => [under(words, `label.${label}`)]) ?? label }),
};

/** Values as the page shows such figures elsewhere; their names tell what they are. @param {Values} values @returns {Values} */
export function withUnits(values) {
  const shown = { ...values };
  for (const [name, value] of Object.entries(values)) {
    const [unit] = name.split('_').slice(-1);
    if (unit === 'width' || unit === 'height') shown[name] = asNumber(value, String);
    else if (unit === 'bytes') shown[name] = asNumber(value, bytes);
    else if (unit === 'ms') shown[name] = asNumber(value, duration);
  }
  return shown;
}

/** @param {string} code @param {Values} values */
function wordsFor(code, values) {
  const more = under(IN_WORDS, code)?.(values);
  return told(({ notes }) => [under(notes, code)], { ...withUnits(values), ...more });
}

/** A note in words; as the gateway says it where the page has no words for it. @param {Note} note */
export const said = ({ code, message, values }) => wordsFor(code, values) ?? message;

/**
 * The steps from the file to the tokens. What the gateway tells of the file is of the latest one with these pixels; the picture knows its own.
 * @param {import('./types.js').Picture} picture
 * @param {import('./types.js').Seen} told
 */
export function stepsOf({ original, changes }, told) {
  if (!original || !changes) return told.steps.map(said);
  const ofModel = told.steps.filter((step) => step.of === 'model');
  return [{ code: 'decoded', message: '', values: original }, ...changes, ...ofModel].map(said);
}

/** What was changed about a picture; "" for nothing. @param {import('./types.js').Picture} picture */
export const changesOf = ({ changes = [] }) => changes.map(said).join(between());
