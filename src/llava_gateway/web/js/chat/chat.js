// A conversation: its turns, the answer that is being written, and what can be done with it.

import { signal } from '../../vendor/signals.js';
import * as api from '../api.js';
import { Failure } from '../api.js';
import { composing, editing } from './composing.js';
import { loadSessions } from '../models/gateway.js';
import { duration, number, t } from '../i18n.js';
import { countEntries, nameEntry } from '../layers.js';
import { asFields, Choices } from './options.js';
import { lastKept, placed, upTo } from '../path.js';
import * as pictures from '../images/pictures.js';
import { chat as onScreen, drawer, lightbox, panel, pickedModel, sessions } from '../state.js';

/** @typedef {import('../types.js').Picture} Picture */
/**
 * What is being done for the answer, as the gateway tells it; `since` is performance.now() at its start.
 * @typedef {{name: 'asking'|'queued'|'loading'|'reading'|'writing', since: number, values: Record<string, any>}} Phase
 */
/** @typedef {'running'|'complete'|'cancelled'|'incomplete'|'failed'} Status */

const SETTLE_TRIES = 50;
const SETTLE_PAUSE_MS = 100;
let keys = 0;

/** One question and its answer. What changes while it is written is in signals, so that nothing else is drawn again. */
export class Turn {
  /** @param {string} prompt @param {Picture[]} images @param {string|null} model @param {Status} status */
  constructor(prompt, images, model, status) {
    this.key = ++keys;
    /** Its id in the session; null where the session does not have it. */
    this.id = /** @type {number|null} */ (null);
    /** The id of the turn it follows, 0 for none; null while that is not known. */
    this.after = /** @type {number|null} */ (null);
    /** Whether it was asked in the place of another one, and the ids of all that the session has in its place. */
    this.instead = false;
    this.siblings = signal(/** @type {number[]} */ ([]));
    this.prompt = prompt;
    this.images = signal(images);
    /** Text that another program read in the pictures, as it was sent; known to this page only. */
    this.ocrText = '';
    /** The preset that it alone was asked with. */
    this.preset = /** @type {string|null} */ (null);
    this.model = signal(model);
    this.status = signal(status);
    this.text = signal('');
    this.reasoning = signal('');
    this.phase = signal(/** @type {Phase|null} */ (null));
    this.failure = signal(/** @type {Failure|null} */ (null));
    /** Figures and warnings of an answer that ended; `context` only in the page that asked. */
    this.summary = signal(
      /** @type {(Pick<import('../types.js').Answer, 'usage'|'timings'|'warnings'|'finish_reason'> & {context?: import('../types.js').ContextReport})|null} */ (
        null
      ),
    );
  }

  /** @param {import('../types.js').StoredTurn} stored @param {string|null} model */
  static fromStored(stored, model) {
    const sentModel = stored.model ?? model;
    const images = stored.images.map((picture) => ({ ...picture, sentModel: sentModel ?? undefined }));
    const turn = new Turn(stored.prompt, images, sentModel, stored.status);
    turn.text.value = stored.message?.content ?? '';
    if (stored.usage) {
      turn.summary.value = {
        usage: stored.usage,
        timings: stored.timings ?? {},
        warnings: stored.warnings ?? [],
        finish_reason: stored.finish_reason === 'length' ? 'length' : 'stop',
      };
    }
    return turn;
  }

  /** Takes its place among the turns of the session. @param {import('../types.js').StoredTurn} stored */
  stand({ id, after, siblings }) {
    this.id = id;
    this.after = after ?? 0;
    if (String(siblings) !== String(this.siblings.value)) this.siblings.value = siblings;
  }
}

export class Chat {
  /** @param {string|null} [id] */
  constructor(id = null) {
    this.id = signal(id);
    this.title = signal(/** @type {string|null} */ (null));
    this.model = signal(/** @type {string|null} */ (null));
    this.choices = new Choices(this.id);
    this.turns = signal(/** @type {Turn[]} */ ([]));
    /** What the session keeps of its pictures. */
    this.pictures = signal(/** @type {import('../types.js').KeptPictures} */ ({}));
    this.running = signal(/** @type {{turn: Turn, stop: AbortController}|null} */ (null));
    /** Whether another page is being answered in this session. */
    this.elsewhere = signal(false);
    /** Settles when the gateway is done with the last answer, and the chat is as the gateway has it. */
    this.settled = Promise.resolve();
    /** Why it could not be opened, or what was done in it last failed: shown until something goes well, or it is put away. */
    this.failure = signal(/** @type {Failure|null} */ (null));
    /** Whether the gateway has it no longer. */
    this.gone = false;
    /** Names what the gateway had of the session when it was looked at last. */
    this.tag = /** @type {string|null} */ (null);
  }

  /** Takes what the gateway has of the session; what is known to this page only stays. @param {import('../types.js').Session} stored */
  fill(stored) {
    this.title.value = stored.title;
    this.model.value = stored.model;
    this.choices.fill(stored);
    const turns = placed(stored.turns, this.turns.value, (turn) => Turn.fromStored(turn, stored.model));
    // Where nothing has moved, a long chat need not be drawn again.
    if (turns.length !== this.turns.value.length || turns.some((turn, i) => turn !== this.turns.value[i])) this.turns.value = turns;
    this.pictures.value = stored.images;
    this.elsewhere.value = stored.running && !this.running.value;
  }

  /** Something was done in it, or it was found: what failed before is over. */
  works() {
    this.failure.value = null;
    this.gone = false;
  }
}

/** Chats that were opened in this page, so that an answer goes on while another chat is looked at. @type {Map<string, Chat>} */
const opened = new Map();

/** The chat of a session, if it was opened in this page. @param {string} id */
export const openedChat = (id) => opened.get(id);

/** Shows an empty chat; the session is made with its first question. */
export function newChat() {
  goTo(new Chat());
}

/** @param {Chat} next @param {boolean} [instead]  what the address named until now is not to be gone back to */
function goTo(next, instead = false) {
  // First the address: what lies over the chat closes now, and its entry in the history is the next chat's then.
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

/** Opens what the address names. */
export async function openAddressed() {
  const id = /^#session=([\w-]+)$/.exec(location.hash)?.[1] ?? null;
  const here = onScreen.value;
  if (here?.id.value === id) {
    if (!id) here.failure.value = null; // it was about another address
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
    const stored = await api.session(id);
    if (opening.value !== id) return; // another one was asked for meanwhile
    // Opened once more it is the same one: a question that failed is known to this page only.
    const chat = opened.get(id) ?? new Chat(id);
    chat.fill(stored);
    chat.works();
    opened.set(id, chat);
    goTo(chat);
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

/** Stops the answer on screen; the gateway notices that we left and frees the engine. */
export function stop() {
  onScreen.value.running.value?.stop.abort();
}

/**
 * How a question is asked: in the place of another turn (after the one that this followed), by another model than the chat's.
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
  chat.running.value = { turn, stop: controller };
  setPhase(turn, 'asking');
  try {
    const id = await sessionOf(chat);
    await Promise.all([chat.settled, chat.choices.saved]);
    turn.after ??= lastKept(chat.turns.value);
    await read(chat, turn, id, controller.signal);
    turn.status.value = 'complete';
    chat.works();
  } catch (error) {
    const stopped = controller.signal.aborted;
    turn.status.value = stopped ? 'cancelled' : 'failed';
    if (!stopped) turn.failure.value = asFailure(error);
  } finally {
    turn.phase.value = null;
    chat.running.value = null;
    chat.settled = settle(chat);
    afterwards(chat);
  }
}

/** @param {Chat} chat */
async function sessionOf(chat) {
  if (chat.id.value) return chat.id.value;
  const made = await api.createSession(asFields(chat.choices.now.value));
  chat.id.value = made.id;
  chat.choices.fill(made);
  opened.set(made.id, chat);
  if (onScreen.value === chat) nameEntry(chat, hashOf(made.id));
  loadSessions().catch(() => {});
  return made.id;
}

/** @param {Turn} turn @param {Phase['name']} name @param {Record<string, any>} [values] */
export function setPhase(turn, name, values = {}) {
  const before = turn.phase.value;
  turn.phase.value = { name, values, since: before?.name === name ? before.since : performance.now() };
}

/** @param {Chat} chat @param {Turn} turn @param {string} id @param {AbortSignal} stop */
async function read(chat, turn, id, stop) {
  finish(chat, turn, await listen(turn, api.ask(id, question(chat, turn), stop)));
}

/** Writes an answer into a turn as it comes. @param {Turn} turn @param {ReturnType<typeof api.ask>} events @returns {Promise<import('../types.js').Answer>} */
export async function listen(turn, events) {
  const words = new Words(turn);
  let answer;
  try {
    for await (const { event, content } of events) {
      switch (event) {
        case 'queued':
        case 'loading':
          setPhase(turn, event, content);
          break;
        case 'progress':
          setPhase(turn, 'reading', content);
          break;
        case 'reasoning':
          turn.reasoning.value += content.text;
          break;
        case 'delta':
          words.add(content.text);
          break;
        case 'done':
          answer = content;
      }
    }
  } finally {
    words.flush();
  }
  return answer;
}

/** @param {Chat} chat @param {Turn} turn */
function question(chat, turn) {
  return {
    prompt: turn.prompt,
    images: turn.images.value.map(pictures.reference),
    ...(turn.model.value && { model: turn.model.value }),
    ...(turn.ocrText && { ocr_text: turn.ocrText }),
    ...(!chat.id.value && asFields(chat.choices.now.value)), // of a session the gateway knows them
    ...(turn.preset && { preset: turn.preset }),
    ...(chat.id.value && turn.after !== null && { after: turn.after }),
  };
}

/**
 * A question as far as it is known while it is typed; without a prompt, all that comes before its own words.
 * @param {Chat} chat
 * @param {Picture[]} images
 * @param {string} [prompt]
 */
export function draft(chat, images, prompt = '') {
  const turn = new Turn(prompt, images, pickedModel.value ?? chat.model.value, 'running');
  turn.after = editing.value?.after ?? lastKept(chat.turns.value);
  return question(chat, turn);
}

/** Waits until the gateway is done with the last answer (one that was stopped takes it a moment), and takes what it then has. @param {Chat} chat */
async function settle(chat) {
  const id = chat.id.value;
  if (!id) return;
  try {
    for (let left = SETTLE_TRIES; left; left--) {
      const news = await api.sessionNews(id, null);
      if (news && !news.session.running) {
        chat.tag = news.tag;
        chat.fill(news.session);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, SETTLE_PAUSE_MS));
    }
  } catch {
    // The next question, or the next look for news, says what is wrong.
  }
}

/** Words as they come, drawn once a frame. */
class Words {
  /** @param {Turn} turn */
  constructor(turn) {
    this.turn = turn;
    this.waiting = '';
    this.pieces = 0;
    this.frame = 0;
  }

  /** @param {string} text */
  add(text) {
    this.pieces++;
    this.waiting += text;
    this.frame ||= requestAnimationFrame(() => this.flush());
  }

  flush() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (!this.waiting) return;
    this.turn.text.value += this.waiting;
    this.waiting = '';
    setPhase(this.turn, 'writing', { pieces: this.pieces });
  }
}

/** @param {Chat} chat @param {Turn} turn @param {import('../types.js').Answer} answer */
function finish(chat, turn, answer) {
  // The answer is whole in `done`; the deltas were its parts.
  turn.text.value = answer.message.content;
  turn.id = answer.turn_id;
  turn.model.value = answer.model;
  chat.model.value = answer.model;
  turn.summary.value = answer;
  const asked = turn.images.value;
  // A model of one picture was sent a sheet of several: that is the picture of the chat then.
  const same = asked.length === answer.images.length;
  turn.images.value = answer.images.map((image, i) => ({ ...(same && asked[i]), ...image, sentModel: answer.model }));
  pin(chat, turn.images.value);
}

/** Pins what was to be pinned, now that the session has it. @param {Chat} chat @param {Picture[]} images */
async function pin(chat, images) {
  const wanted = images.filter((picture) => picture.pinned);
  if (!wanted.length || !chat.id.value) return;
  try {
    const pins = Object.fromEntries(wanted.map(({ id }) => [id, { pinned: true }]));
    const stored = await api.changeSession(chat.id.value, { images: pins });
    chat.pictures.value = stored.images;
  } catch (error) {
    chat.failure.value = asFailure(error);
  }
}

/** Brings the list of sessions up to date; the gateway titles a session by its first question. @param {Chat} chat */
async function afterwards(chat) {
  try {
    await loadSessions();
    const listed = sessions.value?.find((s) => s.id === chat.id.value);
    if (listed) chat.title.value = listed.title;
  } catch {
    // The banner says that the gateway is gone; the list stays as it was.
  }
}

/** @param {unknown} error */
export const asFailure = (error) => (error instanceof Failure ? error : new Failure('page_error', { message: String(error) }));

/** Takes what is to be asked with these words out of the composer. @param {string} words */
export function composed(words) {
  const read = composing.value.ocrText;
  const images = pictures.take();
  const prompt = words.trim() || t(images.length > 1 ? 'ask.describe_several' : 'ask.describe');
  const ocrText = read.value.trim();
  read.value = '';
  return { prompt, images, ocrText };
}

/** Sends what is in the composer. @param {string} words */
export function send(words) {
  const { prompt, images, ocrText } = composed(words);
  return ask(prompt, images, ocrText);
}

/**
 * Tokens a second of an ended answer, null where the engine did not tell.
 * @param {{usage: import('../types.js').Usage, timings: Record<string, number|null>}} summary
 */
export function speed({ usage, timings }) {
  const { completion_tokens: tokens } = usage;
  const { generation_ms: ms } = timings;
  return tokens && ms ? (tokens / ms) * 1000 : null;
}

/** The words for what is being done. @param {Phase} phase @param {number} pictureCount @param {number} now */
export function phaseWords(phase, pictureCount, now) {
  const { name, values } = phase;
  const seconds = Math.floor((now - phase.since) / 1000);
  const after = seconds >= 2 ? t('phase.for', { duration: duration(seconds * 1000) }) : '';
  switch (name) {
    case 'queued':
      return t('phase.queued', { position: values.position }) + after;
    case 'loading': {
      const last = values.last_load_ms ? t('phase.last_load', { duration: duration(values.last_load_ms) }) : '';
      return t('phase.loading', { model: values.model }) + last + after;
    }
    case 'reading': {
      const key = pictureCount > 1 ? 'phase.reading_pictures' : pictureCount ? 'phase.reading_picture' : 'phase.reading';
      return t(key, { processed: values.processed, total: values.total }) + after;
    }
    case 'writing': {
      const rate = seconds >= 1 ? (values.pieces / (now - phase.since)) * 1000 : 0;
      return rate ? t('phase.writing_rate', { rate: number(rate, { maximumFractionDigits: rate < 10 ? 1 : 0 }) }) : t('phase.writing');
    }
    default:
      return t('phase.asking') + after;
  }
}
