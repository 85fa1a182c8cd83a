// Files of pictures that were added to a question. This browser keeps them for a day, because the gateway loses pictures without a question
// when it stops.

import { pathOf } from './addresses.js';

const DATABASE = 'llava';
const STORE = 'files';
const DAY_MS = 24 * 60 * 60 * 1000;
/** As many as two of the largest questions can have; the oldest files are deleted first. */
const MOST = 128;

/** @typedef {{id: string, file: Blob, name: string, at: number}} Kept */

/** @returns {Promise<IDBDatabase>} */
function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: 'id' }).createIndex('at', 'at');
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * Runs `work` on the store, and closes it. Returns null if this browser keeps nothing.
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} work
 * @returns {Promise<T|null>}
 */
async function on(mode, work) {
  try {
    const database = await opened();
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => {
        database.close();
        resolve(request.result);
      };
      transaction.onerror = transaction.onabort = () => {
        database.close();
        reject(transaction.error);
      };
    });
  } catch {
    return null;
  }
}

/** Stores the file of a picture. @param {string} id @param {File} file */
export async function keepFile(id, file) {
  const now = Date.now();
  const all = /** @type {Kept[]} */ ((await on('readonly', (store) => store.index('at').getAll())) ?? []);
  const old = all.filter(({ at }, i) => at < now - DAY_MS || i < all.length - MOST + 1);
  await on('readwrite', (store) => {
    for (const { id: oldest } of old) store.delete(oldest);
    return store.put({ id, file, name: file.name, at: now });
  });
}

/** @param {string} id */
export const forgetFile = (id) => on('readwrite', (store) => store.delete(id));

export const forgetFiles = () => on('readwrite', (store) => store.clear());

/** Returns the file of a picture that the gateway has lost: as it was added, or as the browser showed it; null if there is neither. @param {string} id */
export async function fileOf(id) {
  const kept = /** @type {Kept|null|undefined} */ (await on('readonly', (store) => store.get(id)));
  if (kept) return new File([kept.file], kept.name, { type: kept.file.type });
  try {
    const shown = await fetch(pathOf(id), { cache: 'only-if-cached', mode: 'same-origin' });
    const bytes = shown.ok ? await shown.blob() : null;
    return bytes && new File([bytes], '', { type: bytes.type });
  } catch {
    return null;
  }
}
