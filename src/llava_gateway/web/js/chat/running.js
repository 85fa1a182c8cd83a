// Running answers: read for a question of this page or of another one, with the effects on their turn and chat.

import * as api from '../api.js';
import { asFailure, Failure } from '../api.js';
import { freeSeat, nextSeat, paused, seen } from '../connections.js';
import { loadSessions } from '../models/gateway.js';
import { lastKept, upTo } from '../path.js';
import { sessions } from '../state.js';
import { listen, setPhase } from './answer.js';
import { Turn } from './turns.js';

/** @typedef {import('./turns.js').Chat} Chat */
/** @typedef {import('../connections.js').Seat} Seat */
/** @typedef {ReturnType<typeof api.ask>} Events */
/** @typedef {import('../types.js').Picture} Picture */

const SETTLE_TRIES = 50;
const SETTLE_PAUSE_MS = 100;
const FOLLOW_PAUSES_MS = [0, 500, 1000, 2000, 4000, 8000, 15000];

/** Answers to other pages that wait for a seat, by their sessions. @type {Map<string, AbortController>} */
const waiting = new Map();

/**
 * Follows a running answer of the session, for a question from another page or from this page before a reload. Settles when it has ended,
 * with false if the answer could not be read.
 * @param {Chat} chat
 */
export async function attach(chat) {
  const id = chat.id.value;
  if (!id || !chat.elsewhere.value || waiting.has(id)) return true;
  const controller = new AbortController();
  waiting.set(id, controller);
  const seat = await nextSeat(controller.signal);
  waiting.delete(id);
  if (!seat) return true;
  if (!chat.elsewhere.value || chat.running.value) {
    seat.leave();
    return true;
  }
  const stream = new AbortController();
  const events = await api.follow(id, '', stream.signal).catch(() => null);
  const first = (await events?.next().catch(() => null))?.value;
  if (!events || first?.event !== 'question' || chat.running.value) {
    stream.abort();
    seat.leave();
    return Boolean(chat.running.value);
  }
  const turn = turnOf(chat, first.content);
  chat.elsewhere.value = false;
  /** @param {AbortSignal} stop */
  const open = async (stop) => {
    stop.addEventListener('abort', () => stream.abort());
    return events;
  };
  await answered(chat, turn, controller, () => read(chat, turn, id, controller.signal, open, seat));
  return true;
}

/** The answer to follow has ended already. @param {Chat} chat */
export const leaveTo = (chat) => waiting.get(chat.id.value ?? '')?.abort();

/** Returns the turn of the question that is being answered, at its place in the chat. @param {Chat} chat @param {import('../types.js').RunningQuestion} question */
function turnOf(chat, { prompt, images, model, after, continues }) {
  const grown = continues && chat.turns.value.find((one) => one.id === continues);
  if (grown) {
    grown.goOn();
    return grown;
  }
  const last = lastKept(chat.turns.value);
  const follows = after ?? last;
  // This page may have asked it, and given up after a long loss of the connection.
  const known = chat.turns.value.find((one) => one.id === null && one.prompt === prompt && one.after === follows);
  if (known) {
    known.restart();
    return known;
  }
  const turn = new Turn(prompt, images, model ?? chat.model.value, 'running');
  turn.after = follows;
  turn.instead = follows !== last;
  chat.turns.value = [...(turn.instead ? upTo(chat.turns.value, follows) : chat.turns.value), turn];
  return turn;
}

/** Continues an answer that was stopped or cut off. @param {Chat} chat @param {Turn} turn */
export async function goOn(chat, turn) {
  const { id: turnId } = turn;
  const id = chat.id.value;
  if (!id || turnId === null || chat.running.value || chat.elsewhere.value) return;
  const controller = new AbortController();
  turn.goOn();
  await answered(chat, turn, controller, async () => {
    await chat.settled;
    await read(chat, turn, id, controller.signal, async (stop) => api.goOn(id, turnId, stop));
  });
}

/** Shows an answer while `work` reads it, and its outcome. @param {Chat} chat @param {Turn} turn @param {AbortController} controller @param {() => Promise<void>} work */
export async function answered(chat, turn, controller, work) {
  chat.stopped = false;
  chat.running.value = { turn, stop: controller };
  setPhase(turn, 'asking');
  try {
    await work();
    chat.works();
  } catch (error) {
    const failure = asFailure(error);
    const cancelled = failure.code === 'answer_cancelled';
    if (controller.signal.aborted || (cancelled && failure.reason === 'answer_cancelled')) turn.status.value = 'cancelled';
    else if (cancelled) {
      turn.status.value = 'incomplete';
      turn.cut.value = failure.reason;
    } else {
      turn.status.value = 'failed';
      turn.failure.value = failure;
    }
  } finally {
    turn.phase.value = null;
    if (turn.status.value !== 'failed') turn.base = null;
    chat.running.value = null;
    chat.settled = settle(chat);
    afterwards(chat);
  }
}

/**
 * Reads an answer to its end. If the connection breaks, or is given to another tab for a while, continues after the last event.
 * @param {Chat} chat @param {Turn} turn @param {string} id @param {AbortSignal} stop
 * @param {(stop: AbortSignal) => Promise<Events|null>} open @param {Seat|null} [given]
 */
export async function read(chat, turn, id, stop, open, given) {
  let seat = given ?? (await freeSeat());
  try {
    for (;;) {
      const broken = await readOn(chat, turn, id, stop, open, seat);
      if (!broken) return;
      if (!seat || seat.wanted.aborted) {
        seat?.leave();
        await seen(stop);
        seat = await nextSeat(stop);
      }
      open = (signal) => followAgain(id, turn.lastEvent, signal, broken);
    }
  } finally {
    seat?.leave();
  }
}

/**
 * Reads from one stream. Returns null at the end of the answer, or the reason to continue with another stream.
 * @param {Chat} chat @param {Turn} turn @param {string} id @param {AbortSignal} stop
 * @param {(stop: AbortSignal) => Promise<Events|null>} open @param {Seat|null} seat
 */
async function readOn(chat, turn, id, stop, open, seat) {
  const left = new Failure('cut_off', { retryable: true });
  const stream = new AbortController();
  const end = () => stream.abort();
  const giveUp = () => turn.lastEvent && end(); // a question without any event may not have arrived
  stop.addEventListener('abort', end);
  seat?.wanted.addEventListener('abort', giveUp);
  if (stop.aborted) end();
  let reading = false;
  try {
    const events = await open(stream.signal);
    reading = true;
    const answer = events && (await listen(turn, events, () => Boolean(turn.lastEvent) && (!seat || seat.wanted.aborted)));
    if (answer) {
      finish(chat, turn, answer);
      turn.status.value = 'complete';
    } else if (events) return left;
    else if (!(await takeEnded(chat, turn, id))) throw left;
    return null;
  } catch (error) {
    if (stop.aborted) throw error;
    if (stream.signal.aborted) return left;
    const broken = error !== left && error instanceof Failure && ['network', 'cut_off'].includes(error.code);
    if (!broken || !reading || !turn.lastEvent) throw error;
    return error;
  } finally {
    stop.removeEventListener('abort', end);
    seat?.wanted.removeEventListener('abort', giveUp);
    end();
  }
}

/** @param {string} id @param {string} last @param {AbortSignal} stop @param {Failure} broken  what is wrong if the gateway does not come back */
async function followAgain(id, last, stop, broken) {
  for (const pause of FOLLOW_PAUSES_MS) {
    await paused(pause, stop);
    try {
      return await api.follow(id, last, stop);
    } catch (error) {
      if (!(error instanceof Failure && error.code === 'network')) throw error;
    }
  }
  throw broken;
}

/** Fetches an answer that ended while the connection was broken. Returns false if the session does not have it. @param {Chat} chat @param {Turn} turn @param {string} id */
async function takeEnded(chat, turn, id) {
  const stored = await api.session(id);
  chat.fill(stored);
  const kept = stored.turns.find((one) => one.id === turn.id);
  if (kept) turn.take(kept);
  return Boolean(kept);
}

/** Waits until the gateway has finished the last answer (a stopped one takes a moment), and fetches the result. @param {Chat} chat */
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
      if (news && chat.stopped) await api.cancel(id); // the question may have arrived after it was stopped
      await new Promise((resolve) => setTimeout(resolve, SETTLE_PAUSE_MS));
    }
  } catch {
    chat.unsettled.value = true; // the next question, or the next request for news, reports the error
  }
}

/** @param {Chat} chat @param {Turn} turn @param {import('../types.js').Answer} answer */
function finish(chat, turn, answer) {
  // `done` has the complete answer; the deltas were its parts.
  turn.text.value = answer.message.content;
  turn.id = answer.turn_id;
  turn.model.value = answer.model;
  chat.model.value = answer.model;
  turn.summary.value = answer;
  const asked = turn.images.value;
  // A model that takes one picture got a sheet of several. Then the sheet is the picture of the chat.
  const same = asked.length === answer.images.length;
  turn.images.value = answer.images.map((image, i) => ({ ...(same && asked[i]), ...image, sentModel: answer.model }));
  pin(chat, turn.images.value);
}

/** Pins the pictures that were marked, now that the session has them. @param {Chat} chat @param {Picture[]} images */
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

/** Updates the list of sessions. The gateway derives a session's title from its first question. @param {Chat} chat */
async function afterwards(chat) {
  try {
    await loadSessions();
    const listed = sessions.value?.find((s) => s.id === chat.id.value);
    if (listed) chat.title.value = listed.title;
  } catch {
    // The banner reports that the gateway does not answer. The list stays as it was.
  }
}
