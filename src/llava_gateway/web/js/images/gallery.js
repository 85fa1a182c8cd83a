// Every picture of the chat on screen, those about to be sent included, by the numbers that the model is told too.

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
 * A picture that can be looked at. `at` names it here: its number, or in the composer less than 0, for while a question is being changed both
 * may have the same number. `chip` is its key in the composer, null once it was sent; `model` is who saw it, or will see it.
 * @typedef {{at: number, number: number, picture: Picture, chip: number|null, model: string|null}} Hung
 */

/** @param {number} key  of a chip */
export const atOf = (key) => -key;

/** @param {import('../chat/chat.js').Turn[]} turns */
const picturesOf = (turns) => turns.flatMap((turn) => turn.images.value);

/** How many pictures come before those in the composer. */
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

/** A picture with what its session keeps of it. @param {Picture} picture @returns {Picture} */
function withKept(picture) {
  const kept = chat.value.pictures.value[picture.id];
  return kept ? { ...picture, pinned: kept.pinned === true, detail: kept.detail ?? picture.detail } : picture;
}

/** @param {number|null|undefined} at @returns {Hung|null} */
export const hungAt = (at) => gallery.value.find((hung) => hung.at === at) ?? null;

/** Closes what shows a picture once that is no longer here, for as long as the page is open. */
export function watchGallery() {
  effect(() => {
    if (panel.value !== null && !hungAt(panel.value)) panel.value = null;
    if (lightbox.value && !hungAt(lightbox.value.at)) lightbox.value = null;
  });
}

/** The picture after, or before, another one. @param {number} at @param {1|-1} step */
export function beside(at, step) {
  const place = gallery.value.findIndex((hung) => hung.at === at);
  return place < 0 ? null : (gallery.value[place + step] ?? null);
}

/** The number of the picture that an answer speaks of, while it is pointed at. */
export const lit = signal(/** @type {number|null} */ (null));

/** Opens the lightbox. @param {number} at @param {boolean} [picking]  to pick a part of it */
export function lookCloser(at, picking = false) {
  lightbox.value = { at, picking };
}

/** Raises a Failure where the session did not take it. @param {Hung} hung @param {Detail} detail */
export async function setDetail(hung, detail) {
  if (hung.chip !== null) wish(hung.chip, { detail });
  else await changePicture(hung.picture.id, { detail });
}

/** Raises a Failure where the session did not take it. @param {Hung} hung @param {boolean} pinned */
export async function setPinned(hung, pinned) {
  if (hung.chip !== null) wish(hung.chip, { pinned });
  else await changePicture(hung.picture.id, { pinned: pinned || null });
}

/**
 * Asks about a part of a picture with the next question: of one in the composer only this part goes, one in the chat goes once more.
 * @param {Hung} hung
 * @param {Region} region
 */
export function askAbout(hung, region) {
  if (hung.chip !== null) wish(hung.chip, { region });
  else addKnown({ ...hung.picture, region, detail: undefined, pinned: undefined });
  lightbox.value = panel.value = null;
  // What closes gives the focus back to what opened it; the question comes after that.
  requestAnimationFrame(() => document.getElementById('words')?.focus());
}
