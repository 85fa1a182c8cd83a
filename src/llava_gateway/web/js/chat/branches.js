// Branches: a question that is asked again, unchanged or edited, becomes a branch beside the existing one. Also switches between branches.

import * as api from '../api.js';
import { asFailure } from '../api.js';
import { ask } from './chat.js';
import { t } from '../i18n.js';
import { announcement, chat as onScreen, pickedModel } from '../state.js';

/** @typedef {import('./turns.js').Turn} Turn */

/**
 * Asks a question again, in its place.
 * @param {Turn} turn
 * @param {{prompt?: string, images?: import('../types.js').Picture[], ocrText?: string, model?: string, preset?: string}} [changed]
 */
export function askAgain(turn, { prompt = turn.prompt, images = turn.images.value, ocrText = turn.ocrText, model, preset } = {}) {
  const chat = onScreen.value;
  if (chat.running.value || chat.elsewhere.value) return;
  const kept = turn.id !== null;
  if (!kept) chat.turns.value = chat.turns.value.filter((other) => other !== turn);
  return ask(prompt, images, ocrText, {
    after: turn.after ?? undefined,
    instead: kept || turn.instead,
    siblings: turn.siblings.value,
    model: model ?? pickedModel.value ?? turn.model.value,
    preset,
  });
}

/** Returns a turn's position among its versions, counted from 0, and the number of versions. @param {Turn} turn */
export function placeOf(turn) {
  const siblings = turn.siblings.value;
  const at = turn.id === null ? siblings.length : siblings.indexOf(turn.id);
  return { at, count: Math.max(siblings.length, at + 1) };
}

/** Switches to the branch that is `by` positions from that of a turn. @param {Turn} turn @param {number} by */
export async function step(turn, by) {
  const { at, count } = placeOf(turn);
  const next = turn.siblings.value[at + by];
  if (next === undefined) return;
  const focused = document.activeElement?.closest('.turn') !== null;
  if (!(await show(next))) return;
  announcement.value = t('branch.now', { place: at + by + 1, count });
  if (focused) requestAnimationFrame(() => setTimeout(() => focusOn(next, by)));
}

/** The buttons of the earlier turn are gone. The buttons of the new turn take the focus. @param {number} turnId @param {number} by */
function focusOn(turnId, by) {
  const turn = onScreen.value.turns.value.find((one) => one.id === turnId);
  const buttons = [...document.querySelectorAll(`.turn[data-key="${turn?.key}"] .branches button:not(:disabled)`)];
  /** @type {HTMLElement|undefined} */ (buttons.at(by < 0 ? 0 : -1))?.focus();
}

/** Shows the branch of a turn. @param {number} turnId */
export async function show(turnId) {
  const chat = onScreen.value;
  const id = chat.id.value;
  if (!id || chat.running.value || chat.elsewhere.value) return false;
  const going = go(chat, id, turnId);
  chat.settled = going.then(() => {}); // questions wait for it
  return going;
}

/** @param {import('./turns.js').Chat} chat @param {string} id @param {number} turnId */
async function go(chat, id, turnId) {
  try {
    const stored = await api.switchBranch(id, turnId);
    const asked = chat.running.value?.turn;
    // The turn was asked as another version meanwhile, so it is a branch itself: switch to that.
    if (asked && asked.after !== null) return false;
    chat.turns.value = chat.turns.value.filter((turn) => turn.id !== null || turn === asked);
    chat.fill(stored);
    chat.works();
    return true;
  } catch (error) {
    chat.failure.value = asFailure(error);
    return false;
  }
}

/** [ and ] switch the branches of the turn that has the focus, else of the last turn that has branches. @param {-1|1} by */
export function stepHere(by) {
  const turns = onScreen.value.turns.value;
  const focused = document.activeElement?.closest('.turn')?.getAttribute('data-key');
  const turn = turns.find((one) => String(one.key) === focused && placeOf(one).count > 1) ?? turns.findLast((one) => placeOf(one).count > 1);
  if (turn) step(turn, by);
}
