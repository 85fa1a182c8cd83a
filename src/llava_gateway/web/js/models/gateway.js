// Keeps the page's copy of the gateway's state up to date: engine, models, options, sessions.

import * as api from '../api.js';
import { defaultModel, catalogue, engineNews, library, models, readiness, sessions } from '../state.js';

/** What must still be fetched: everything at first, and later whatever failed or has changed. @type {(() => Promise<void>)[]} */
let due = [];

/** The last engine and model that could answer, to distinguish a change from a pause. */
let last = /** @type {{engine: string, model: string|null}|null} */ (null);

/** Fetches the gateway's state, and everything else that has changed with it. */
export async function look() {
  await take(await api.readiness());
}

/** The last revision of the models that the gateway reported. */
let revision = /** @type {string|null} */ (null);

/** Handles the gateway's events about engines. @param {import('../events.js').News} news */
export async function tellEngines({ event, content }) {
  if (event === 'ready') await take(content);
  if (event !== 'models' || content.revision === revision) return;
  // The first time, the models were just fetched with the rest.
  if (revision) due = [...due.filter((load) => load !== loadModels), loadModels];
  revision = content.revision;
  await fetchDue();
}

/** @param {import('../types.js').Readiness|null} now */
async function take(now) {
  const before = readiness.value;
  const same = before && now && before.ready === now.ready && before.engine === now.engine && before.model === now.model && alive(before) === alive(now);
  if (same) {
    if (before.reason.message !== now.reason.message) readiness.value = now;
    return fetchDue();
  }
  if (!now && before === null) return;
  readiness.value = now;
  if (!now) return;
  due = [loadModels, ...(catalogue.value ? [] : [loadCatalogue])];
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

/** The names of the engines that answer. @param {import('../types.js').Readiness} of */
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
