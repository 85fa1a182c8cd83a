// Short messages at the edge of the page, with a button to undo.

import { signal } from '../vendor/signals.js';

/** @typedef {{key: number, words: string, wrong: boolean, action: {label: string, run: () => void}|null}} Toast */

export const toasts = signal(/** @type {Toast[]} */ ([]));
let keys = 0;

/**
 * @param {string} words
 * @param {{wrong?: boolean, action?: {label: string, run: () => void}}} [more]
 */
export function toast(words, { wrong = false, action } = {}) {
  toasts.value = [...toasts.value, { key: ++keys, words, wrong, action: action ?? null }];
}

/** @param {number} key */
export function putAway(key) {
  toasts.value = toasts.value.filter((one) => one.key !== key);
}
