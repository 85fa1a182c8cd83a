// Keeps what the page knows of the gateway true: engine, models, options, sessions.

import * as api from '../api.js';
import { defaultModel, catalogue, engineNews, library, models, readiness, sessions } from '../state.js';

const POLL_MS = 3000;

/** Asks /readyz for as long as the page is seen; what follows from a change is fetched with it. */
export async function watch() {
  for (;;) {
    if (!document.hidden) await look();
    await pause(POLL_MS);
  }
}

/** Ends early when the page is seen again. @param {number} ms */
function pause(ms) {
  return new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', done);
      resolve();
    }
    document.addEventListener('visibilitychange', done);
  });
}

/** What is still to be fetched since the last change: all of it, and then what could not be had. @type {(() => Promise<void>)[]} */
let due = [];

/** The last engine and model that could answer, to tell a change from a pause. */
let last = /** @type {{engine: string, model: string|null}|null} */ (null);

export async function look() {
  const now = await api.readiness();
  const before = readiness.value;
  const same = before && now && before.ready === now.ready && before.engine === now.engine && before.model === now.model && alive(before) === alive(now);
  if (same) {
    if (before.reason.message !== now.reason.message) readiness.value = now;
    return fetchDue();
  }
  if (!now && before === null) return;
  readiness.value = now;
  if (!now) return;
  due = [loadModels, ...(catalogue.value ? [] : [loadCatalogue]), loadSessions];
  if (now.ready && now.engine) {
    if (last && (last.engine !== now.engine || last.model !== now.model)) {
      engineNews.value = { from: last.model, to: now.model ?? now.engine };
    }
    last = { engine: now.engine, model: now.model };
  }
  await fetchDue();
}

async function fetchDue() {
  const tried = due;
  const ends = await Promise.allSettled(tried.map((load) => load()));
  if (due === tried) due = tried.filter((_, i) => ends[i].status === 'rejected');
}

/** The engines that live. @param {import('../types.js').Readiness} of */
const alive = ({ engines }) => engines.map(({ name, ok }) => ok && name).join();

export async function loadModels() {
  const { models: all, default: chosen, ...rest } = await api.models();
  models.value = all;
  defaultModel.value = chosen?.model ?? null;
  library.value = rest;
}

async function loadCatalogue() {
  catalogue.value = await api.catalogue();
}

export async function loadSessions() {
  sessions.value = await api.sessions();
}
