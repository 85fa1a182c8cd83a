// On a narrow screen the picture panel and the lightbox fill the page: there Back closes them, as if each were a page of its own.

import { effect } from '../vendor/signals.js';
import { chat, lightbox, panel } from './state.js';

/** From the top to the bottom. On a narrow screen each has an entry in the history for as long as it is open, and no longer. */
const layers = [lightbox, panel];
const narrow = matchMedia('(max-width: 699px)');
/** Whether entries are being left because what they were for was closed; the browser does that by and by. */
let leaving = false;

/** A chat that got its address while something lay over it: its own entry is named when that is on top again. */
let unnamed = /** @type {{chat: import('./chat/chat.js').Chat, hash: string}|null} */ (null);

const countOpen = () => layers.filter((layer) => layer.value !== null).length;
/** How many entries on the way here are layers' own. @returns {number} */
export const countEntries = () => history.state?.layers ?? 0;

/** Gives the entry of a chat its address. @param {import('./chat/chat.js').Chat} of @param {string} hash */
export function nameEntry(of, hash) {
  unnamed = countEntries() ? { chat: of, hash } : null;
  history.replaceState(history.state, '', hash);
}

/** Keeps the history and what is open alike, for as long as the page is open. */
export function watchLayers() {
  addEventListener('popstate', () => {
    // Back, or forward to what is closed by now; not what was done about a layer that had been closed before.
    if (!leaving) for (const layer of layers) if (countOpen() > countEntries()) layer.value = null;
    leaving = false;
    if (unnamed && !countEntries()) {
      if (unnamed.chat === chat.value && !location.hash) history.replaceState(null, '', unnamed.hash);
      unnamed = null;
    }
    match();
  });
  narrow.addEventListener('change', match);
  effect(match);
}

function match() {
  const missing = countOpen() - countEntries(); // read first, so that an effect knows what it is of
  if (leaving) return;
  if (missing < 0) {
    leaving = true;
    history.go(missing);
  } else if (narrow.matches) {
    for (let i = 0; i < missing; i++) history.pushState({ layers: countEntries() + 1 }, '');
  }
}
