// Comparing: one question about the same pictures, asked of several models or with several options at once, and which answer was best.

import { computed, signal } from '../../vendor/signals.js';
import * as api from '../api.js';
import { asFailure, listen, setPhase, Turn } from './chat.js';
import { seeing } from '../models/models.js';
import { ready } from '../images/pictures.js';
import { catalogue, chat, model, models } from '../state.js';

/** @typedef {import('../types.js').Picture} Picture */

export const MOST = 4;
export const LEAST = 2;
/** What a vote may hold of an answer. */
const ANSWER_MOST = 20_000;
let keys = 0;

/** One of those that are asked: what with, and its answer. */
export class Column {
  /** @param {string|null} name @param {string|null} [preset] */
  constructor(name, preset = null) {
    this.key = ++keys;
    this.model = signal(name);
    /** A preset, OWN, or null for what the model does by itself. */
    this.preset = signal(preset);
    this.detail = signal(/** @type {'auto'|'low'|'high'} */ ('auto'));
    this.turn = signal(/** @type {Turn|null} */ (null));
    this.stop = new AbortController();
    /** What it was asked with, and by whom it was answered. */
    this.asked = /** @type {{engine: string, preset: string|null, detail: 'auto'|'low'|'high', options: Record<string, number>}} */ ({});
  }
}

/** In place of a preset: the options and the preset of the chat on screen. */
export const OWN = ' own';

export const columns = signal(/** @type {Column[]} */ ([]));
export const question = signal('');
/** The chat that is compared in: the one on screen, or while answers that were asked for in another one run, that one. */
const where = signal(/** @type {import('./chat.js').Chat|null} */ (null));
export const isElsewhere = computed(() => where.value !== chat.value);
/** What the answers on screen are about. */
const asked = signal(/** @type {{prompt: string, pictures: Picture[]}|null} */ (null));
export const running = computed(() => columns.value.some(({ turn }) => turn.value?.status.value === 'running'));
export const complete = computed(() => columns.value.filter(({ turn }) => turn.value?.status.value === 'complete'));

/** Which column was voted best, 'tie', or null before the vote. */
export const verdict = signal(/** @type {Column|'tie'|null} */ (null));
export const votes = signal(/** @type {import('../types.js').Votes|null} */ (null));

/** The pictures that are asked about: those in the composer, else those of the chat's last question. */
export const subject = computed(() => {
  if (isElsewhere.value) return asked.value?.pictures ?? [];
  if (ready.value.length) return ready.value.map((chip) => /** @type {Picture} */ (chip.picture));
  return chat.value.turns.value.findLast((turn) => turn.images.value.length)?.images.value ?? [];
});

/** Makes ready to compare; answers about the same pictures of this chat stay, and those that run. @param {string} words  what stands in the composer */
export function begin(words) {
  if (running.value && isElsewhere.value) return;
  if (!running.value) settleHere();
  if (words.trim()) question.value = words.trim();
  question.value ||= chat.value.turns.value.at(-1)?.prompt ?? '';
  if (columns.value.length) return;
  const first = model.value ?? seeing.value?.name ?? null;
  const other = models.value.find((m) => m.name !== first && m.vision)?.name;
  // With a single model it is the options that differ.
  columns.value = [new Column(first), new Column(other ?? first, other ? null : (Object.keys(catalogue.value?.presets ?? {})[0] ?? null))];
}

/** Takes away what was answered in another chat, or about other pictures. */
function settleHere() {
  const moved = isElsewhere.value;
  where.value = chat.value;
  if (!moved && (!asked.value || namesOf(asked.value.pictures) === namesOf(subject.value))) return;
  for (const { turn } of columns.value) turn.value = null;
  asked.value = verdict.value = null;
  question.value = '';
}

/** Tells pictures, and parts of them, from others. @param {Picture[]} pictures */
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

/** Asks all at once; whom the engine can't serve yet it lets wait, and says so. @param {string} prompt */
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
  try {
    const answer = await listen(turn, api.ask(null, body, column.stop.signal));
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
    turn.phase.value = null;
  }
}

export function stopAll() {
  for (const { stop } of columns.value) stop.abort();
}

/** Saves which answer was best, with the figures of all that are whole. Raises a Failure. @param {Column|'tie'} best */
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

/** From the end of the queue to the first word, in ms. @param {Record<string, number|null>} timings */
export const firstWord = ({ first_token_ms: first, queue_ms: queue }) => (first == null ? null : first - (queue ?? 0));
