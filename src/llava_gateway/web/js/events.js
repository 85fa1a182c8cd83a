// The gateway's events, over one stream for all tabs of a browser. A visible tab takes a lock, reads the stream and passes the events
// on to the others. A hidden tab reads nothing, and fetches everything when it becomes visible again.

import * as api from './api.js';
import { canTakeTurns, paused } from './connections.js';

/** @typedef {{event: string, content: any}} News  `ready`, `models`, `running` or `sessions`; `lost` when the stream broke */

const LOCK = 'llava.events';
const PAUSES_MS = [500, 1000, 2000, 4000];

/**
 * Follows the gateway as long as the page is open.
 * @param {(news: News) => void} tell  takes an event
 * @param {() => Promise<void>} look  asks for everything once
 */
export function watchEvents(tell, look) {
  const channel = canTakeTurns ? new BroadcastChannel(LOCK) : null;
  channel?.addEventListener('message', ({ data }) => document.hidden || tell(data));
  /** @param {News} news */
  const pass = (news) => {
    channel?.postMessage(news);
    tell(news);
  };
  /** @type {AbortController|null} */
  let following = null;
  const begin = () => {
    if (document.hidden) {
      following?.abort();
      following = null;
    } else if (!following) {
      following = new AbortController();
      follow(following.signal, pass, look);
    }
  };
  document.addEventListener('visibilitychange', begin);
  begin();
}

/** @param {AbortSignal} stop @param {(news: News) => void} pass @param {() => Promise<void>} look */
async function follow(stop, pass, look) {
  await look(); // asks for the key first, if one is needed: the tab that holds the lock must not wait for it
  if (stop.aborted) return;
  if (!canTakeTurns) await read(stop, pass);
  else await navigator.locks.request(LOCK, { signal: stop }, () => read(stop, pass)).catch(() => {}); // the tab was hidden while it waited
}

/** @param {AbortSignal} stop @param {(news: News) => void} pass */
async function read(stop, pass) {
  for (let tries = 0; !stop.aborted; tries++) {
    // After a loss of the network, a browser may keep a dead stream open.
    const reading = new AbortController();
    const end = () => reading.abort();
    stop.addEventListener('abort', end);
    addEventListener('offline', end);
    try {
      for await (const { event, content } of api.news(reading.signal)) {
        tries = 0;
        pass({ event, content });
      }
    } catch {
      // The next request reports this in the banner.
    } finally {
      stop.removeEventListener('abort', end);
      removeEventListener('offline', end);
    }
    if (stop.aborted) return;
    pass({ event: 'lost', content: null });
    await paused(PAUSES_MS[Math.min(tries, PAUSES_MS.length - 1)], stop);
  }
}
