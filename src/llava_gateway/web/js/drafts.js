// What is being typed and attached, kept for each chat until it is sent: it survives a reload, and going to another chat.

import { computed, effect, signal, untracked } from '../vendor/signals.js';
import { pictureBytes } from './api.js';
import { askAgain } from './branches.js';
import { composed, newChat } from './chat.js';
import { typed } from './context.js';
import { upTo } from './path.js';
import { addKnown, chips, ready, refuse, remove, take } from './pictures.js';
import { chat } from './state.js';

/** @typedef {import('./types.js').Picture} Picture */
/** @typedef {{words: string, pictures: Picture[]}} Draft */

/** The turn whose question is being changed in the composer; the draft waits until that is done. */
export const editing = signal(/** @type {import('./chat.js').Turn|null} */ (null));

const NONE = /** @type {ReadonlySet<import('./chat.js').Turn>} */ (new Set());
/** The turns that another version takes the place of once the changed question is sent. */
export const leaving = computed(() => {
  const here = chat.value;
  if (!editing.value || !here) return NONE;
  return new Set(here.turns.value.slice(upTo(here.turns.value, editing.value.after ?? 0).length));
});

/** Whose draft the composer shows: a chat's, or the new one's. */
let shown = /** @type {{chat: import('./chat.js').Chat, name: string}|null} */ (null);

/** @param {import('./chat.js').Chat} of */
const nameOf = (of) => `llava.draft.${of.id.value ?? 'new'}`;

/** @param {string} name @returns {Draft} */
function kept(name) {
  try {
    const found = JSON.parse(sessionStorage.getItem(name) ?? 'null');
    return { words: String(found?.words ?? ''), pictures: Array.isArray(found?.pictures) ? found.pictures : [] };
  } catch {
    return { words: '', pictures: [] };
  }
}

/** @param {string} name @param {Draft} draft */
function keep(name, draft) {
  try {
    if (draft.words.trim() || draft.pictures.length) sessionStorage.setItem(name, JSON.stringify(draft));
    else sessionStorage.removeItem(name);
  } catch {
    // It then holds until the page is closed.
  }
}

/** Puts words and pictures into the composer; pictures that are still on their way stay in it. @param {Draft} draft */
function put({ words, pictures }) {
  typed.value = words;
  take();
  for (const picture of pictures) {
    addKnown(picture);
    const key = chips.value.at(-1)?.key ?? 0;
    pictureBytes(`images/${encodeURIComponent(picture.id)}`).catch(() => {
      remove(key);
      refuse(picture.name ?? picture.id.slice(0, 8), 'picture_gone');
    });
  }
}

const now = () => ({ words: typed.value, pictures: ready.value.map((chip) => /** @type {Picture} */ (chip.picture)) });

/** Keeps drafts for as long as the page is open. */
export function keepDrafts() {
  effect(() => {
    const here = chat.value;
    if (!here) return;
    const name = nameOf(here);
    untracked(() => {
      // A chat that has just got its session is still the same one.
      if (shown?.chat !== here) {
        editing.value = null;
        if (shown) shown.chat.draftAfter.value = null;
        put(kept(name));
      } else if (shown.name !== name) keep(shown.name, { words: '', pictures: [] });
      shown = { chat: here, name };
    });
  });
  effect(() => {
    const draft = now();
    if (shown && !editing.value) keep(shown.name, draft);
  });
}

/** Takes a question into the composer, to be changed. @param {import('./chat.js').Turn} turn */
export function edit(turn) {
  editing.value = turn;
  chat.value.draftAfter.value = turn.after;
  put({ words: turn.prompt, pictures: turn.images.value });
  chat.value.ocrText.value = turn.ocrText;
  const area = /** @type {HTMLTextAreaElement|null} */ (document.getElementById('words'));
  area?.focus();
}

/** Ends that; what was typed before comes back. */
export function endEditing() {
  if (!editing.value) return;
  const here = chat.value;
  here.ocrText.value = '';
  here.draftAfter.value = null;
  put(kept(nameOf(here)));
  editing.value = null;
}

/**
 * Goes on in a new chat with what this one can't answer, put before what was being typed there.
 * @param {import('./chat.js').Turn} [turn]  whose question failed; without it, what stands in the composer
 */
export function startOver(turn) {
  // Where no chat is open, the composer has the new chat's draft already.
  const { words, pictures } = turn ? { words: turn.prompt, pictures: turn.images.value } : chat.value.id.value ? now() : { words: '', pictures: [] };
  newChat();
  const there = now();
  put({ words: [words, there.words].filter((some) => some.trim()).join('\n\n'), pictures: [...pictures, ...there.pictures] });
  if (turn) chat.value.ocrText.value = turn.ocrText;
  document.getElementById('words')?.focus();
}

/** Asks the changed question in the place of what it was. @param {string} words */
export function sendEdited(words) {
  const turn = editing.value;
  if (!turn) return;
  const asked = composed(words);
  endEditing();
  askAgain(turn, asked);
}
