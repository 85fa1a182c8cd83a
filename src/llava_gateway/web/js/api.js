// The gateway's REST routes, one function each; every failure is a `Failure`.

import { signal } from '../vendor/signals.js';
import { language } from './i18n.js';
import { serverSentEvents } from './sse.js';

/** A failure and what a person can do about it. `code` is the server's, or `network`, `cut_off` or `bad_answer`; `reason` is the exact case. */
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
    /** The numbers and names in its message. */
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

/** @param {unknown} error */
export const asFailure = (error) => (error instanceof Failure ? error : new Failure('page_error', { message: String(error) }));

const KEY_NAME = 'llava.key';
let key = readKey();

/** Whether the server wants a key and got a wrong one or none. Then the dialog is open, and requests wait for it. */
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
    // Then the key is kept until the page is closed.
  }
  keyNeeded.value = false;
  for (const go of waiting.splice(0)) go(given);
}

/** Waits for a key other than the one that failed. @param {string} failed */
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

/** Returns the JSON of a response. @param {string} path @param {string} [method] @param {unknown} [body] */
export async function json(path, method = 'GET', body = undefined) {
  const response = await request(path, {
    method,
    headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return response.status === 204 ? null : response.json();
}

/**
 * Whether an engine can answer; null if the gateway itself does not answer.
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
    let body;
    try {
      body = await response.json();
    } catch {
      return null;
    }
    if (typeof body.ready !== 'boolean') return null;
    if (body.reason) return body;
    await anotherKey(used); // without the key, the response only says whether it is ready
  }
}

/** @returns {Promise<import('./types.js').Library & {models: import('./types.js').Model[], default: {model: string, engine: string, reason: import('./types.js').Note}|null}>} */
export const models = () => json('models');

/** @returns {Promise<import('./types.js').Catalogue>} */
export const catalogue = () => json('options');

let listTag = /** @type {string|null} */ (null);

/** All sessions. @returns {Promise<import('./types.js').SessionSummary[]>} */
export const sessions = async () => /** @type {import('./types.js').SessionSummary[]} */ (await sessionsSince(null));

/**
 * Returns all sessions if the list has changed since the last request, else null.
 * @param {string} [now]  the tag that the list has now, if it is known
 */
export const sessionsNews = async (now) => (now && now === listTag ? null : sessionsSince(listTag));

/** @param {string|null} tag @returns {Promise<import('./types.js').SessionSummary[]|null>} */
async function sessionsSince(tag) {
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
 * Returns the session if it has changed since it had this tag, else null.
 * @param {string} id
 * @param {string|null} tag
 * @returns {Promise<{session: import('./types.js').Session, tag: string|null}|null>}
 */
export async function sessionNews(id, tag) {
  const response = await request(`sessions/${encodeURIComponent(id)}`, { headers: tag ? { 'If-None-Match': tag } : {} });
  return response.status === 304 ? null : { session: await response.json(), tag: response.headers.get('ETag') };
}

/** Switches to the branch of a turn. @param {string} id @param {number} turnId @returns {Promise<import('./types.js').Session>} */
export const switchBranch = (id, turnId) => changeSession(id, { branch: turnId });

/** @param {string} words @returns {Promise<import('./types.js').Found[]>} */
export const searchSessions = async (words) => (await json(`sessions?q=${encodeURIComponent(words)}`)).sessions;

/** @param {string} id @returns {Promise<import('./types.js').Session>} */
export const restoreSession = (id) => json(`sessions/${encodeURIComponent(id)}/restore`, 'POST', {});

/**
 * Returns a session as a file, and the file's name.
 * @param {string} id
 * @param {'zip'|'json'|'html'|'markdown'} format
 */
export async function exportSession(id, format) {
  const response = await request(`sessions/${encodeURIComponent(id)}/export?format=${format}`);
  const name = /filename\*=UTF-8''(\S+)/.exec(response.headers.get('Content-Disposition') ?? '')?.[1];
  return { file: await response.blob(), name: decodeURIComponent(name ?? 'session') };
}

/** Returns all sessions except temporary ones, as one zip. @returns {Promise<Blob>} */
export const exportAllSessions = async () => (await request('sessions/export')).blob();

export const deleteAllSessions = () => json('sessions', 'DELETE');

/** @param {File} file  an exported session @returns {Promise<import('./types.js').Session>} */
export async function importSession(file) {
  const response = await request('sessions/import', { method: 'POST', headers: { 'Content-Type': 'application/octet-stream' }, body: file });
  return response.json();
}

/** @param {string} id @param {string} title */
export const renameSession = (id, title) => changeSession(id, { title });

/** Copies the session's first `at` turns into a new session. @param {string} id @param {number} [at] @returns {Promise<import('./types.js').Session>} */
export const forkSession = (id, at) => json(`sessions/${encodeURIComponent(id)}/fork`, 'POST', { at });

/** @param {string} id */
export const deleteSession = (id) => json(`sessions/${encodeURIComponent(id)}`, 'DELETE');

/**
 * Returns the bytes of a picture, for pages that must send a key (an <img> can't).
 * @param {string} path
 */
export const pictureBytes = async (path) => (await request(path)).blob();

/** What a model sees of a picture. @param {string} path @returns {Promise<import('./types.js').Seen>} */
export const seen = (path) => json(path);

/**
 * Rotates a stored picture clockwise. Returns the new picture.
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
 * The pages of a document, or the frames of an animation that differ most, with thumbnails.
 * @param {{name: string, file: File|null, from: string|null}} source
 * @param {AbortSignal} stop
 * @returns {Promise<import('./types.js').PageList>}
 */
export async function listPages({ name, file, from }, stop) {
  const form = new FormData();
  if (file) form.append('image', file, name || 'document');
  else if (from) form.append('image_url', from);
  return (await request('documents', { method: 'POST', body: form, signal: stop })).json();
}

/**
 * Uploads one picture. It uses XMLHttpRequest, because fetch does not report the progress.
 * @param {File} file
 * @param {string|null} model
 * @param {(share: number) => void} onProgress  from 0 to 1; 1 means the server has it and prepares it
 * @param {AbortSignal} stop
 * @param {Record<string, string>} [fields]  which page of a document it is
 * @returns {Promise<import('./types.js').Picture>}
 */
export async function uploadPicture(file, model, onProgress, stop, fields = {}) {
  for (;;) {
    const used = key;
    const { status, text } = await post(file, model, used, onProgress, stop, fields);
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
 * @param {(share: number) => void} onProgress @param {AbortSignal} stop @param {Record<string, string>} fields
 * @returns {Promise<{status: number, text: string}>}
 */
function post(file, model, used, onProgress, stop, fields) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    if (model) form.append('model', model);
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
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
 * Has the gateway fetch a picture; this page may not ask other hosts.
 * @param {string} from  its address
 * @param {string|null} model
 * @param {AbortSignal} stop
 * @param {Record<string, string>} [fields]  which page of a document it is
 * @returns {Promise<import('./types.js').Picture>}
 */
export async function fetchPicture(from, model, stop, fields = {}) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  if (model) body.append('model', model);
  body.append('image_url', from);
  return (await request('images', { method: 'POST', body, signal: stop })).json();
}

/**
 * Lets the engine read ahead of a question; real questions go first. Settles when it is read, or when the reason is known why not.
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
 * Counts the tokens of a question before it is asked.
 * @param {object} question  as `ask` and `readAhead` take it, with the session_id
 * @param {AbortSignal} stop
 * @returns {Promise<import('./types.js').Counted>}
 */
export async function countTokens(question, stop) {
  const init = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(question), signal: stop };
  return (await request('count_tokens', init)).json();
}

/**
 * Asks a question and yields the events of the answer. The last one is `done`; an `error` is thrown as a Failure.
 * Aborting `stop` frees the engine.
 * @param {string|null} sessionId  null asks outside any session: nothing is kept
 * @param {object} question  the body of POST /sessions/{id}/turns
 * @param {AbortSignal} stop
 */
export const ask = (sessionId, question, stop) => events(sessionId ? `sessions/${encodeURIComponent(sessionId)}/turns` : 'ask', question, stop);

/**
 * Yields the events of a response. The last one is `done`; an `error` is thrown as a Failure.
 * @param {string} path @param {object} body @param {AbortSignal} stop
 */
export async function* events(path, body, stop) {
  const response = await request(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream' },
    body: JSON.stringify(body),
    signal: stop,
  });
  yield* answerEvents(response, stop);
}

/**
 * Yields the events of the running answer of a session, after the one with the id `last` ('': all of them, after an event `question`
 * with the question); null if there is no running answer.
 * @param {string} sessionId @param {string} last @param {AbortSignal} stop
 */
export async function follow(sessionId, last, stop) {
  const headers = { Accept: 'text/event-stream', ...(last && { 'Last-Event-ID': last }) };
  const response = await request(`sessions/${encodeURIComponent(sessionId)}/events`, { headers, signal: stop });
  return response.status === 204 ? null : answerEvents(response, stop);
}

/**
 * Continues the last answer of a session, and yields its new events as `ask` does.
 * @param {string} sessionId @param {number} turn @param {AbortSignal} stop
 */
export const goOn = (sessionId, turn, stop) =>
  events(`sessions/${encodeURIComponent(sessionId)}/continue`, { turn, on_disconnect: 'continue' }, stop);

/** Yields the changes in the gateway as they happen. It ends with a Failure. @param {AbortSignal} stop */
export async function* news(stop) {
  yield* answerEvents(await request('events', { headers: { Accept: 'text/event-stream' }, signal: stop }), stop);
}

/** Stops the running answer of a session. @param {string} sessionId */
export const cancel = (sessionId) => json(`sessions/${encodeURIComponent(sessionId)}/cancel`, 'POST');

/** @param {Response} response @param {AbortSignal} stop */
async function* answerEvents(response, stop) {
  if (!response.body) throw new Failure('bad_answer');
  let whole = false;
  try {
    for await (const { event, data, id } of serverSentEvents(response.body)) {
      const content = JSON.parse(data);
      if (event === 'error') throw Failure.fromBody(content);
      yield { event, content, id };
      whole ||= event === 'done';
    }
  } catch (error) {
    if (error instanceof Failure || stop.aborted) throw error;
    throw new Failure(error instanceof SyntaxError ? 'bad_answer' : 'network', { retryable: true });
  }
  if (!whole) throw new Failure('cut_off', { retryable: true });
}
