// The gateway's notes on pictures, the context and the engine, in the person's language: from codes and values.

import { between, bytes, duration, number, t, told, under } from './i18n.js';

/** @typedef {import('./types.js').Note} Note */
/** @typedef {import('./types.js').Values} Values */

/** @param {unknown} value @param {(value: number) => string} words */
const asNumber = (value, words) => (typeof value === 'number' ? words(value) : undefined);

/** @param {unknown} share */
const percent = (share) => asNumber(share, (value) => number(value, { style: 'percent' }));

/** Says what is no longer sent to the model: the text of some turns, and some pictures. @param {number} texts @param {number} pictures */
export function droppedWords(texts, pictures) {
  if (!texts) return t('context.pictures', { count: pictures });
  return t('context.texts', { count: texts }) + (pictures ? t('context.and_pictures', { count: pictures }) : '');
}

/** Values that must be replaced by words, by code. @type {Record<string, (values: any) => Values>} */
const IN_WORDS = {
  context_trimmed: ({ turns, images, summarised }) => ({
    what: turns || images ? droppedWords(turns, images) : undefined,
    summary: summarised ? t('context.summary') : '',
  }),
  model_reload: ({ reason, ...values }) => ({ why: wordsFor(reason, values) ?? undefined }),
  region: ({ x, y }) => ({ x: percent(x), y: percent(y) }),
  strip: ({ x, y }) => ({ x: percent(x), y: percent(y) }),
  tokens: ({ label }) => ({ label: told(({ words }) => [under(words, `label.${label}`)]) ?? label }),
};

/** Formats values as elsewhere on the page; the name of a value gives its kind. @param {Values} values @returns {Values} */
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

/** Returns a note in words; in the gateway's words if the page has none. @param {Note} note */
export const said = ({ code, message, values }) => wordsFor(code, values) ?? message;

/**
 * Returns the steps from the file to the tokens. The gateway describes the latest file with these pixels; the picture knows its own file.
 * @param {import('./types.js').Picture} picture
 * @param {import('./types.js').Seen} told
 */
export function stepsOf({ original, changes }, told) {
  if (!original || !changes) return told.steps.map(said);
  const ofModel = told.steps.filter((step) => step.of === 'model');
  return [{ code: 'decoded', message: '', values: original }, ...changes, ...ofModel].map(said);
}

/** Returns the changes made to a picture; "" for none. @param {import('./types.js').Picture} picture */
export const changesOf = ({ changes = [] }) => changes.map(said).join(between());

/** Warnings about what was chosen from a sound file. The changes tell the same. */
const CHOICES = ['first_frame_only', 'animation_sheet'];

/** Returns what is wrong with the file of a picture. @param {import('./types.js').Picture} picture */
export const flawsOf = ({ warnings = [] }) => warnings.filter(({ code }) => !CHOICES.includes(code)).map(said);
