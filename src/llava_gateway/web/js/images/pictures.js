// Pictures of a question that is not sent yet: checked, uploaded, prepared or refused with the reason; then rotated, ordered, and given options.

import { computed, effect, signal, untracked } from '../../vendor/signals.js';
import { pathOf } from './addresses.js';
import { Failure, fetchPicture, listPages, pictureBytes, turnPicture, uploadPicture } from '../api.js';
import { composing } from '../chat/composing.js';
import { t } from '../i18n.js';
import { announcement, catalogue, chat, model } from '../state.js';
import { toast } from '../toasts.js';
import { isDocument } from './documents.js';
import { fileOf, forgetFile, keepFile } from './kept_files.js';

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
 * @property {File|null} file  kept so that the upload can be tried again; null where the gateway had the picture already, or fetches it
 * @property {string|null} from  the address that the gateway fetches it from
 * @property {{field: 'pages'|'frames', number: number}|null} page  what is wanted of a document
 * @property {import('../types.js').PageList|null} list  the pages or frames to choose from, until a person has chosen
 * @property {string|null} preview  address of the file itself, where the browser can show it
 * @property {Picture|null} picture
 * @property {Picture|null} unturned  the picture as it was before it was turned by hand
 * @property {number} turn  degrees, clockwise
 * @property {Failure|null} failure  why it was refused, or could not be turned
 * @property {AbortController} upload
 */

/** The pictures of all drafts: an upload continues while another chat is on screen. */
const all = signal(/** @type {Chip[]} */ ([]));

/** @param {Draft} draft */
export const chipsOf = (draft) => all.value.filter((c) => c.draft === draft);
/** The pictures in the composer. */
export const chips = computed(() => chipsOf(composing.value));
/** The pictures that are, or will be, part of the question. */
export const accepted = computed(() => chips.value.filter((c) => c.state !== 'refused'));
export const underway = computed(() => chips.value.some((c) => c.state === 'uploading' || c.state === 'preparing'));
export const ready = computed(() => chips.value.filter((c) => c.state === 'ready'));

const chosenNow = signal(/** @type {number|null} */ (null));
/** The document or animation of which a person chooses now: one after the other, in the order of the pictures. */
export const choosing = computed(() => chips.value.find((c) => c.key === chosenNow.value && c.list) ?? null);
/** How many more wait for a choice after that one. */
export const waitingToChoose = computed(() => chips.value.filter((c) => c.list).length - 1);

// The pages of an earlier document may be listed later: a choice that is being made goes on.
effect(() => {
  if (!choosing.value) chosenNow.value = chips.value.find((c) => c.list)?.key ?? null;
});

/** Formats that browsers can show. Others get a preview from the gateway once they are prepared. */
const SHOWN = new Set(['image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/bmp', 'image/avif']);

const SCHEME = 'https://';

let keys = 0;

/** @param {Iterable<File>} files */
export function addFiles(files) {
  for (const file of files) add(file);
}

/** Shows a refusal for something that is not a file. @param {string} name @param {string} code */
export function refuse(name, code) {
  all.value = [...all.value, newChip({ name, state: 'refused', failure: new Failure(code) })];
}

/** @param {Partial<Chip> & {name: string}} given @returns {Chip} */
function newChip(given) {
  return {
    key: ++keys,
    draft: composing.value,
    state: 'uploading',
    progress: 0,
    file: null,
    from: null,
    page: null,
    list: null,
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
  const made = newChip({ name, file, failure, state: failure ? 'refused' : 'uploading' });
  all.value = [...all.value, made];
  if (!failure) begin(made.key);
}

/** Uploads a picture, or has it fetched, for the first time or again. Of a document, a person chooses pages first. @param {number} key */
export function begin(key) {
  const chip = find(key);
  if (chip && isDocument(chip) && !chip.page && !chip.picture) choose(chip);
  else upload(key);
}

/** Lists the pages of a document for a choice. One with a single page is uploaded. @param {Chip} chip */
async function choose({ key, name, file, from }) {
  const stop = new AbortController();
  update(key, { state: 'preparing', failure: null, upload: stop });
  try {
    const list = await listPages({ name, file, from }, stop.signal);
    if (list.count > 1) update(key, { list });
    else await upload(key);
  } catch (error) {
    if (!stop.signal.aborted) update(key, { state: 'refused', failure: asFailure(error) });
  }
}

/** Lets a person choose frames of an animation in place of its sheet. @param {number} key */
export async function chooseFrames(key) {
  const sheet = /** @type {Chip} */ (find(key));
  try {
    const list = await listPages(sheet, sheet.upload.signal);
    if (list.count > 1) update(key, { list });
  } catch (error) {
    update(key, { failure: asFailure(error) });
  }
}

/** How many pictures of a document a question has room for: one in its own place, others in free ones. @param {Chip} chip */
export function roomFor({ draft }) {
  const most = catalogue.value?.limits.images_per_turn ?? Infinity;
  return Math.max(0, most - chipsOf(draft).filter((c) => c.state !== 'refused').length) + 1;
}

/** Puts the chosen pages of a document in its place, each as a picture. @param {Chip} chip @param {number[]} numbers */
export function addPages(chip, numbers) {
  const { key, draft, name: whole, file, from, picture } = chip;
  const { field } = /** @type {import('../types.js').PageList} */ (chip.list);
  const made = numbers.map((number) => {
    const name = t(field === 'pages' ? 'pages.named' : 'frames.named', { name: whole, number });
    return newChip({ name, draft, file, from, page: { field, number } });
  });
  if (picture) forgetFile(picture.id);
  all.value = all.value.flatMap((c) => (c.key === key ? made : c));
  for (const page of made) upload(page.key);
}

/** Ends a choice without one: a document goes, and the sheet of an animation stays. A question that waits for it is not sent. @param {Chip} chip */
export function chooseNone({ key, picture, draft }) {
  draft.waits.value = null;
  if (picture) update(key, { list: null });
  else remove(key);
}

/** Nobody can choose, because the gateway did not give the view for it. @param {Chip} chip */
export function failToChoose({ key, picture }) {
  update(key, { list: null, failure: new Failure('network'), ...(!picture && { state: /** @type {const} */ ('refused') }) });
}

/** Has the gateway fetch a picture. @param {string} typed  its address; https is meant where it names no scheme */
export function addFrom(typed) {
  const from = /^[a-z][a-z0-9+.-]*:\/\//i.test(typed) ? typed : `${SCHEME}${typed}`;
  const name = from.replace(/[?#].*/, '').split('/').filter(Boolean).at(-1) ?? from;
  const failure = tooMany();
  const made = newChip({ name, from, failure, state: failure ? 'refused' : 'preparing' });
  all.value = [...all.value, made];
  if (!failure) begin(made.key);
}

/** Adds a picture that the gateway already has, with its options. @param {Picture} picture @param {Draft} [draft] */
export function addKnown(picture, draft = composing.value) {
  const failure = tooMany(draft);
  const name = picture.name ?? t('chip.known');
  all.value = [...all.value, newChip({ name, draft, picture, unturned: picture, failure, state: failure ? 'refused' : 'ready' })];
}

/** Uploads pictures of a draft again that the gateway has lost, or refuses them. Keeps those that could not be checked. @param {Draft} draft */
export function lookFor(draft) {
  for (const { key, picture } of chipsOf(draft)) {
    if (!picture) continue;
    pictureBytes(pathOf(picture.id)).catch((/** @type {Failure} */ { status }) => {
      if (status === 404) sendAgain(key, picture);
    });
  }
}

/** @param {number} key @param {Picture} picture */
async function sendAgain(key, picture) {
  const file = await fileOf(picture.id);
  const now = find(key);
  if (now?.picture !== picture || now.state !== 'ready') return; // it was rotated, or is being uploaded again
  if (file) {
    update(key, { file });
    await upload(key);
  } else update(key, { state: 'refused', picture: null, failure: new Failure('picture_gone') });
}

/** Moves the pictures of a draft to another draft, before that one's own. @param {Draft} from @param {Draft} to */
export function handOver(from, to) {
  const given = chipsOf(from).map((c) => ({ ...c, draft: to }));
  all.value = [...given, ...all.value.filter((c) => c.draft !== from)];
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

// There may be more pictures than a question can have: two drafts were merged, or the limit was not known yet.
effect(() => {
  const most = catalogue.value?.limits.images_per_turn;
  if (!most) return;
  for (const draft of new Set(all.value.map((c) => c.draft))) {
    for (const { key, upload } of chipsOf(draft).filter((c) => c.state !== 'refused').slice(most)) {
      upload.abort();
      update(key, { state: 'refused', preview: null, list: null, failure: tooMany(draft), upload: new AbortController() });
    }
  }
});

// Pictures that were too many take the free places when others were sent, removed or refused.
effect(() => {
  for (const { key, draft, picture, failure } of all.value) {
    if (failure?.code !== 'too_many_pictures' || tooMany(draft)) continue;
    if (picture) update(key, { state: 'ready', failure: null });
    else untracked(() => begin(key));
  }
});

/** Returns a failure that is known before the upload. @param {File} file */
function refusedHere(file) {
  const limits = catalogue.value?.limits;
  if (file.size === 0) return new Failure('empty_image_file');
  // Browsers know few camera raw files, which may be as large as documents: the gateway tells them from other files.
  const large = file.type === 'application/pdf' || file.type === '' || file.type.startsWith('image/x-');
  const most = large ? limits?.document_max_bytes : limits?.image_max_bytes;
  if (most && file.size > most && !file.type.startsWith('video/')) {
    return new Failure(large ? 'document_too_large' : 'image_file_too_large', { values: { bytes: file.size, most_bytes: most } });
  }
  return null;
}

/** @param {number} key */
const find = (key) => all.value.find((c) => c.key === key);

/** @param {number} key @param {Partial<Chip>} change */
function update(key, change) {
  all.value = all.value.map((c) => (c.key === key ? { ...c, ...change } : c));
}

/** @param {number} key */
async function upload(key) {
  const { file = null, from = null, name = '', picture: before = null, page = null } = find(key) ?? {};
  if (!file && !from) return;
  const forModel = model.value;
  const preview = file && SHOWN.has(file.type) && !page ? URL.createObjectURL(file) : null;
  const stop = new AbortController();
  update(key, { state: file ? 'uploading' : 'preparing', progress: 0, preview, failure: null, upload: stop });
  /** @param {number} share */
  const onProgress = (share) => update(key, { progress: share, state: share < 1 ? 'uploading' : 'preparing' });
  try {
    const wanted = page ? { [page.field]: String(page.number) } : {};
    const sent = file
      ? await uploadPicture(file, forModel, onProgress, stop.signal, wanted)
      : await fetchPicture(/** @type {string} */ (from), forModel, stop.signal, wanted);
    if (!before && alreadyThere(key, sent.id)) {
      toast(t('chip.twice', { name }));
      return remove(key);
    }
    const { detail, pinned, region } = find(key)?.picture ?? before ?? {};
    const picture = { ...sent, detail, pinned, region, name, sentModel: forModel ?? undefined };
    // From here on, the gateway's picture is shown instead of the file: it is upright, in true colours, and one frame, as for the model.
    update(key, { state: 'ready', picture, unturned: picture, turn: 0, preview: null });
    if (file && !chat.value?.temporary.value && !page) keepFile(picture.id, file);
  } catch (error) {
    if (!stop.signal.aborted) update(key, { state: 'refused', preview: null, failure: asFailure(error) });
  } finally {
    if (preview) URL.revokeObjectURL(preview);
  }
}

/** Whether a question has this picture, as a whole, by another file or the same one. @param {number} key @param {string} id */
function alreadyThere(key, id) {
  const draft = find(key)?.draft;
  return draft !== undefined && chipsOf(draft).some((c) => c.key !== key && c.picture?.id === id && !c.picture.region);
}

/** @param {unknown} error */
const asFailure = (error) => (error instanceof Failure ? error : new Failure('bad_answer', { message: String(error) }));

/** Whether uploading again can help. It can't if the file itself is bad. @param {Chip} chip */
export function canTryAgain({ state, file, from, failure }) {
  if (state !== 'refused' || !(file || from) || !failure) return false;
  return failure.retryable || ['network', 'bad_answer', 'image_file_not_found', 'storage_full', 'failed_to_download_image'].includes(failure.code);
}

/** @param {number} key */
export function remove(key) {
  const { upload: sending, picture } = find(key) ?? {};
  sending?.abort();
  if (picture) forgetFile(picture.id);
  all.value = all.value.filter((c) => c.key !== key);
}

/**
 * Moves a picture to the place of another one, among those of the question. Refused ones stay at the end.
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
 * Rotates a picture, always from its original: then a JPEG is encoded again only once.
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
    // It was rotated again meanwhile: that picture is on its way.
    const now = find(key);
    if (!now?.picture || now.turn !== angle) return;
    const { detail, pinned, region } = now.picture; // with the options as they are now
    const wishes = { detail, pinned, region: region && turnedRegion(region, by) };
    update(key, { state: 'ready', picture: { ...made, ...wishes, name: before.name, sentModel: angle ? (forModel ?? undefined) : unturned.sentModel } });
  } catch (error) {
    if (before.upload.signal.aborted || find(key)?.turn !== angle) return;
    const failure = asFailure(error);
    if (failure.code === 'image_file_not_found') update(key, { state: 'refused', failure });
    else update(key, { state: 'ready', turn: before.turn, failure });
  }
}

/** Returns where a part of a picture is after the picture was rotated clockwise. @param {Region} region @param {number} by @returns {Region} */
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

/** Returns a picture as a field of a question. @param {Picture} picture */
export function reference({ id, detail, region }) {
  return { image_id: id, ...(detail && { detail }), ...(region && { region }) };
}

/** Takes the prepared pictures for a question; refused ones stay with their reason. @returns {Picture[]} */
export function take() {
  const taken = ready.value;
  all.value = all.value.filter((c) => !taken.includes(c));
  return taken.map((c) => /** @type {Picture} */ (c.picture));
}
