// The gateway's REST routes, one function each; every failure is a `Failure`.

import { signal } from '../vendor/signals.js';
import { language } from './i18n.js';
import { serverSentEvents } from './sse.js';

/** A failure with what a person can do about it. `code` is the server's, or `network`, `cut_off`, `bad_answer`; `reason` tells apart what has one code. */
export class Failure extends Error {
  /**
   * @param {string} code
   * @param {{reason?: string, message?: string, hint?: string, values?: import('./types.js').Values, status?: number, retryable?: boolean, instance?: string,
   *   param?: string|null}} [what]
   */
  constructor(code, { reason = code, message = '', hint = '', values = {}, status = 0, retryable = false, instance = '', param = null } = {}) {
    super(message || code);
    this.code = code;
    this.reason = reason;
    /** The numbers and names in what is said of it. */
    this.values = values;
    this.sentence = message;
    this.hint = hint;
    this.status = status;
    this.retryable = retryable;
    this.instance = instance;
    /** The request field at fault. */
    this.param = /** @type {string|null} */ (param);
  }

  /** @param {import('./types.js').ErrorBody} body @param {number} [status] */
  static fromBody(body, status) {
    const { code, reason, message, hint, values, param } = body.error;
    return new Failure(code, { reason, message, hint, values, status: status ?? body.status, retryable: body.retryable, instance: body.instance, param });
  }
}

const KEY_NAME = 'llava.key';
let key = readKey();

/** Whether the server asked for a key and got a wrong one or none: the dialog shows, requests wait for it. */
export const keyNeeded = signal(/** @type {false|'missing'|'wrong'} */ (false));
/** @type {((key: string) => void)[]} */
let waiting = [];

function readKey() {
  try {
    return sessionStorage.getItem(KEY_NAME) ?? '';
  } catch {
    return '';
  }
}

/** @param {string} given */
export function giveKey(given) {
  key = given;
  try {
    sessionStorage.setItem(KEY_NAME, given);
  } catch {
    // It then holds until the page is closed.
  }
  keyNeeded.value = false;
  for (const go of waiting.splice(0)) go(given);
}

/** Waits until a key other than the one that failed is there. @param {string} failed */
function anotherKey(failed) {
  if (key !== failed) return Promise.resolve(key);
  keyNeeded.value = failed ? 'wrong' : 'missing';
  return new Promise((go) => waiting.push(go));
}

export const hasKey = () => key !== '';

/** @param {string} used @returns {Record<string, string>} */
const authorization = (used) => (used ? { Authorization: `Bearer ${used}` } : {});

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<Response>}
 */
async function request(path, init = {}) {
  for (;;) {
    const used = key;
    let response;
    try {
      response = await fetch(path, { ...init, headers: { 'Accept-Language': language.value, ...init.headers, ...authorization(used) } });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new Failure('network', { retryable: true });
    }
    if (response.status === 401) await anotherKey(used);
    else if (response.ok || response.status === 304) return response;
    else throw await failureOf(response);
  }
}

/** @param {Response} response */
async function failureOf(response) {
  try {
    return Failure.fromBody(await response.json(), response.status);
  } catch {
    return new Failure('bad_answer', { status: response.status, retryable: response.status >= 500 });
  }
}

/** The JSON that a route answers with. @param {string} path @param {string} [method] @param {unknown} [body] */
export async function json(path, method = 'GET', body = undefined) {
  const response = await request(path, {
    method,
    headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return response.status === 204 ? null : response.json();
}

/**
 * Whether an engine can answer; null when the gateway itself does not.
 * @returns {Promise<import('./types.js').Readiness|null>}
 */
export async function readiness() {
  for (;;) {
    const used = key;
    let response;
    try {
      response = await fetch('readyz', { headers: authorization(used), cache: 'no-store' });
    } catch {
      return null;
    }
    if (response.status === 401) {
      await anotherKey(used);
      continue;
    }
    try {
      const body = await response.json();
      return typeof body.ready === 'boolean' ? body : null;
    } catch {
      return null;
    }
  }
}

/** @returns {Promise<import('./types.js').Library & {models: import('./types.js').Model[], default: {model: string, engine: string, reason: import('./types.js').Note}|null}>} */
export const models = () => json('models');

/** @returns {Promise<import('./types.js').Catalogue>} */
export const catalogue = () => json('options');

let listTag = /** @type {string|null} */ (null);

/** All sessions. @returns {Promise<import('./types.js').SessionSummary[]>} */
export const sessions = async () => /** @type {import('./types.js').SessionSummary[]} */ (await sessionsNews(null));

/**
 * All sessions if the list has changed since it was asked for last (since `tag`), else null.
 * @param {string|null} [tag]
 * @returns {Promise<import('./types.js').SessionSummary[]|null>}
 */
export async function sessionsNews(tag = listTag) {
  const response = await request('sessions', { headers: tag ? { 'If-None-Match': tag } : {} });
  if (response.status === 304) return null;
  listTag = response.headers.get('ETag');
  return (await response.json()).sessions;
}

/** @param {object} fields  as PATCH takes them @returns {Promise<import('./types.js').Session>} */
export const createSession = (fields) => json('sessions', 'POST', fields);

/** @param {string} id @returns {Promise<import('./types.js').Session>} */
export const session = (id) => json(`sessions/${encodeURIComponent(id)}`);

/** @param {string} id @param {object} changes @returns {Promise<import('./types.js').Session>} */
export const changeSession = (id, changes) => json(`sessions/${encodeURIComponent(id)}`, 'PATCH', changes);

/**
 * The session if anything in it has changed since it had this tag, else null.
 * @param {string} id
 * @param {string|null} tag
 * @returns {Promise<{session: import('./types.js').Session, tag: string|null}|null>}
 */
export async function sessionNews(id, tag) {
  const response = await request(`sessions/${encodeURIComponent(id)}`, { headers: tag ? { 'If-None-Match': tag } : {} });
  return response.status === 304 ? null : { session: await response.json(), tag: response.headers.get('ETag') };
}

/** Goes to the branch of a turn. @param {string} id @param {number} turnId @returns {Promise<import('./types.js').Session>} */
export const switchBranch = (id, turnId) => changeSession(id, { branch: turnId });

/** @param {string} words @returns {Promise<import('./types.js').Found[]>} */
export const searchSessions = async (words) => (await json(`sessions?q=${encodeURIComponent(words)}`)).sessions;

/** @param {string} id @returns {Promise<import('./types.js').Session>} */
export const restoreSession = (id) => json(`sessions/${encodeURIComponent(id)}/restore`, 'POST', {});

/**
 * A session as a file, and its name.
 * @param {string} id
 * @param {'zip'|'json'|'html'|'markdown'} format
 */
export async function exportSession(id, format) {
  const response = await request(`sessions/${encodeURIComponent(id)}/export?format=${format}`);
  const name = /filename\*=UTF-8''(\S+)/.exec(response.headers.get('Content-Disposition') ?? '')?.[1];
  return { file: await response.blob(), name: decodeURIComponent(name ?? 'session') };
}

/** @param {File} file  an exported session @returns {Promise<import('./types.js').Session>} */
export async function importSession(file) {
  const response = await request('sessions/import', { method: 'POST', headers: { 'Content-Type': 'application/octet-stream' }, body: file });
  return response.json();
}

/** @param {string} id @param {string} title */
export const renameSession = (id, title) => changeSession(id, { title });

/** The session's first `at` turns as a new session. @param {string} id @param {number} [at] @returns {Promise<import('./types.js').Session>} */
export const forkSession = (id, at) => json(`sessions/${encodeURIComponent(id)}/fork`, 'POST', { at });

/** @param {string} id */
export const deleteSession = (id) => json(`sessions/${encodeURIComponent(id)}`, 'DELETE');

/**
 * The bytes of a picture, for pages that must send a key (an <img> can't).
 * @param {string} path
 */
export const pictureBytes = async (path) => (await request(path)).blob();

/** What a model sees of a picture. @param {string} path @returns {Promise<import('./types.js').Seen>} */
export const seen = (path) => json(path);

/**
 * A stored picture turned clockwise, as another picture.
 * @param {string} id
 * @param {90|180|270} by
 * @param {string|null} model
 * @param {AbortSignal} stop
 * @returns {Promise<import('./types.js').Picture>}
 */
export async function turnPicture(id, by, model, stop) {
  const query = new URLSearchParams({ by: String(by), ...(model && { model }) });
  return (await request(`images/${encodeURIComponent(id)}/rotate?${query}`, { method: 'POST', signal: stop })).json();
}

/**
 * Uploads one picture. XMLHttpRequest, because fetch does not tell how much has left.
 * @param {File} file
 * @param {string|null} model
 * @param {(share: number) => void} onProgress  from 0 to 1; 1 means the server has it and prepares it
 * @param {AbortSignal} stop
 * @returns {Promise<import('./types.js').Picture>}
 */
export async function uploadPicture(file, model, onProgress, stop) {
  for (;;) {
    const used = key;
    const { status, text } = await post(file, model, used, onProgress, stop);
    if (status === 401) {
      await anotherKey(used);
      continue;
    }
    let body;
    try {
      body = JSON.parse(text);
    } catch {
      throw new Failure('bad_answer', { status, retryable: status >= 500 });
    }
    if (status >= 200 && status < 300) return body;
    throw Failure.fromBody(body, status);
  }
}

/**
 * @param {File} file @param {string|null} model @param {string} used
 * @param {(share: number) => void} onProgress @param {AbortSignal} stop
 * @returns {Promise<{status: number, text: string}>}
 */
function post(file, model, used, onProgress, stop) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    if (model) form.append('model', model);
    form.append('image', file, file.name || 'picture');
    const xhr = new XMLHttpRequest();
    xhr.open('POST', 'images');
    for (const [name, value] of Object.entries(authorization(used))) xhr.setRequestHeader(name, value);
    xhr.upload.onprogress = (event) => onProgress(event.total ? event.loaded / event.total : 0);
    xhr.upload.onload = () => onProgress(1);
    xhr.onload = () => resolve({ status: xhr.status, text: xhr.responseText });
    xhr.onerror = () => reject(new Failure('network', { retryable: true }));
    xhr.onabort = () => reject(new Failure('stopped'));
    stop.addEventListener('abort', () => xhr.abort(), { once: true });
    xhr.send(form);
  });
}

/**
 * Has the engine read ahead of a question; real questions go first. Settles when it is read, or when it is known why not.
 * @param {string|null} sessionId
 * @param {object} question  the body of POST /sessions/{id}/turns, so far
 * @param {AbortSignal} stop
 * @returns {Promise<{status: 'read'|'skipped'|'busy'|'preempted', reason: string|null}>}
 */
export async function readAhead(sessionId, question, stop) {
  const response = await request(sessionId ? `sessions/${encodeURIComponent(sessionId)}/read_ahead` : 'read_ahead', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(question),
    signal: stop,
  });
  return response.json();
}

/**
 * Counts the tokens of a question, before anything is spent.
 * @param {object} question  as `ask` and `readAhead` take it, with the session_id
 * @param {AbortSignal} stop
 * @returns {Promise<import('./types.js').Counted>}
 */
export async function countTokens(question, stop) {
  const init = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(question), signal: stop };
  return (await request('count_tokens', init)).json();
}

/**
 * Asks, and yields the events of the answer; the last is `done` (`error` is thrown as a Failure).
 * Aborting `stop` frees the engine.
 * @param {string|null} sessionId  null asks outside any session: nothing is kept
 * @param {object} question  the body of POST /sessions/{id}/turns
 * @param {AbortSignal} stop
 */
export const ask = (sessionId, question, stop) => events(sessionId ? `sessions/${encodeURIComponent(sessionId)}/turns` : 'ask', question, stop);

/**
 * The events that a route answers with; the last is `done` (`error` is thrown as a Failure).
 * @param {string} path @param {object} body @param {AbortSignal} stop
 */
export async function* events(path, body, stop) {
  const response = await request(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream' },
    body: JSON.stringify(body),
    signal: stop,
  });
  if (!response.body) throw new Failure('bad_answer');
  let whole = false;
  try {
    for await (const { event, data } of serverSentEvents(response.body)) {
      const content = JSON.parse(data);
      if (event === 'error') throw Failure.fromBody(content);
      yield { event, content };
      whole ||= event === 'done';
    }
  } catch (error) {
    if (error instanceof Failure || stop.aborted) throw error;
    throw new Failure(error instanceof SyntaxError ? 'bad_answer' : 'network', { retryable: true });
  }
  if (!whole) throw new Failure('cut_off', { retryable: true });
}
