// The connections of a browser to the gateway. HTTP/1.1 allows six for all tabs together, and each open stream holds one.
// So one tab reads the events for all tabs (events.js), and only a few answers are read at once: each needs a seat, which is a Web Lock.

const SEATS = ['llava.answer.0', 'llava.answer.1', 'llava.answer.2', 'llava.answer.3'];

/** Whether tabs can share connections. Browsers have no Web Locks for a page over plain HTTP from another machine. */
export const canTakeTurns = Boolean(navigator.locks) && 'BroadcastChannel' in globalThis;
const channel = canTakeTurns ? new BroadcastChannel('llava.seats') : null;

/**
 * The right to read an answer. `wanted` aborts when another tab waits for it while this one is hidden.
 * @typedef {{leave: () => void, wanted: AbortSignal}} Seat
 */

/** Returns a seat if one is free, else null. @returns {Promise<Seat|null>} */
export async function freeSeat() {
  if (!canTakeTurns) return { leave() {}, wanted: new AbortController().signal };
  for (const name of SEATS) {
    const seat = await held(name, { ifAvailable: true });
    if (seat) return seat;
  }
  return null;
}

/** Waits for a free seat and returns it; null if `stop` aborts before that. @param {AbortSignal} stop @returns {Promise<Seat|null>} */
export async function nextSeat(stop) {
  const free = await freeSeat();
  if (free) return free;
  if (stop.aborted) return null;
  const others = new AbortController();
  const end = () => others.abort();
  stop.addEventListener('abort', end);
  const first = new Promise((/** @type {(seat: Seat|null) => void} */ resolve) => {
    let taken = false;
    const tried = SEATS.map(async (name) => {
      const seat = await held(name, { signal: others.signal });
      if (seat && taken) seat.leave();
      else if (seat) {
        taken = true;
        resolve(seat);
        end();
      }
    });
    Promise.all(tried).then(() => resolve(null));
  });
  await navigator.locks.query(); // the other tabs must know that this one waits
  channel?.postMessage('wanted');
  try {
    return await first;
  } finally {
    stop.removeEventListener('abort', end);
  }
}

/** @param {string} name @param {LockOptions} options @returns {Promise<Seat|null>} */
function held(name, options) {
  return new Promise((resolve) => {
    const granted = (/** @type {Lock|null} */ lock) => (lock ? new Promise((leave) => resolve(seatThat(leave))) : resolve(null));
    navigator.locks.request(name, options, granted).catch(() => resolve(null));
  });
}

/** @param {(value?: unknown) => void} leave @returns {Seat} */
function seatThat(leave) {
  const wanted = new AbortController();
  const look = async () => {
    if (document.hidden && (await navigator.locks.query()).pending?.some(({ name }) => SEATS.includes(name ?? ''))) wanted.abort();
  };
  document.addEventListener('visibilitychange', look);
  channel?.addEventListener('message', look);
  return {
    wanted: wanted.signal,
    leave() {
      document.removeEventListener('visibilitychange', look);
      channel?.removeEventListener('message', look);
      leave();
    },
  };
}

/** Waits until the page is visible, or `stop` aborts. @param {AbortSignal} stop @returns {Promise<void>} */
export function seen(stop) {
  if (!document.hidden) return Promise.resolve();
  return unlessStopped(stop, (done) => {
    document.addEventListener('visibilitychange', done);
    return () => document.removeEventListener('visibilitychange', done);
  });
}

/** Waits for a time, at most until `stop` aborts. @param {number} ms @param {AbortSignal} stop @returns {Promise<void>} */
export function paused(ms, stop) {
  return unlessStopped(stop, (done) => {
    const timer = setTimeout(done, ms);
    return () => clearTimeout(timer);
  });
}

/**
 * Waits until `begin` calls its argument, or `stop` aborts.
 * @param {AbortSignal} stop
 * @param {(done: () => void) => () => void} begin  returns what ends the wait
 * @returns {Promise<void>}
 */
function unlessStopped(stop, begin) {
  if (stop.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = begin(done);
    stop.addEventListener('abort', done);
    function done() {
      end();
      stop.removeEventListener('abort', done);
      resolve();
    }
  });
}
