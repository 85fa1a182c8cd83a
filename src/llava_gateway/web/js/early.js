// Runs before the first paint, which waits for it: sets colours and language, and writes the texts into the frame of index.html.
//
// People can read the frame, and type into it, until page.js has loaded. The first paint also waits for everything that this file imports.

import { preferred } from './i18n/preferred.js';

/** The tag and the frame's texts of each language; the build inserts them. */
const LANGUAGES = /** @type {Record<string, {tag: string, words: Record<string, string>}>} */ (/** @type {any} */ (globalThis).FRAME_WORDS);
const CODES = Object.keys(LANGUAGES);
const TOUCH = matchMedia('(pointer: coarse)').matches;
const root = document.documentElement;

/** The choices of an earlier visit. @param {string} name */
function stored(name) {
  try {
    return JSON.parse(localStorage.getItem(`llava.${name}`) ?? 'null');
  } catch {
    return null; // Without storage, the page follows the browser and the system.
  }
}

const theme = stored('theme');
if (theme === 'light' || theme === 'dark') root.dataset.theme = theme;
const language = stored('language');
const { tag, words } = LANGUAGES[CODES.includes(language) ? language : preferred(CODES, CODES[0])];
root.lang = tag;

/** @param {HTMLElement} element */
function fill(element) {
  const { words: key, touch } = element.dataset;
  const text = words[(TOUCH && touch) || String(key)];
  delete element.dataset.words;
  if (!(element instanceof HTMLTextAreaElement)) {
    element.textContent = text;
    return;
  }
  element.placeholder = text;
  element.setAttribute('aria-label', text);
  if (!TOUCH) element.focus(); // an on-screen keyboard would cover the page
}

// The parser has not reached the frame yet. Observers are called before anything is painted.
const parsed = new MutationObserver(() => {
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('.early [data-words]'))) fill(element);
  const sidebar = /** @type {HTMLElement|null} */ (document.querySelector('.early .sidebar'));
  if (sidebar && stored('sidebar') === false) sidebar.dataset.open = 'false';
  // An existing chat is opened, so the text for a new one is wrong.
  if (location.hash.startsWith('#session=')) document.querySelector('.early .empty')?.remove();
});
parsed.observe(root, { childList: true, subtree: true });
addEventListener('DOMContentLoaded', () => parsed.disconnect());
