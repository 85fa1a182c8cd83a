// The addresses of pictures: the gateway's own, or those of copies if requests must carry a key (an <img> can't).

import { signal } from '../../vendor/signals.js';
import { hasKey, pictureBytes } from '../api.js';

/** How many copies are kept that nothing shows at the moment. */
const IDLE_MOST = 48;

/** @type {Map<string, import('../../vendor/signals.js').Signal<string|null>>} */
const copies = new Map();
/** Copies that nothing shows; the most recently shown one comes last. @type {Set<string>} */
const idle = new Set();

/** Returns the path of a picture. @param {string} id */
export const pathOf = (id) => `images/${encodeURIComponent(id)}`;

/**
 * Returns the address for an <img> of the content at `path`; null until it is there.
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
    known.value = path; // then the <img> fails and shows it
  }
}

/** Nothing shows the copy any more. It is kept for a while; a failed one is fetched again when it is shown next. @param {string} path */
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
