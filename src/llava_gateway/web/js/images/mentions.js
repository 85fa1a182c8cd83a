// Mentions such as "Picture 2" in an answer: pointing at one highlights the picture, choosing it opens the picture.

import { lit } from './gallery.js';
import { panel } from '../state.js';

const HAN = '一二三四五六七八九十';
const MENTION = new RegExp(
  [
    String.raw`\b(?:picture|image|photo)\s(?:no\.\s?|number\s|#)?(\d{1,3})\b`,
    String.raw`(?:图片|图像|照片|图)\s?(\d{1,3}|[${HAN}])(?![\d${HAN}])`,
    String.raw`第\s?(\d{1,3}|[${HAN}])\s?[张幅](?:图片|图像|照片|图)?`,
  ].join('|'),
  'gi',
);
const LEFT_ALONE = 'a, code, pre';

/**
 * Marks mentions of pictures.
 * @param {DocumentFragment} words
 * @param {number} pictures  how many there are
 */
export function linkPictures(words, pictures) {
  if (!pictures) return;
  const walker = document.createTreeWalker(words, NodeFilter.SHOW_TEXT);
  /** @type {Text[]} */
  const texts = [];
  while (walker.nextNode()) texts.push(/** @type {Text} */ (walker.currentNode));
  for (const text of texts) if (!text.parentElement?.closest(LEFT_ALONE)) text.replaceWith(...marked(text.data, pictures));
}

/** @param {string} text @param {number} pictures */
function marked(text, pictures) {
  /** @type {(string|Node)[]} */
  const parts = [];
  let from = 0;
  for (const match of text.matchAll(MENTION)) {
    const said = match.slice(1).find(Boolean) ?? '';
    const number = HAN.indexOf(said) + 1 || Number(said);
    if (number < 1 || number > pictures) continue;
    parts.push(text.slice(from, match.index), mark(match[0], number));
    from = match.index + match[0].length;
  }
  return [...parts, text.slice(from)];
}

/** @param {string} words @param {number} number */
function mark(words, number) {
  const made = document.createElement('span');
  made.className = 'mention';
  made.setAttribute('role', 'button');
  made.tabIndex = 0;
  made.dataset.picture = String(number);
  made.textContent = words;
  return made;
}

/** @param {Event} event */
function mentioned(event) {
  const at = /** @type {HTMLElement} */ (event.target).closest('.mention');
  return at ? Number(/** @type {HTMLElement} */ (at).dataset.picture) : null;
}

/** @param {Event} event */
const light = (event) => {
  lit.value = mentioned(event);
};
const dim = () => {
  lit.value = null;
};
/** @param {Event} event */
const show = (event) => {
  const number = mentioned(event);
  if (number) panel.value = number;
};

/** Event handlers for the element around an answer. */
export const pointing = {
  onPointerOver: light,
  onPointerLeave: dim,
  onFocusIn: light,
  onFocusOut: dim,
  onClick: show,
  /** @param {KeyboardEvent} event */
  onKeyDown(event) {
    if ((event.key !== 'Enter' && event.key !== ' ') || !mentioned(event)) return;
    event.preventDefault();
    show(event);
  },
};
