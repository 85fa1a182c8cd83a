// Every picture of the chat on screen, including those about to be sent, by the numbers that the model gets too.

import { computed, effect, signal } from '../../vendor/signals.js';
import { editing } from '../chat/composing.js';
import { changePicture } from '../chat/context.js';
import { upTo } from '../path.js';
import { accepted, addKnown, wish } from './pictures.js';
import { chat, lightbox, model, panel } from '../state.js';

/** @typedef {import('../types.js').Picture} Picture */
/** @typedef {import('../types.js').Detail} Detail */
/** @typedef {import('../types.js').Region} Region */
/**
 * A picture that can be opened. `at` identifies it: its number, or a negative number in the composer, because two pictures may have
 * the same number while a question is edited. `chip` is its key in the composer, null once it was sent; `model` saw it, or will see it.
 * @typedef {{at: number, number: number, picture: Picture, chip: number|null, model: string|null}} Hung
 */

/** @param {number} key  of a chip */
export const atOf = (key) => -key;

/** @param {import('../chat/turns.js').Turn[]} turns */
const picturesOf = (turns) => turns.flatMap((turn) => turn.images.value);

/** Returns the number of pictures before those in the composer. */
export const countBefore = computed(() => {
  const at = chat.value;
  if (!at) return 0;
  const after = editing.value?.after ?? null;
  return picturesOf(after === null ? at.turns.value : upTo(at.turns.value, after)).length;
});

export const gallery = computed(() => {
  const sent = picturesOf(chat.value?.turns.value ?? []);
  /** @type {Hung[]} */
  const found = sent.map((picture, i) => ({ at: i + 1, number: i + 1, picture: withKept(picture), chip: null, model: picture.sentModel ?? model.value }));
  accepted.value.forEach(({ key, picture }, i) => {
    if (picture) found.push({ at: atOf(key), number: countBefore.value + i + 1, picture, chip: key, model: model.value });
  });
  return found;
});

/** Returns a picture with its pin and detail in the session. @param {Picture} picture @returns {Picture} */
function withKept(picture) {
  const kept = chat.value.pictures.value[picture.id];
  return kept ? { ...picture, pinned: kept.pinned === true, detail: kept.detail ?? picture.detail } : picture;
}

/** @param {number|null|undefined} at @returns {Hung|null} */
export const hungAt = (at) => gallery.value.find((hung) => hung.at === at) ?? null;

/** Closes the panel and the lightbox when their picture is gone, as long as the page is open. */
export function watchGallery() {
  effect(() => {
    if (panel.value !== null && !hungAt(panel.value)) panel.value = null;
    if (lightbox.value && !hungAt(lightbox.value.at)) lightbox.value = null;
  });
}

/** Returns the next or the previous picture. @param {number} at @param {1|-1} step */
export function beside(at, step) {
  const place = gallery.value.findIndex((hung) => hung.at === at);
  return place < 0 ? null : (gallery.value[place + step] ?? null);
}

/** The number of the picture whose mention in an answer is being pointed at. */
export const lit = signal(/** @type {number|null} */ (null));

/** Opens the lightbox. @param {number} at @param {boolean} [picking]  to pick a part of it */
export function lookCloser(at, picking = false) {
  lightbox.value = { at, picking };
}

/** Throws a Failure if the session rejected the change. @param {Hung} hung @param {Detail} detail */
export async function setDetail(hung, detail) {
  if (hung.chip !== null) wish(hung.chip, { detail });
  else await changePicture(hung.picture.id, { detail });
}

/** Throws a Failure if the session rejected the change. @param {Hung} hung @param {boolean} pinned */
export async function setPinned(hung, pinned) {
  if (hung.chip !== null) wish(hung.chip, { pinned });
  else await changePicture(hung.picture.id, { pinned: pinned || null });
}

/**
 * Asks about a part of a picture with the next question. Only that part of a picture in the composer is sent; a picture in the chat is sent again.
 * @param {Hung} hung
 * @param {Region} region
 */
export function askAbout(hung, region) {
  if (hung.chip !== null) wish(hung.chip, { region });
  else addKnown({ ...hung.picture, region, detail: undefined, pinned: undefined });
  lightbox.value = panel.value = null;
  // A closing layer returns the focus to the element that opened it. The text box gets the focus after that.
  requestAnimationFrame(() => document.getElementById('words')?.focus());
}
