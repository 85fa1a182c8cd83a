// Where pictures are fetched from: the gateway's own addresses, or copies where requests must carry a key (an <img> can't).

import { signal } from '../vendor/signals.js';
import { hasKey, pictureBytes } from './api.js';

/** @type {Map<string, import('../vendor/signals.js').Signal<string|null>>} */
const copies = new Map();

/** The path of a picture. @param {string} id */
export const pathOf = (id) => `images/${encodeURIComponent(id)}`;

/**
 * The address of what the gateway has at `path`, for an <img>. Null until it is there.
 * @param {string} path
 * @returns {string|null}
 */
export function address(path) {
  if (!hasKey()) return path;
  let known = copies.get(path);
  if (!known) {
    known = signal(/** @type {string|null} */ (null));
    copies.set(path, known);
    copy(path, known);
  }
  return known.value;
}

/** @param {string} path @param {import('../vendor/signals.js').Signal<string|null>} known */
async function copy(path, known) {
  try {
    known.value = URL.createObjectURL(await pictureBytes(path));
  } catch {
    known.value = path; // the <img> then fails and says so
  }
}
