// Actions on whole chats: search, delete, restore, fork, save to a file, and import from one.

import { effect, signal } from '../../vendor/signals.js';
import * as api from '../api.js';
import { show as showBranch } from './branches.js';
import { asFailure } from '../api.js';
import { forget, forgetAll, openSession } from './chat.js';
import { explained } from '../failures.js';
import { forgetFiles } from '../images/kept_files.js';
import { loadSessions } from '../models/gateway.js';
import { t } from '../i18n.js';
import { chat, drawer, overlay } from '../state.js';
import { toast } from '../toasts.js';

/** @typedef {import('../types.js').SessionSummary} SessionSummary */

const TYPING_PAUSE_MS = 150;

/** The words of the search, and its results; null before there are any. */
export const sought = signal('');
export const found = signal(/** @type {import('../types.js').Found[]|null} */ (null));

/** Searches whenever the words change, as long as the page is open. */
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

/** Opens a chat at the turn in which words were found. @param {string} id @param {number|null} turnId */
export async function openAt(id, turnId) {
  await openSession(id);
  if (turnId === null || chat.value.id.value !== id) return;
  if (!chat.value.turns.value.some((turn) => turn.id === turnId) && !(await showBranch(turnId))) return;
  const turn = chat.value.turns.value.find((one) => one.id === turnId);
  if (turn) lookAt(turn.key);
}

/** Scrolls to a turn once it is drawn: the turns of a long chat are drawn a few at a time. @param {number} key @param {number} [tries] */
function lookAt(key, tries = 240) {
  const drawn = document.querySelector(`.turn[data-key="${key}"]`);
  if (drawn) drawn.scrollIntoView({ block: 'start' });
  else if (tries) requestAnimationFrame(() => lookAt(key, tries - 1));
}

/** Deletes a chat. This can be undone for a while. @param {string} id @param {string} title */
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

/** Copies a chat's current branch, or its first turns, into a new chat. @param {string} id @param {number} [at] how many turns */
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

/** Saves all chats to one file. */
export async function saveAllChats() {
  try {
    download(await api.exportAllSessions(), `chats-${new Date().toISOString().slice(0, 10)}.zip`);
  } catch (error) {
    tell(error);
  }
}

/** Deletes all chats permanently. */
export async function deleteAllChats() {
  try {
    await forgetAll();
    await forgetFiles();
    overlay.value = null;
    toast(t('chats.deleted'));
  } catch (error) {
    tell(error);
  }
}

/** Saves a chat to a file. @param {string} id @param {'zip'|'json'|'html'|'markdown'} format */
export async function save(id, format) {
  try {
    const { file, name } = await api.exportSession(id, format);
    download(file, name);
  } catch (error) {
    tell(error);
  }
}

/** @param {Blob} file @param {string} name */
function download(file, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Opens a file picker for saved chats. */
export function pickFiles() {
  const input = Object.assign(document.createElement('input'), { type: 'file', multiple: true, accept: '.json,.zip,application/json,application/zip' });
  input.addEventListener('change', () => takeIn(input.files ?? []));
  input.click();
}

/** Imports saved chats, and shows the last one. @param {Iterable<File>} files */
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

/** Returns the plain text of nodes that may contain code. @param {any} part @returns {string} */
const plain = (part) => (typeof part === 'string' ? part : [part?.props?.children ?? ''].flat().map(plain).join(''));
