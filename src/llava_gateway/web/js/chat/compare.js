// Comparing: one question about the same pictures, sent to several models or with several options at once, and a vote for the best answer.

import { computed, signal } from '../../vendor/signals.js';
import * as api from '../api.js';
import { listen, setPhase } from './answer.js';
import { asFailure } from '../api.js';
import { nextSeat } from '../connections.js';
import { Turn } from './turns.js';
import { seeing } from '../models/models.js';
import { ready } from '../images/pictures.js';
import { catalogue, chat, model, models } from '../state.js';

/** @typedef {import('../types.js').Picture} Picture */

export const MOST = 4;
export const LEAST = 2;
/** The longest text of an answer in a vote. */
const ANSWER_MOST = 20_000;
let keys = 0;

/** One column: its model and options, and its answer. */
export class Column {
  /** @param {string|null} name @param {string|null} [preset] */
  constructor(name, preset = null) {
    this.key = ++keys;
    this.model = signal(name);
    /** A preset, OWN, or null for the model's own defaults. */
    this.preset = signal(preset);
    this.detail = signal(/** @type {'auto'|'low'|'high'} */ ('auto'));
    this.turn = signal(/** @type {Turn|null} */ (null));
    this.stop = new AbortController();
    /** The options of its question, and the model that answered. */
    this.asked = /** @type {{engine: string, preset: string|null, detail: 'auto'|'low'|'high', options: Record<string, number>}} */ ({});
  }
}

/** Stands for the options and the preset of the chat on screen. */
export const OWN = ' own';

export const columns = signal(/** @type {Column[]} */ ([]));
export const question = signal('');
/** The chat of the comparison: the one on screen, or another one while its answers are running. */
const where = signal(/** @type {import('./turns.js').Chat|null} */ (null));
export const isElsewhere = computed(() => where.value !== chat.value);
/** The question and pictures of the answers on screen. */
const asked = signal(/** @type {{prompt: string, pictures: Picture[]}|null} */ (null));
export const running = computed(() => columns.value.some(({ turn }) => turn.value?.status.value === 'running'));
export const complete = computed(() => columns.value.filter(({ turn }) => turn.value?.status.value === 'complete'));

/** Which column was voted best, 'tie', or null before the vote. */
export const verdict = signal(/** @type {Column|'tie'|null} */ (null));
export const votes = signal(/** @type {import('../types.js').Votes|null} */ (null));

/** The pictures of the question: those in the composer, else those of the chat's last question. */
export const subject = computed(() => {
  if (isElsewhere.value) return asked.value?.pictures ?? [];
  if (ready.value.length) return ready.value.map((chip) => /** @type {Picture} */ (chip.picture));
  return chat.value.turns.value.findLast((turn) => turn.images.value.length)?.images.value ?? [];
});

/** Prepares a comparison. Keeps running answers, and answers about the same pictures of this chat. @param {string} words  what stands in the composer */
export function begin(words) {
  if (running.value && isElsewhere.value) return;
  if (!running.value) settleHere();
  if (words.trim()) question.value = words.trim();
  question.value ||= chat.value.turns.value.at(-1)?.prompt ?? '';
  if (columns.value.length) return;
  const first = model.value ?? seeing.value?.name ?? null;
  const other = models.value.find((m) => m.name !== first && m.vision)?.name;
  // With a single model, the options differ.
  columns.value = [new Column(first), new Column(other ?? first, other ? null : (Object.keys(catalogue.value?.presets ?? {})[0] ?? null))];
}

/** Removes answers from another chat, or about other pictures. */
function settleHere() {
  const moved = isElsewhere.value;
  where.value = chat.value;
  if (!moved && (!asked.value || namesOf(asked.value.pictures) === namesOf(subject.value))) return;
  for (const { turn } of columns.value) turn.value = null;
  asked.value = verdict.value = null;
  question.value = '';
}

/** Returns a key that identifies pictures and their parts. @param {Picture[]} pictures */
const namesOf = (pictures) => JSON.stringify(pictures.map(({ id, region }) => [id, region ?? null]));

export function add() {
  const used = columns.value.map((column) => column.model.value);
  const other = models.value.find((m) => m.vision && !used.includes(m.name))?.name;
  columns.value = [...columns.value, new Column(other ?? model.value)];
}

/** @param {Column} column */
export function drop(column) {
  column.stop.abort();
  columns.value = columns.value.filter((other) => other !== column);
}

/** Asks all at once. The engine queues those that it can't serve yet, and reports that. @param {string} prompt */
export function askAll(prompt) {
  asked.value = { prompt, pictures: subject.value };
  verdict.value = null;
  return Promise.all(columns.value.map((column) => ask(column, prompt, subject.value)));
}

/** @param {Column} column @param {string} prompt @param {Picture[]} pictures */
async function ask(column, prompt, pictures) {
  const own = column.preset.value === OWN;
  const { preset, options } = own ? chat.value.choices.now.value : { preset: column.preset.value, options: {} };
  const detail = column.detail.value;
  const turn = new Turn(prompt, pictures, column.model.value, 'running');
  column.stop = new AbortController();
  column.turn.value = turn;
  setPhase(turn, 'asking');
  const body = {
    prompt,
    images: pictures.map(({ id, region }) => ({ image_id: id, ...(region && { region }) })),
    ...(column.model.value && { model: column.model.value }),
    ...(preset && { preset }),
    ...(detail !== 'auto' && { detail }),
    ...(Object.keys(options).length && { options }),
  };
  const seat = await nextSeat(column.stop.signal);
  try {
    column.stop.signal.throwIfAborted();
    const answer = /** @type {import('../types.js').Answer} */ (await listen(turn, api.ask(null, body, column.stop.signal)));
    turn.text.value = answer.message.content;
    turn.model.value = answer.model;
    turn.summary.value = answer;
    column.asked = { engine: answer.engine, preset, detail, options };
    turn.status.value = 'complete';
  } catch (error) {
    const stopped = column.stop.signal.aborted;
    if (!stopped) turn.failure.value = asFailure(error);
    turn.status.value = stopped ? 'cancelled' : 'failed';
  } finally {
    seat?.leave();
    turn.phase.value = null;
  }
}

export function stopAll() {
  for (const { stop } of columns.value) stop.abort();
}

/** Saves the vote with the figures of all complete answers. Throws a Failure. @param {Column|'tie'} best */
export async function vote(best) {
  const about = asked.value;
  if (!about) return;
  const candidates = complete.value;
  await api.json('votes', 'POST', {
    prompt: about.prompt,
    images: about.pictures.map(({ id }) => id),
    candidates: candidates.map(candidate),
    best: best === 'tie' ? null : candidates.indexOf(best),
  });
  verdict.value = best;
  await loadVotes();
}

/** @param {Column} column */
function candidate({ turn, asked: { engine, preset, detail, options } }) {
  const { text, model: name, summary } = /** @type {Turn} */ (turn.value);
  const { timings, usage } = /** @type {NonNullable<typeof summary.value>} */ (summary.value);
  const { prompt_tokens = null, completion_tokens = null, cached_tokens = null } = usage;
  const usageTold = { prompt_tokens, completion_tokens, cached_tokens };
  return { model: name.value, engine, preset, detail, options, answer: text.value.slice(0, ANSWER_MOST), timings, usage: usageTold };
}

export async function loadVotes() {
  votes.value = await api.json('votes');
}

export async function forgetVotes() {
  await api.json('votes', 'DELETE');
  await loadVotes();
}

/** Returns the milliseconds from the end of the queue to the first word. @param {Record<string, number|null>} timings */
export const firstWord = ({ first_token_ms: first, queue_ms: queue }) => (first == null ? null : first - (queue ?? 0));
