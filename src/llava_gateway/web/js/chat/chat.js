// A conversation: its turns, its running answer, and its actions.

import { signal } from '../../vendor/signals.js';
import * as api from '../api.js';
import { asFailure } from '../api.js';
import { composing, editing } from './composing.js';
import { loadSessions } from '../models/gateway.js';
import { t } from '../i18n.js';
import { countEntries, nameEntry } from '../layers.js';
import { lookAtChat } from './news.js';
import { asFields } from './options.js';
import { lastKept, upTo } from '../path.js';
import * as pictures from '../images/pictures.js';
import { answered, read } from './running.js';
import { chat as onScreen, drawer, lightbox, panel, pickedModel, sessions } from '../state.js';
import { Chat, Turn } from './turns.js';

/** @typedef {import('../types.js').Picture} Picture */

/** Chats that were opened in this page, so that an answer continues while another chat is on screen. @type {Map<string, Chat>} */
const opened = new Map();

/** The chat of a session, if it was opened in this page. @param {string} id */
export const openedChat = (id) => opened.get(id);

/** Shows an empty chat. Its session is created with the first question. */
export function newChat() {
  goTo(new Chat());
}

/** @param {Chat} next @param {boolean} [instead]  what the address named until now is not to be gone back to */
function goTo(next, instead = false) {
  // Set the address first: layers over the chat close now, and their entry in the history becomes the next chat's.
  setAddress(next.id.value, instead || countEntries() > 0);
  show(next);
}

/** @param {Chat} next */
function show(next) {
  onScreen.value = next;
  opening.value = null;
  pickedModel.value = null;
  panel.value = lightbox.value = null;
  drawer.value = false;
}

/** @param {string|null} id */
const hashOf = (id) => (id ? `#session=${id}` : '');

/** @param {string|null} id @param {boolean} instead */
function setAddress(id, instead) {
  const hash = hashOf(id);
  if (location.hash === hash) return;
  history[instead ? 'replaceState' : 'pushState'](null, '', hash || location.pathname + location.search);
}

/** Opens the chat in the address. */
export async function openAddressed() {
  const id = /^#session=([\w-]+)$/.exec(location.hash)?.[1] ?? null;
  const here = onScreen.value;
  if (here?.id.value === id) {
    if (!id) here.failure.value = null; // the failure was about another address
    return;
  }
  show(new Chat());
  if (id) await openSession(id);
}

/** @param {string} id */
export async function openSession(id) {
  const known = opened.get(id);
  if (known?.running.value) {
    goTo(known);
    return;
  }
  opening.value = id;
  try {
    const news = await api.sessionNews(id, null);
    if (opening.value !== id || !news) return; // another chat was requested meanwhile
    // Opening a chat again shows the same object, because only this page knows a question that failed.
    const chat = opened.get(id) ?? new Chat(id);
    chat.tag = news.tag;
    chat.fill(news.session);
    chat.works();
    opened.set(id, chat);
    goTo(chat);
    lookAtChat();
  } catch (error) {
    if (opening.value !== id) return;
    const empty = new Chat();
    empty.failure.value = asFailure(error);
    goTo(empty, location.hash === hashOf(id));
  }
}

/** The session that is being fetched. */
export const opening = signal(/** @type {string|null} */ (null));

/** @param {string} id @param {string} title */
export async function rename(id, title) {
  await api.renameSession(id, title);
  const chat = opened.get(id);
  if (chat) chat.title.value = title;
  await loadSessions();
}

/** @param {string} id */
export async function forget(id) {
  opened.get(id)?.running.value?.stop.abort();
  await api.deleteSession(id);
  opened.delete(id);
  sessions.value = sessions.value?.filter((s) => s.id !== id) ?? null;
  if (onScreen.value.id.value === id) goTo(new Chat(), true);
}

/** Deletes all sessions permanently. */
export async function forgetAll() {
  for (const chat of opened.values()) chat.running.value?.stop.abort();
  await api.deleteAllSessions();
  opened.clear();
  sessions.value = [];
  goTo(new Chat(), true);
}

/** Stops the answer on screen. Disconnecting would not be enough: the answer belongs to the session and continues without this page. */
export function stop() {
  const chat = onScreen.value;
  if (!chat.running.value) return;
  chat.stopped = true;
  chat.running.value.stop.abort();
  if (chat.id.value) api.cancel(chat.id.value).catch(() => {}); // `settle` tries again
}

/**
 * How to ask a question: as another version of a turn (`after` the one that it followed), with another model than the chat's.
 * @typedef {{after?: number, instead?: boolean, siblings?: number[], model?: string|null, preset?: string|null}} How
 */

/**
 * Asks in the chat on screen.
 * @param {string} prompt
 * @param {Picture[]} images
 * @param {string} [ocrText]  text that another program read in them
 * @param {How} [how]
 */
export async function ask(prompt, images, ocrText = '', how = {}) {
  const chat = onScreen.value;
  if (chat.running.value || chat.elsewhere.value) return;
  const turn = new Turn(prompt, images, how.model ?? pickedModel.value ?? chat.model.value, 'running');
  turn.ocrText = ocrText;
  turn.preset = how.preset ?? null;
  const controller = new AbortController();
  const { after, instead = false, siblings = [] } = how;
  Object.assign(turn, { after: after ?? null, instead });
  turn.siblings.value = siblings;
  chat.turns.value = [...(instead ? upTo(chat.turns.value, after ?? 0) : chat.turns.value), turn];
  await answered(chat, turn, controller, async () => {
    const id = await sessionOf(chat);
    await Promise.all([chat.settled, chat.choices.saved]);
    turn.after ??= lastKept(chat.turns.value);
    const asked = { ...question(chat, turn), on_disconnect: 'continue' };
    await read(chat, turn, id, controller.signal, async (stop) => api.ask(id, asked, stop));
  });
}

/** @param {Chat} chat */
async function sessionOf(chat) {
  if (chat.id.value) return chat.id.value;
  const made = await api.createSession({ ...asFields(chat.choices.now.value), ...(chat.temporary.value && { temporary: true }) });
  chat.id.value = made.id;
  chat.choices.fill(made);
  opened.set(made.id, chat);
  if (onScreen.value === chat) nameEntry(chat, hashOf(made.id));
  loadSessions().catch(() => {});
  return made.id;
}

/** @param {Chat} chat @param {Turn} turn */
function question(chat, turn) {
  return {
    prompt: turn.prompt,
    images: turn.images.value.map(pictures.reference),
    ...(turn.model.value && { model: turn.model.value }),
    ...(turn.ocrText && { ocr_text: turn.ocrText }),
    ...(!chat.id.value && asFields(chat.choices.now.value)), // the gateway knows those of a session
    ...(turn.preset && { preset: turn.preset }),
    ...(chat.id.value && turn.after !== null && { after: turn.after }),
  };
}

/**
 * Returns the request for a question that is still being typed; without a prompt, everything that comes before the question's own words.
 * @param {Chat} chat
 * @param {Picture[]} images
 * @param {string} [prompt]
 */
export function draft(chat, images, prompt = '') {
  const turn = new Turn(prompt, images, pickedModel.value ?? chat.model.value, 'running');
  turn.after = editing.value?.after ?? lastKept(chat.turns.value);
  return question(chat, turn);
}

/** Takes the pictures and the other texts of this question out of the composer. @param {string} words */
export function composed(words) {
  const read = composing.value.ocrText;
  const images = pictures.take();
  const prompt = words.trim() || t(images.length > 1 ? 'ask.describe_several' : 'ask.describe');
  const ocrText = read.value.trim();
  read.value = '';
  return { prompt, images, ocrText };
}

/** Sends the question in the composer. @param {string} words */
export function send(words) {
  const { prompt, images, ocrText } = composed(words);
  return ask(prompt, images, ocrText);
}
