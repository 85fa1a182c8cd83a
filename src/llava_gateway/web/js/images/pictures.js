// Pictures on their way into a question: checked, uploaded, prepared or refused with the reason; then turned, ordered, and wished for.

import { computed, effect, signal, untracked } from '../../vendor/signals.js';
import { pathOf } from './addresses.js';
import { Failure, pictureBytes, turnPicture, uploadPicture } from '../api.js';
import { composing } from '../chat/composing.js';
import { t } from '../i18n.js';
import { announcement, catalogue, model } from '../state.js';

/** @typedef {import('../types.js').Picture} Picture */
/** @typedef {import('../types.js').Region} Region */
/** @typedef {import('../chat/composing.js').Draft} Draft */

/**
 * A picture in the composer.
 * @typedef {object} Chip
 * @property {number} key
 * @property {Draft} draft  what it belongs to
 * @property {string} name
 * @property {'uploading'|'preparing'|'ready'|'refused'} state
 * @property {number} progress  share that was uploaded, 0 to 1
 * @property {File|null} file  kept so that the upload can be tried again; null where the gateway had the picture already
 * @property {string|null} preview  address of the file itself, where the browser can show it
 * @property {Picture|null} picture
 * @property {Picture|null} unturned  the picture as it was before it was turned by hand
 * @property {number} turn  degrees, clockwise
 * @property {Failure|null} failure  why it was refused, or could not be turned
 * @property {AbortController} upload
 */

/** Those of all drafts: an upload goes on while another chat is looked at. */
const all = signal(/** @type {Chip[]} */ ([]));

/** @param {Draft} draft */
export const chipsOf = (draft) => all.value.filter((c) => c.draft === draft);
/** Those in the composer. */
export const chips = computed(() => chipsOf(composing.value));
/** Those that are, or will be, part of the question. */
export const accepted = computed(() => chips.value.filter((c) => c.state !== 'refused'));
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
  all.value = [...all.value, chip({ name, state: 'refused', failure: new Failure(code) })];
}

/** @param {Partial<Chip> & {name: string}} given @returns {Chip} */
function chip(given) {
  return {
    key: ++keys,
    draft: composing.value,
    state: 'uploading',
    progress: 0,
    file: null,
    preview: null,
    picture: null,
    unturned: null,
    turn: 0,
    failure: null,
    upload: new AbortController(),
    ...given,
  };
}

/** @param {File} file */
export function add(file) {
  const name = file.name || t('chip.pasted');
  const failure = refusedHere(file) ?? tooMany();
  const made = chip({ name, file, failure, state: failure ? 'refused' : 'uploading' });
  all.value = [...all.value, made];
  if (!failure) upload(made.key);
}

/** Takes a picture that the gateway has, as it was asked about or is to be. @param {Picture} picture @param {Draft} [draft] */
export function addKnown(picture, draft = composing.value) {
  const failure = tooMany(draft);
  const name = picture.name ?? t('chip.known');
  all.value = [...all.value, chip({ name, draft, picture, unturned: picture, failure, state: failure ? 'refused' : 'ready' })];
}

/** Refuses the pictures of a draft that the gateway has no longer; one that it can't be asked about stays. @param {Draft} draft */
export function lookFor(draft) {
  for (const { key, picture } of chipsOf(draft)) {
    if (!picture) continue;
    pictureBytes(pathOf(picture.id)).catch((/** @type {Failure} */ { status }) => {
      if (status === 404) update(key, { state: 'refused', picture: null, failure: new Failure('picture_gone') });
    });
  }
}

/** Gives the pictures of a draft to another one, before those that it has. @param {Draft} from @param {Draft} to */
export function handOver(from, to) {
  const given = chipsOf(from).map((c) => ({ ...c, draft: to }));
  all.value = [...given, ...all.value.filter((c) => c.draft !== from)];
  const most = catalogue.value?.limits.images_per_turn ?? Infinity;
  for (const { key, state } of chipsOf(to).filter((c) => c.state !== 'refused').slice(most)) {
    if (state === 'ready') update(key, { state: 'refused', failure: tooMany(to) });
  }
}

/** @param {Draft} draft */
export function discard(draft) {
  const discarded = chipsOf(draft);
  for (const { upload } of discarded) upload.abort();
  all.value = all.value.filter((c) => !discarded.includes(c));
}

/** @param {Draft} [draft] */
function tooMany(draft = composing.value) {
  const most = catalogue.value?.limits.images_per_turn;
  return most && chipsOf(draft).filter((c) => c.state !== 'refused').length >= most ? new Failure('too_many_pictures', { values: { count: most } }) : null;
}

// What was too many takes the room that it then finds: the others were sent, or removed, or refused.
effect(() => {
  for (const { key, draft, picture, failure } of all.value) {
    if (failure?.code !== 'too_many_pictures' || tooMany(draft)) continue;
    if (picture) update(key, { state: 'ready', failure: null });
    else untracked(() => upload(key));
  }
});

/** What need not be sent to be refused. @param {File} file */
function refusedHere(file) {
  const limits = catalogue.value?.limits;
  if (file.size === 0) return new Failure('empty_image_file');
  if (limits && file.size > limits.image_max_bytes) {
    return new Failure('image_file_too_large', { values: { bytes: file.size, most_bytes: limits.image_max_bytes } });
  }
  return null;
}

/** @param {number} key */
const find = (key) => all.value.find((c) => c.key === key);

/** @param {number} key @param {Partial<Chip>} change */
function update(key, change) {
  all.value = all.value.map((c) => (c.key === key ? { ...c, ...change } : c));
}

/** Uploads a picture, for the first time or once more. @param {number} key */
export async function upload(key) {
  const { file = null, name = '' } = find(key) ?? {};
  if (!file) return;
  const forModel = model.value;
  const preview = SHOWN.has(file.type) ? URL.createObjectURL(file) : null;
  const stop = new AbortController();
  update(key, { state: 'uploading', progress: 0, preview, failure: null, upload: stop });
  try {
    const sent = await uploadPicture(
      file,
      forModel,
      (share) => update(key, { progress: share, state: share < 1 ? 'uploading' : 'preparing' }),
      stop.signal,
    );
    const picture = { ...sent, name, sentModel: forModel ?? undefined };
    // From here on the gateway's picture is shown, not the file: it is what the model gets (upright, first frame, true colours).
    update(key, { state: 'ready', picture, unturned: picture, turn: 0, preview: null });
  } catch (error) {
    if (!stop.signal.aborted) update(key, { state: 'refused', preview: null, failure: asFailure(error) });
  } finally {
    if (preview) URL.revokeObjectURL(preview);
  }
}

/** @param {unknown} error */
const asFailure = (error) => (error instanceof Failure ? error : new Failure('bad_answer', { message: String(error) }));

/** Whether uploading once more can help; what was wrong with the file itself stays wrong. @param {Chip} chip */
export function canTryAgain({ state, file, failure }) {
  if (state !== 'refused' || !file || !failure) return false;
  return failure.retryable || ['network', 'bad_answer', 'image_file_not_found', 'storage_full'].includes(failure.code);
}

/** @param {number} key */
export function remove(key) {
  find(key)?.upload.abort();
  all.value = all.value.filter((c) => c.key !== key);
}

/**
 * Puts a picture where another one is, among those of the question; refused ones stay behind them.
 * @param {number} key
 * @param {number} place  from 0
 */
export function move(key, place) {
  const others = accepted.value.filter((c) => c.key !== key);
  const moved = find(key);
  if (!moved || moved.state === 'refused' || place < 0 || place > others.length || accepted.value[place]?.key === key) return;
  const refused = chips.value.filter((c) => c.state === 'refused');
  all.value = [...all.value.filter((c) => c.draft !== moved.draft), ...others.slice(0, place), moved, ...others.slice(place), ...refused];
  announcement.value = t('chip.moved', { name: moved.name, place: place + 1, of: others.length + 1 });
}

/**
 * Turns a picture, always from what it was at first: a JPEG is encoded again only once.
 * @param {number} key
 * @param {90|180|270} by  degrees, clockwise
 */
export async function turn(key, by) {
  const before = find(key);
  if (!before?.picture || !before.unturned) return;
  const angle = (before.turn + by) % 360;
  const { unturned } = before;
  const forModel = model.value;
  update(key, { turn: angle, state: 'preparing', failure: null });
  try {
    const made = angle ? await turnPicture(unturned.id, /** @type {90|180|270} */ (angle), forModel, before.upload.signal) : unturned;
    // Turned once more meanwhile: that one's picture is on its way.
    const now = find(key);
    if (!now?.picture || now.turn !== angle) return;
    const { detail, pinned, region } = now.picture; // as they are wished for by now
    const wishes = { detail, pinned, region: region && turnedRegion(region, by) };
    update(key, { state: 'ready', picture: { ...made, ...wishes, name: before.name, sentModel: angle ? (forModel ?? undefined) : unturned.sentModel } });
  } catch (error) {
    if (before.upload.signal.aborted || find(key)?.turn !== angle) return;
    const failure = asFailure(error);
    if (failure.code === 'image_file_not_found') update(key, { state: 'refused', failure });
    else update(key, { state: 'ready', turn: before.turn, failure });
  }
}

/** A part of a picture in the picture turned clockwise. @param {Region} region @param {number} by @returns {Region} */
function turnedRegion(region, by) {
  let [x, y, width, height] = region;
  for (let done = 0; done < by; done += 90) [x, y, width, height] = [1 - y - height, x, height, width];
  return [x, y, width, height];
}

/** @param {number} key @param {Partial<Pick<Picture, 'detail'|'pinned'|'region'>>} wishes  undefined takes one back */
export function wish(key, wishes) {
  const picture = find(key)?.picture;
  if (picture) update(key, { picture: { ...picture, ...wishes } });
}

/** A picture as a question names it. @param {Picture} picture */
export function reference({ id, detail, region }) {
  return { image_id: id, ...(detail && { detail }), ...(region && { region }) };
}

/** Takes the prepared pictures for a question; refused ones stay with their reason. @returns {Picture[]} */
export function take() {
  const taken = ready.value;
  all.value = all.value.filter((c) => !taken.includes(c));
  return taken.map((c) => /** @type {Picture} */ (c.picture));
}
