// Restores a chat that the gateway has lost, from what this page still shows: its turns, and the pictures that the browser still has.

import * as api from '../api.js';
import { fileOf } from '../images/kept_files.js';
import { asFields } from './options.js';

/** @typedef {import('./turns.js').Chat} Chat */
/** @typedef {import('./turns.js').Turn} Turn */

/** @param {Blob} file @returns {Promise<string>} */
const base64 = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).replace(/^.*?,/, ''));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });

/**
 * Creates the session again, under another id.
 * @param {Chat} chat
 * @returns {Promise<{id: string, lost: number}>}  `lost`: how many pictures are not there any more
 */
export async function revive(chat) {
  const turns = chat.turns.value.filter(({ status }) => ['complete', 'cancelled', 'incomplete'].includes(status.value));
  const ids = new Set(turns.flatMap((turn) => turn.images.value.map(({ id }) => id)));
  const images = /** @type {Record<string, {data: string}>} */ ({});
  for (const id of ids) {
    const file = await fileOf(id);
    if (file) images[id] = { data: await base64(file) };
  }
  const session = {
    title: chat.title.value ?? '',
    model: chat.model.value ?? '',
    ...asFields(chat.choices.now.value),
    turns: turns.map((turn, i) => asArchived(turn, i + 1, images)),
  };
  const archive = { format: 'llava-gateway-session', version: 1, session, images };
  const made = await api.importSession(new File([JSON.stringify(archive)], 'chat.json'));
  return { id: made.id, lost: ids.size - Object.keys(images).length };
}

/** @param {Turn} turn @param {number} id @param {Record<string, unknown>} images */
function asArchived(turn, id, images) {
  const shown = turn.images.value.filter((picture) => picture.id in images);
  return {
    id,
    after: id > 1 ? id - 1 : null,
    parts: [
      ...shown.map(({ id: image, detail, region }) => ({ image, sight: { ...(detail && { detail }), ...(region && { region }) } })),
      { text: turn.prompt },
    ],
    answer: turn.text.value,
    status: turn.status.value,
    model: turn.model.value ?? '',
  };
}
