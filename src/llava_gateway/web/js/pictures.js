// Pictures on their way into a question: taken from anywhere, checked, uploaded, prepared or refused with the reason.

import { computed, signal } from '../vendor/signals.js';
import { Failure, hasKey, pictureBytes, uploadPicture } from './api.js';
import { bytes, t } from './i18n.js';
import { catalogue, model } from './state.js';

/** @typedef {import('./types.js').Picture} Picture */

/**
 * A picture in the composer.
 * @typedef {object} Chip
 * @property {number} key
 * @property {string} name
 * @property {'uploading'|'preparing'|'ready'|'refused'} state
 * @property {number} progress  share that was uploaded, 0 to 1
 * @property {File|null} file  kept so that the upload can be tried again
 * @property {string|null} preview  address of the file itself, where the browser can show it
 * @property {Picture|null} picture
 * @property {Failure|null} failure
 * @property {AbortController} upload
 */

export const chips = signal(/** @type {Chip[]} */ ([]));
export const underway = computed(() => chips.value.some((c) => c.state === 'uploading' || c.state === 'preparing'));
export const ready = computed(() => chips.value.filter((c) => c.state === 'ready'));

/** What browsers can show; the others get a preview from the gateway once they are prepared. */
const SHOWN = new Set(['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/bmp', 'image/avif']);

let keys = 0;

/** @param {Iterable<File>} files */
export function addFiles(files) {
  for (const file of files) add(file);
}

/** Shows a refusal for something that is not a file. @param {string} name @param {string} code */
export function refuse(name, code) {
  chips.value = [...chips.value, chip({ name, state: 'refused', failure: new Failure(code) })];
}

/** @param {Partial<Chip> & {name: string}} given @returns {Chip} */
function chip(given) {
  return {
    key: ++keys,
    state: 'uploading',
    progress: 0,
    file: null,
    preview: null,
    picture: null,
    failure: null,
    upload: new AbortController(),
    ...given,
  };
}

/** @param {File} file */
function add(file) {
  const name = file.name || t('chip.pasted');
  const failure = refusedHere(file);
  const preview = !failure && SHOWN.has(file.type) ? URL.createObjectURL(file) : null;
  const made = chip({ name, file, preview, failure, state: failure ? 'refused' : 'uploading' });
  chips.value = [...chips.value, made];
  if (!failure) upload(made.key);
}

/** What need not be sent to be refused. @param {File} file */
function refusedHere(file) {
  const limits = catalogue.value?.limits;
  const taken = chips.value.filter((c) => c.state !== 'refused').length;
  if (limits && taken >= limits.images_per_turn) return new Failure('too_many_pictures', { more: { count: limits.images_per_turn } });
  if (file.size === 0) return new Failure('empty_image_file');
  if (limits && file.size > limits.image_max_bytes) {
    return new Failure('image_file_too_large', { more: { size: bytes(file.size), most: bytes(limits.image_max_bytes) } });
  }
  return null;
}

/** @param {number} key @param {Partial<Chip>} change */
function update(key, change) {
  chips.value = chips.value.map((c) => (c.key === key ? { ...c, ...change } : c));
}

/** @param {number} key */
async function upload(key) {
  const made = chips.value.find((c) => c.key === key);
  if (!made?.file) return;
  const forModel = model.value;
  try {
    const picture = await uploadPicture(
      made.file,
      forModel,
      (share) => update(key, { progress: share, state: share < 1 ? 'uploading' : 'preparing' }),
      made.upload.signal,
    );
    if (made.preview) URL.revokeObjectURL(made.preview);
    // From here on the gateway's picture is shown, not the file: it is what the model gets (upright, first frame, true colours).
    update(key, { state: 'ready', picture: { ...picture, name: made.name, sentModel: forModel ?? undefined }, file: null, preview: null });
  } catch (error) {
    if (!made.upload.signal.aborted) update(key, { state: 'refused', failure: asFailure(error) });
  }
}

/** @param {unknown} error */
const asFailure = (error) => (error instanceof Failure ? error : new Failure('bad_answer', { message: String(error) }));

/** @param {number} key */
export function again(key) {
  update(key, { state: 'uploading', progress: 0, failure: null });
  upload(key);
}

/** @param {number} key */
export function remove(key) {
  const gone = chips.value.find((c) => c.key === key);
  gone?.upload.abort();
  if (gone?.preview) URL.revokeObjectURL(gone.preview);
  chips.value = chips.value.filter((c) => c.key !== key);
}

/** Takes the prepared pictures for a question; refused ones stay with their reason. @returns {Picture[]} */
export function take() {
  const taken = ready.value;
  chips.value = chips.value.filter((c) => c.state !== 'ready');
  return taken.map((c) => /** @type {Picture} */ (c.picture));
}

/** @type {Map<string, import('../vendor/signals.js').Signal<string|null>>} */
const addresses = new Map();

/**
 * The address of a picture's bytes for an <img>: the gateway's own, or of a copy where requests must carry a key. Null until it is there.
 * @param {string} id
 * @param {string|null} [forModel]  the rendition that this model gets, instead of the picture
 */
export function address(id, forModel = null) {
  const path = `images/${encodeURIComponent(id)}${forModel ? `?model=${encodeURIComponent(forModel)}` : ''}`;
  if (!hasKey() && forModel) return path;
  const name = forModel ? path : id;
  let known = addresses.get(name);
  if (!known) {
    known = signal(/** @type {string|null} */ (hasKey() ? null : path));
    addresses.set(name, known);
    if (hasKey()) fetchCopy(path, known);
  }
  return known.value;
}

/** @param {string} path @param {import('../vendor/signals.js').Signal<string|null>} known */
async function fetchCopy(path, known) {
  try {
    known.value = URL.createObjectURL(await pictureBytes(path));
  } catch {
    known.value = path; // the <img> then fails and says so
  }
}

/**
 * Everything a drop or paste carries: files are taken; folders and addresses are refused in words, never silently.
 * @param {DataTransfer} data
 * @returns {boolean} whether there was anything
 */
export function takeTransfer(data) {
  const entries = [...data.items].filter((item) => item.kind === 'file');
  for (const item of entries) {
    const file = item.getAsFile();
    if (item.webkitGetAsEntry?.()?.isDirectory) refuse(file?.name || t('chip.folder'), 'folder');
    else if (file) add(file);
  }
  if (entries.length) return true;
  const link = data.getData('text/uri-list') || data.getData('text/plain');
  if (link) refuse(link.slice(0, 200), /^https?:/.test(link) ? 'picture_address' : 'not_a_file');
  return Boolean(link);
}
