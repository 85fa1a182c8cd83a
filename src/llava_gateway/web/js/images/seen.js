// What a model sees of a picture, as the gateway describes and draws it.

import { computed, signal } from '../../vendor/signals.js';
import { address, pathOf } from './addresses.js';
import { haveBeenRead } from './read_ahead.js';
import * as api from '../api.js';
import { chat, models } from '../state.js';

/** @typedef {import('../types.js').Picture} Picture */
/** @typedef {import('../types.js').Seen} Seen */

/** The detail of the chat's pictures that have none of their own. */
export const usualDetail = computed(() => chat.value?.choices.now.value.detail ?? 'auto');

/** @type {Map<string, {age: string, seen: import('../../vendor/signals.js').Signal<Seen|null>}>} */
const known = new Map();

/** With `auto` detail, the gateway decides when the picture is read or asked about, so an earlier description may be outdated. */
const age = computed(() => `${chat.value?.turns.value.length} ${chat.value?.running.value === null} ${haveBeenRead.value}`);

/**
 * Returns the steps, files and tokens of a picture; null if the model is gone or can't see, and until the gateway answers.
 * @param {Picture} picture
 * @param {string|null} forModel
 * @returns {Seen|null}
 */
export function seen(picture, forModel) {
  const path = viewPath(picture, forModel, 'json');
  if (!path) return null;
  let entry = known.get(path);
  if (!entry) {
    entry = { age: '', seen: signal(/** @type {Seen|null} */ (null)) };
    known.set(path, entry);
  }
  if (entry.age !== age.value) {
    entry.age = age.value;
    learn(path, entry.seen);
  }
  return entry.seen.value;
}

/** @param {string} path @param {import('../../vendor/signals.js').Signal<Seen|null>} told */
async function learn(path, told) {
  try {
    told.value = await api.seen(path);
  } catch {
    // The picture itself shows that it is gone.
  }
}

/** Returns the address of the drawing. @param {Picture} picture @param {string|null} forModel */
export function drawing(picture, forModel) {
  const path = viewPath(picture, forModel, 'png');
  return path && address(path);
}

/** @param {Picture} picture @param {string|null} forModel @param {'json'|'png'} format */
function viewPath(picture, forModel, format) {
  if (!forModel || !models.value.some((m) => m.name === forModel && m.vision)) return null;
  const query = new URLSearchParams({ model: forModel, format });
  const detail = picture.detail ?? usualDetail.value;
  if (detail !== 'auto') query.set('detail', detail);
  if (picture.region) query.set('region', picture.region.join(','));
  return `${pathOf(picture.id)}/view?${query}`;
}
