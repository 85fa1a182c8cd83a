// A person's choices for the page itself, stored in this browser.

import { effect, signal } from '../vendor/signals.js';

/**
 * A signal that is kept in localStorage.
 * @template T
 * @param {string} name
 * @param {T} initial
 * @param {(value: unknown) => boolean} valid
 */
export function kept(name, initial, valid) {
  const key = `llava.${name}`;
  const value = signal(initial);
  try {
    const stored = JSON.parse(localStorage.getItem(key) ?? 'null');
    if (stored !== null && valid(stored)) value.value = stored;
  } catch {
    // Storage is unavailable or contains something else: use the initial value.
  }
  let first = true;
  effect(() => {
    const text = JSON.stringify(value.value);
    if (first) {
      first = false;
      return;
    }
    try {
      localStorage.setItem(key, text);
    } catch {
      // Then the choice is kept until the page is closed.
    }
  });
  return value;
}

/** @type {import('../vendor/signals.js').Signal<'system'|'light'|'dark'>} */
export const theme = kept('theme', 'system', (v) => v === 'system' || v === 'light' || v === 'dark');

export const sidebarOpen = kept('sidebar', true, (v) => typeof v === 'boolean');

effect(() => {
  const root = document.documentElement;
  if (theme.value === 'system') delete root.dataset.theme;
  else root.dataset.theme = theme.value;
});
