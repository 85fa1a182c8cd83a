// Installing and deleting models. Downloads continue while the dialog is closed, and after a reload.

import { computed, effect, signal } from '../../vendor/signals.js';
import * as api from '../api.js';
import { Failure } from '../api.js';
import { loadModels, look } from './gateway.js';
import { t } from '../i18n.js';
import { announcement, defaultModel, models, pickedModel, readiness } from '../state.js';

/** The speed is measured over this time, in ms. */
const WINDOW_MS = 5000;
const LEAST_MS = 500;
const KEPT_NAME = 'llava.pulls';

/** @typedef {{digest: string, completed: number, total: number}} ModelFile */

/** A model that is being installed into Ollama. */
export class Arrival {
  /** @param {'pull'|'create'} kind @param {string} name */
  constructor(kind, name) {
    this.kind = kind;
    this.name = name;
    this.state = signal(/** @type {'running'|'done'|'failed'|'stopped'} */ ('running'));
    this.step = signal(/** @type {import('../types.js').Progress['step']|null} */ (null));
    /** Its files in the order in which they arrive; the last one is in progress. */
    this.files = signal(/** @type {ModelFile[]} */ ([]));
    this.failure = signal(/** @type {Failure|null} */ (null));
    this.since = performance.now();
    this.stop = new AbortController();
    /** Times and the bytes that had arrived then, to compute the speed. @type {{at: number, bytes: number}[]} */
    this.samples = [];
    this.received = 0;
  }

  /** @param {import('../types.js').Progress} progress */
  tell({ step, digest, completed, total }) {
    if (step !== this.step.value) this.since = performance.now();
    this.step.value = step;
    if (step !== 'download' || !digest || !total) return;
    const before = this.files.value.find((file) => file.digest === digest);
    const file = { digest, completed: completed ?? before?.completed ?? 0, total };
    // Bytes that had arrived before the download resumed don't count for the speed.
    if (before) this.received += Math.max(0, file.completed - before.completed);
    this.files.value = before ? this.files.value.map((other) => (other.digest === digest ? file : other)) : [...this.files.value, file];
    const now = performance.now();
    this.samples = [...this.samples.filter(({ at }) => now - at < WINDOW_MS), { at: now, bytes: this.received }];
  }

  /** Returns the current bytes per second; null if that is unknown. @param {number} now  performance.now() */
  speed(now) {
    const first = this.samples.find(({ at }) => now - at < WINDOW_MS);
    if (!first || now - first.at < LEAST_MS) return null;
    return ((this.received - first.bytes) / (now - first.at)) * 1000;
  }
}

export const arrivals = signal(/** @type {Arrival[]} */ ([]));

/** What is missing before a photo can be asked about; null before it is known. */
export const setup = signal(/** @type {import('../types.js').Setup|null} */ (null));

export const examples = signal(/** @type {import('../types.js').ModelfileExample[]|null} */ (null));

export async function loadSetup() {
  setup.value = await api.json('setup');
}

export async function loadExamples() {
  examples.value ??= (await api.json('models/examples')).examples;
}

/** The model to switch to for pictures. */
export const seeing = computed(() => {
  const able = models.value.filter((m) => m.vision);
  return able.find((m) => m.name === defaultModel.value) ?? able.find((m) => m.loaded) ?? able[0] ?? null;
});

/** Downloads a model. A download that is already running continues. @param {string} name */
export function pull(name) {
  const running = arrivals.value.find((a) => a.name === name && a.state.value === 'running');
  return running ?? bring(new Arrival('pull', name), 'models/pull', { model: name });
}

/** @param {string} name @param {string} modelfile @param {boolean} replace */
export const create = (name, modelfile, replace) =>
  bring(new Arrival('create', name), 'models', { model: name, modelfile, ...(replace && { replace }) });

/** @param {Arrival} arrival @param {string} path @param {object} body */
function bring(arrival, path, body) {
  arrivals.value = [...arrivals.value.filter((a) => a.name !== arrival.name), arrival];
  keepPulls();
  follow(arrival, path, body);
  return arrival;
}

/** @param {Arrival} arrival @param {string} path @param {object} body */
async function follow(arrival, path, body) {
  try {
    for await (const { event, content } of api.events(path, body, arrival.stop.signal)) {
      if (event === 'progress') arrival.tell(content);
    }
    arrival.state.value = 'done';
    announcement.value = t('arrival.done', { name: arrival.name });
  } catch (error) {
    const stopped = arrival.stop.signal.aborted;
    if (!stopped) arrival.failure.value = error instanceof Failure ? error : new Failure('page_error', { message: String(error) });
    arrival.state.value = stopped ? 'stopped' : 'failed';
  }
  keepPulls();
  await refresh();
}

/** Fetches the models of the gateway; without an answer, the page continues without them. */
async function refresh() {
  await Promise.allSettled([look(), loadModels(), loadSetup()]);
}

/** @param {Arrival} arrival */
export function putAway(arrival) {
  arrivals.value = arrivals.value.filter((a) => a !== arrival);
}

/** Throws a Failure. @param {string} name */
export async function remove(name) {
  await api.json(`models/${encodeURI(name)}`, 'DELETE');
  if (pickedModel.value === name) pickedModel.value = null;
  await refresh();
}

let leaving = false;
addEventListener('pagehide', () => (leaving = true));
addEventListener('pageshow', () => (leaving = false));

/** A reload ends the requests of a page, and so its downloads. Their names are stored for the next page in this tab. */
function keepPulls() {
  if (leaving) return;
  const names = arrivals.value.filter((a) => a.kind === 'pull' && a.state.value === 'running').map((a) => a.name);
  try {
    sessionStorage.setItem(KEPT_NAME, JSON.stringify(names));
  } catch {
    // Then they end with this page.
  }
}

/** Resumes the downloads of the previous page, and keeps `setup` up to date. */
export function watchModels() {
  try {
    for (const name of JSON.parse(sessionStorage.getItem(KEPT_NAME) ?? '[]')) pull(String(name));
  } catch {
    // Storage is unavailable or contains something else.
  }
  effect(() => {
    if (readiness.value) loadSetup().catch(() => {});
  });
}
