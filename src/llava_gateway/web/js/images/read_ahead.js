// Reading ahead: while a question is typed, the engine already reads the beginning of the prompt, above all the attached pictures.

import { computed, effect, signal } from '../../vendor/signals.js';
import * as api from '../api.js';
import { draft } from '../chat/chat.js';
import { ready, underway } from './pictures.js';
import { chat, model, modelInfo } from '../state.js';

/** Pictures often come in groups, and another picture changes the prompt. */
const PAUSE_MS = 400;

/** Whether the engine has read the pictures in the composer. */
export const haveBeenRead = signal(false);

/** The request to read ahead, as JSON; null if there is nothing to read, or during an answer. */
const wanted = computed(() => {
  const at = chat.value;
  if (!at || !ready.value.length || underway.value || !modelInfo.value?.vision || at.running.value || at.elsewhere.value) return null;
  const images = ready.value.map((chip) => /** @type {import('../types.js').Picture} */ (chip.picture));
  return JSON.stringify({ session: at.id.value, model: model.value, body: draft(at, images) });
});

/** Starts whenever all attached pictures are ready, and again when anything before the question changes. */
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
    // Errors are reported when the question is asked.
  }
}
