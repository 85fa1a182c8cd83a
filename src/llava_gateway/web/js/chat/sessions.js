// What is done with whole chats: searched, deleted and brought back, forked, saved to files and taken in from them.

import { effect, signal } from '../../vendor/signals.js';
import * as api from '../api.js';
import { show as showBranch } from './branches.js';
import { asFailure, forget, openSession } from './chat.js';
import { explained } from '../failures.js';
import { loadSessions } from '../models/gateway.js';
import { t } from '../i18n.js';
import { chat, drawer } from '../state.js';
import { toast } from '../toasts.js';

/** @typedef {import('../types.js').SessionSummary} SessionSummary */

const TYPING_PAUSE_MS = 150;

/** What is searched for, and what was found; null before there is an answer. */
export const sought = signal('');
export const found = signal(/** @type {import('../types.js').Found[]|null} */ (null));

/** Searches whenever the words have changed, for as long as the page is open. */
export function searchChats() {
  effect(() => {
    const words = sought.value.trim();
    found.value = null;
    if (!words) return undefined;
    const timer = setTimeout(async () => {
      try {
        const answer = await api.searchSessions(words);
        if (sought.value.trim() === words) found.value = answer;
      } catch (error) {
        tell(error);
      }
    }, TYPING_PAUSE_MS);
    return () => clearTimeout(timer);
  });
}

/** Opens a chat where words were found in it. @param {string} id @param {number|null} turnId */
export async function openAt(id, turnId) {
  await openSession(id);
  if (turnId === null || chat.value.id.value !== id) return;
  if (!chat.value.turns.value.some((turn) => turn.id === turnId) && !(await showBranch(turnId))) return;
  const turn = chat.value.turns.value.find((one) => one.id === turnId);
  if (turn) lookAt(turn.key);
}

/** Scrolls to a turn once it is drawn: those of a long chat come one after the other. @param {number} key @param {number} [tries] */
function lookAt(key, tries = 240) {
  const drawn = document.querySelector(`.turn[data-key="${key}"]`);
  if (drawn) drawn.scrollIntoView({ block: 'start' });
  else if (tries) requestAnimationFrame(() => lookAt(key, tries - 1));
}

/** Deletes a chat; for a while that can be taken back. @param {string} id @param {string} title */
export async function deleteChat(id, title) {
  const wasOnScreen = chat.value.id.value === id;
  await forget(id);
  toast(t('sessions.deleted', { title }), { action: { label: t('sessions.undo'), run: () => bringBack(id, wasOnScreen) } });
}

/** @param {string} id @param {boolean} open */
async function bringBack(id, open) {
  try {
    await api.restoreSession(id);
    await loadSessions();
    if (open) await openSession(id);
  } catch (error) {
    tell(error);
  }
}

/** A copy of a chat's current branch, or of its first turns, as a chat of its own. @param {string} id @param {number} [at] how many turns */
export async function fork(id, at) {
  try {
    const made = await api.forkSession(id, at);
    if (made.title) await api.renameSession(made.id, t('sessions.copy_of', { title: made.title }).slice(0, 200));
    await loadSessions();
    await openSession(made.id);
    toast(t('sessions.forked'));
  } catch (error) {
    tell(error);
  }
}

/** Saves a chat to a file. @param {string} id @param {'zip'|'json'|'html'|'markdown'} format */
export async function save(id, format) {
  try {
    const { file, name } = await api.exportSession(id, format);
    const link = document.createElement('a');
    link.href = URL.createObjectURL(file);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    tell(error);
  }
}

/** Lets a person choose saved chats to take in. */
export function pickFiles() {
  const input = Object.assign(document.createElement('input'), { type: 'file', multiple: true, accept: '.json,.zip,application/json,application/zip' });
  input.addEventListener('change', () => takeIn(input.files ?? []));
  input.click();
}

/** Takes chats in that were saved; the last one is shown. @param {Iterable<File>} files */
async function takeIn(files) {
  for (const file of files) {
    try {
      const taken = await api.importSession(file);
      await loadSessions();
      await openSession(taken.id);
      drawer.value = false;
      toast(t('sessions.imported', { title: taken.title || file.name }));
    } catch (error) {
      tell(error, `${file.name}: `);
    }
  }
}

/** @param {unknown} error @param {string} [before] */
function tell(error, before = '') {
  toast(before + [explained(asFailure(error)).cause].flat().map(plain).join(''), { wrong: true });
}

/** The words of what may have code in it. @param {any} part @returns {string} */
const plain = (part) => (typeof part === 'string' ? part : [part?.props?.children ?? ''].flat().map(plain).join(''));
