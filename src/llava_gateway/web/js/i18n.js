// The page's words in the person's language.

import { computed, effect } from '../vendor/signals.js';
import { html } from './html.js';
import { FIRST, LANGUAGES } from './i18n/languages.js';
import { preferred } from './i18n/preferred.js';
import { kept } from './prefs.js';

/** @typedef {import('./i18n/languages.js').Key} Key */
/** @typedef {import('./types.js').Form} Form */
/** @typedef {import('./types.js').Words} Words */
/** @typedef {import('./types.js').Values} Values */

const CODES = Object.keys(LANGUAGES);

export const language = kept('language', preferred(CODES, FIRST), (v) => CODES.includes(/** @type {string} */ (v)));
const spoken = computed(() => LANGUAGES[language.value]);
const plurals = computed(() => new Intl.PluralRules(spoken.value.tag));

effect(() => {
  document.documentElement.lang = spoken.value.tag;
});

/** @param {Form} form @param {Values} values */
function formFor(form, { count }) {
  if (typeof form === 'string') return form;
  return (typeof count === 'number' && form[plurals.value.select(count)]) || form.other;
}

const PLACE = /\{(\w+)\}/g;

/** @param {Values[string]|undefined} value */
function shown(value) {
  if (typeof value === 'number') return number(value);
  if (Array.isArray(value)) return new Intl.ListFormat(spoken.value.tag, { type: 'disjunction' }).format(value.map(String));
  return String(value ?? '');
}

/** @param {string} text @param {Values} values */
const filled = (text, values) => text.replace(PLACE, (_, name) => shown(values[name]));

/**
 * Returns the text for `key`, with each {name} replaced by its value.
 * @param {Key} key
 * @param {Values} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  return filled(formFor(spoken.value.words[key] ?? LANGUAGES[FIRST].words[key], values), values);
}

/**
 * Returns the first text for which all values are known, in this language or else in the first one; null if there is none.
 * @param {(of: import('./types.js').Language) => (Words|undefined)[]} choose
 * @param {Values} [values]
 */
export function told(choose, values = {}) {
  for (const of of [spoken.value, LANGUAGES[FIRST]]) {
    const forms = choose(of).flatMap((words) => words ?? []);
    const whole = forms.map((form) => formFor(form, values)).find((text) => [...text.matchAll(PLACE)].every(([, name]) => values[name] != null));
    if (whole !== undefined) return filled(whole, values);
  }
  return null;
}

/** Looks up a name that may come from anywhere. @template T @param {Record<string, T>} table @param {string} name */
export const under = (table, name) => (Object.hasOwn(table, name) ? table[name] : undefined);

/** Returns the text between two sentences. */
export const between = () => spoken.value.between;

/**
 * Does the same as `t`, and formats text in backticks as code.
 * @param {Key} key
 * @param {Values} [values]
 */
export function rich(key, values) {
  return coded(t(key, values));
}

/** @param {string} text */
export function coded(text) {
  return text.split('`').map((part, i) => (i % 2 ? html`<code>${part}</code>` : part));
}

/** @param {number} value @param {Intl.NumberFormatOptions} [how] */
export function number(value, how) {
  return new Intl.NumberFormat(spoken.value.tag, how).format(value);
}

/** Formats milliseconds for people: 84 ms, 1.2 s, 48 s. @param {number} ms */
export function duration(ms) {
  if (ms < 1000) return `${number(Math.round(ms))} ms`;
  const digits = ms < 10_000 ? 1 : 0;
  return `${number(ms / 1000, { minimumFractionDigits: digits, maximumFractionDigits: digits })} s`;
}

/** @param {number} count */
export function bytes(count) {
  if (count < 1000) return `${number(count)} B`;
  const [size, unit] = count < 1e6 ? [count / 1e3, 'kB'] : count < 1e9 ? [count / 1e6, 'MB'] : [count / 1e9, 'GB'];
  return `${number(size, { maximumFractionDigits: size < 10 ? 1 : 0 })} ${unit}`;
}

/** @param {{width: number, height: number}} size */
export function pixels(size) {
  return `${size.width} × ${size.height}`;
}
