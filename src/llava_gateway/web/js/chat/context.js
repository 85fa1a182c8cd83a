// How full the model's context is: reported by every answer, counted while a question is typed, and never counted during an answer.

import { computed, effect, signal } from '../../vendor/signals.js';
import * as api from '../api.js';
import { draft } from './chat.js';
import { composing } from './composing.js';
import { ready, underway } from '../images/pictures.js';
import { chat, model, modelInfo, readiness } from '../state.js';

/** @typedef {import('../types.js').Counted} Counted */
/** @typedef {import('./turns.js').Chat} Chat */

/**
 * Tokens by use. `label` is null if the engine itself counted an answer; `assumed` gives the reason if the limit is only assumed.
 * @typedef {{system: number, text: number, images: number, used: number, limit: number, over: number, assumed: import('../types.js').Note|null,
 *   label: Counted['label']|null}} Meter
 */

/** Nobody reads the figure between two keystrokes. */
const PAUSE_MS = 500;
/** From this share on, the context counts as nearly full. */
export const NEARLY = 0.85;

/** The last count, and the last figure from a count or an answer, each with its chat. */
const lastCount = signal(/** @type {{chat: Chat, counted: Counted}|null} */ (null));
const lastFigure = signal(/** @type {{chat: Chat, meter: Meter}|null} */ (null));

export const counted = computed(() => (lastCount.value?.chat === chat.value ? lastCount.value.counted : null));
export const meter = computed(() => (lastFigure.value?.chat === chat.value ? lastFigure.value.meter : null));

/** Pictures of the chat on screen that are no longer sent to the model. */
export const untold = computed(() => new Set(counted.value?.dropped.flatMap(({ image_id: id }) => id ?? [])));

/** The request to count, as JSON; null if there is nothing to count, if it would be rejected, or during an answer. */
const wanted = computed(() => {
  const at = chat.value;
  if (!at || at.running.value || at.elsewhere.value || underway.value || !readiness.value?.ready || !modelInfo.value) return null;
  const turns = at.turns.value;
  const images = ready.value.map((chip) => /** @type {import('../types.js').Picture} */ (chip.picture));
  const prompt = composing.value.words.value.trim();
  if (!at.id.value && !images.length && !prompt) return null;
  if (!modelInfo.value.vision && images.length) return null;
  const body = { ...draft(at, images, prompt), ...(at.id.value && { session_id: at.id.value }) };
  return JSON.stringify({ body, of: [model.value, turns.length, at.choices.now.value, at.pictures.value] });
});

/** Keeps the meter up to date as long as the page is open. */
export function watchContext() {
  effect(() => {
    const { value: at } = chat;
    if (wanted.value === null) return undefined;
    const { body } = JSON.parse(wanted.value);
    const stop = new AbortController();
    const timer = setTimeout(() => count(at, body, stop.signal), PAUSE_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  });
  effect(() => {
    const { value: at } = chat;
    const report = at?.turns.value.at(-1)?.summary.value?.context;
    if (report?.used && report.limit) lastFigure.value = { chat: at, meter: told(report, lastFigure.peek()) };
  });
}

/** @param {Chat} at @param {object} body @param {AbortSignal} stop */
async function count(at, body, stop) {
  try {
    await at.choices.saved;
    if (stop.aborted) return;
    const found = await api.countTokens(body, stop);
    if (stop.aborted) return;
    const { system, text, images } = found.parts;
    const assumed = found.warnings.find(({ code }) => code === 'limit_assumed') ?? null;
    lastCount.value = { chat: at, counted: found };
    lastFigure.value = {
      chat: at,
      meter: { system, text, images: sum(images), used: found.total, limit: found.limit, over: found.over, assumed, label: found.label },
    };
  } catch {
    // Errors are reported when the question is asked.
  }
}

/** @param {number[]} values */
const sum = (values) => values.reduce((total, value) => total + value, 0);

/**
 * The report of an answer. Its system prompt was counted earlier.
 * @param {import('../types.js').ContextReport} report
 * @param {{chat: Chat, meter: Meter}|null} before
 * @returns {Meter}
 */
function told({ used, limit, images }, before) {
  const all = used ?? 0;
  const system = before?.chat === chat.peek() ? Math.min(before.meter.system, all) : 0;
  const seen = Math.min(images ?? 0, all - system);
  return { system, text: all - system - seen, images: seen, used: all, limit: limit ?? all, over: 0, assumed: null, label: null };
}

/** Pins or unpins a picture of the chat on screen, or lowers its detail. @param {string} imageId @param {{pinned?: boolean|null, detail?: import('../types.js').Detail}} patch */
export async function changePicture(imageId, patch) {
  const { value: at } = chat;
  const id = at.id.value;
  if (!id) return;
  at.pictures.value = (await api.changeSession(id, { images: { [imageId]: patch } })).images;
  at.works();
}

/** The sizes that the gateway lets a context grow to. */
const SIZES = [4096, 8192, 16384, 32768];

/** Returns the next size with room for that many tokens; null if the model was not trained for it. @param {number} needed */
export function larger(needed) {
  const trained = modelInfo.value?.context_length ?? Infinity;
  const size = Math.min(SIZES.find((one) => one >= needed) ?? Math.ceil(needed / 4096) * 4096, trained);
  return size >= needed ? size : null;
}
