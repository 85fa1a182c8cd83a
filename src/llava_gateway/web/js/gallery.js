// Every picture of the chat on screen, those about to be sent included, by the numbers that the model is told too.

import { computed, signal } from '../vendor/signals.js';
import { asFailure } from './chat.js';
import { changePicture } from './context.js';
import { accepted, addKnown, wish } from './pictures.js';
import { chat, chatFailure, lightbox, model, panel } from './state.js';

/** @typedef {import('./types.js').Picture} Picture */
/** @typedef {import('./types.js').Detail} Detail */
/** @typedef {import('./types.js').Region} Region */
/**
 * A picture that can be looked at. `chip` is its key in the composer, null once it was sent; `model` is who saw it, or will see it.
 * @typedef {{number: number, picture: Picture, chip: number|null, model: string|null}} Hung
 */

export const sentCount = computed(() => chat.value?.turns.value.reduce((count, turn) => count + turn.images.value.length, 0) ?? 0);

export const gallery = computed(() => {
  const sent = chat.value?.turns.value.flatMap((turn) => turn.images.value) ?? [];
  /** @type {Hung[]} */
  const found = sent.map((picture, i) => ({ number: i + 1, picture: withKept(picture), chip: null, model: picture.sentModel ?? model.value }));
  accepted.value.forEach((chip, i) => {
    if (chip.state === 'ready' && chip.picture) found.push({ number: sent.length + i + 1, picture: chip.picture, chip: chip.key, model: model.value });
  });
  return found;
});

/** A picture with what its session keeps of it. @param {Picture} picture @returns {Picture} */
function withKept(picture) {
  const kept = chat.value.pictures.value[picture.id];
  return kept ? { ...picture, pinned: kept.pinned === true, detail: kept.detail ?? picture.detail } : picture;
}

/** @param {number|null|undefined} number @returns {Hung|null} */
export const hungAt = (number) => gallery.value.find((hung) => hung.number === number) ?? null;

/** The picture after, or before, the one of this number. @param {number} number @param {1|-1} step */
export function beside(number, step) {
  const at = gallery.value.findIndex((hung) => hung.number === number);
  return at < 0 ? null : (gallery.value[at + step] ?? null);
}

/** The number of the picture that an answer speaks of, while it is pointed at. */
export const lit = signal(/** @type {number|null} */ (null));

/** Opens the lightbox. @param {number} number @param {boolean} [picking]  to pick a part of it */
export function lookCloser(number, picking = false) {
  lightbox.value = { number, picking };
}

/** @param {Hung} hung @param {Detail} detail */
export function setDetail(hung, detail) {
  if (hung.chip !== null) wish(hung.chip, { detail });
  else change(hung.picture.id, { detail });
}

/** @param {Hung} hung @param {boolean} pinned */
export function setPinned(hung, pinned) {
  if (hung.chip !== null) wish(hung.chip, { pinned });
  else change(hung.picture.id, { pinned: pinned || null });
}

/** @param {string} id @param {{pinned?: boolean|null, detail?: Detail}} wishes */
async function change(id, wishes) {
  try {
    await changePicture(id, wishes);
  } catch (error) {
    chatFailure.value = asFailure(error);
  }
}

/**
 * Asks about a part of a picture with the next question: of one in the composer only this part goes, one in the chat goes once more.
 * @param {Hung} hung
 * @param {Region} region
 */
export function askAbout(hung, region) {
  if (hung.chip !== null) wish(hung.chip, { region });
  else addKnown({ ...hung.picture, region });
  lightbox.value = panel.value = null;
  // What closes gives the focus back to what opened it; the question comes after that.
  requestAnimationFrame(() => document.getElementById('words')?.focus());
}
