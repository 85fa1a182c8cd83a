// Reading ahead: while a question is typed, the gateway has the engine read what it will begin with, the attached pictures above all.

import { computed, effect, signal } from '../../vendor/signals.js';
import * as api from '../api.js';
import { draft } from '../chat/chat.js';
import { ready, underway } from './pictures.js';
import { chat, model, modelInfo } from '../state.js';

/** One picture seldom comes alone, and with another one beside it the prompt is another. */
const PAUSE_MS = 400;

/** Whether the engine has read the pictures in the composer. */
export const haveBeenRead = signal(false);

/** What is to be read, as JSON; null while there is nothing, or an answer runs. */
const wanted = computed(() => {
  const at = chat.value;
  if (!at || !ready.value.length || underway.value || !modelInfo.value?.vision || at.running.value || at.elsewhere.value) return null;
  const images = ready.value.map((chip) => /** @type {import('../types.js').Picture} */ (chip.picture));
  return JSON.stringify({ session: at.id.value, model: model.value, body: draft(at, images) });
});

/** Begins whenever all attached pictures are ready, and again when anything that comes before the question has changed. */
export function readAhead() {
  effect(() => {
    if (wanted.value === null) return undefined;
    const { session, body } = JSON.parse(wanted.value);
    const stop = new AbortController();
    const timer = setTimeout(() => read(session, body, stop.signal), PAUSE_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
      haveBeenRead.value = false;
    };
  });
}

/** @param {string|null} session @param {object} body @param {AbortSignal} stop */
async function read(session, body, stop) {
  try {
    const { status } = await api.readAhead(session, body, stop);
    if (!stop.aborted) haveBeenRead.value = status === 'read';
  } catch {
    // What is wrong will be said when the question is asked.
  }
}
