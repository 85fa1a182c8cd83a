// The page's words in the person's language.

import { effect } from '../vendor/signals.js';
import { html } from './html.js';
import en from './i18n/en.js';
import zh from './i18n/zh.js';
import { kept } from './prefs.js';

/** @typedef {keyof typeof en} Key */
/** @typedef {Record<string, string|number>} Values */

const WORDS = { en, zh };

/** @type {import('../vendor/signals.js').Signal<'en'|'zh'>} */
export const language = kept('language', navigator.language.startsWith('zh') ? 'zh' : 'en', (v) => v === 'en' || v === 'zh');

effect(() => {
  document.documentElement.lang = language.value === 'zh' ? 'zh-Hans' : 'en';
});

/**
 * The words for `key`, with {name} replaced by values. A key may hold two forms, for one and for several (`count` decides).
 * @param {Key} key
 * @param {Values} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  const entry = /** @type {string|{one: string, other: string}} */ (WORDS[language.value][key]);
  const text = typeof entry === 'string' ? entry : values.count === 1 ? entry.one : entry.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === 'number' ? number(value) : String(value ?? '');
  });
}

/**
 * As `t`, with `code` between backticks set as code.
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

/** @param {string} key @returns {key is Key} */
export function has(key) {
  return Object.hasOwn(en, key);
}

/** @param {number} value @param {Intl.NumberFormatOptions} [how] */
export function number(value, how) {
  return new Intl.NumberFormat(language.value, how).format(value);
}

/** Milliseconds for people: 84 ms, 1.2 s, 48 s. @param {number} ms */
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
