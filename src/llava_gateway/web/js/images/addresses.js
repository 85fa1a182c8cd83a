// Where pictures are fetched from: the gateway's own addresses, or copies where requests must carry a key (an <img> can't).

import { signal } from '../../vendor/signals.js';
import { hasKey, pictureBytes } from '../api.js';

/** How many copies that nothing shows are kept, to be shown again. */
const IDLE_MOST = 48;

/** @type {Map<string, import('../../vendor/signals.js').Signal<string|null>>} */
const copies = new Map();
/** Those that nothing shows; the one that was shown last comes last. @type {Set<string>} */
const idle = new Set();

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
    known = signal(/** @type {string|null} */ (null), { watched: () => void idle.delete(path), unwatched: () => rest(path) });
    copies.set(path, known);
    copy(path, known);
  }
  return known.value;
}

/** @param {string} path @param {import('../../vendor/signals.js').Signal<string|null>} known */
async function copy(path, known) {
  try {
    const bytes = await pictureBytes(path);
    if (copies.get(path) === known) known.value = URL.createObjectURL(bytes);
  } catch {
    known.value = path; // the <img> then fails and says so
  }
}

/** Nothing shows a copy any more: it is kept for a while; one that failed is fetched again when it is next to be shown. @param {string} path */
function rest(path) {
  idle.add(path);
  if (copies.get(path)?.peek() === path) release(path);
  for (const oldest of idle) {
    if (idle.size <= IDLE_MOST) return;
    release(oldest);
  }
}

/** @param {string} path */
function release(path) {
  const known = copies.get(path)?.peek();
  if (known && known !== path) URL.revokeObjectURL(known);
  copies.delete(path);
  idle.delete(path);
}
