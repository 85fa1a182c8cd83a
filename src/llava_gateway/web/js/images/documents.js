// Documents on their way into a question: their pages are listed, a person chooses some, and each of these is a picture like any other.

import { signal } from '../../vendor/signals.js';
import { listPages } from '../api.js';
import { composing } from '../chat/composing.js';
import { overlay } from '../state.js';

/** @typedef {import('../types.js').PageList} PageList */

/**
 * Where a document is: a file of this person, or an address that the gateway fetches it from.
 * @typedef {{name: string, file: File|null, from: string|null}} Source
 */

/**
 * The document whose pages are being chosen.
 * @type {import('../../vendor/signals.js').Signal<{source: Source, list: PageList, draft: import('../chat/composing.js').Draft, replaces: number|null}|null>}
 */
export const choosing = signal(/** @type {any} */ (null));

/** Whether a file is a document by its type or its name. The gateway looks into it. @param {Source} source */
export const isDocument = ({ name, file }) => /^(application\/pdf|image\/tiff|video\/.*)$/.test(file?.type ?? '') || /\.(pdf|tiff?|mp4|mov|webm|mkv|avi)$/i.test(name);

/**
 * Lists the pages of a file and lets a person choose. Raises a Failure.
 * @param {Source} source
 * @param {AbortSignal} stop
 * @param {number|null} [replaces]  the key of the chip that the chosen pages take the place of
 * @returns {Promise<boolean>} whether there is anything to choose from
 */
export async function choosePages(source, stop, replaces = null) {
  const draft = composing.value;
  const list = await listPages(source, stop);
  if (list.count < 2) return false;
  choosing.value = { source, list, draft, replaces };
  overlay.value = 'pages';
  return true;
}
