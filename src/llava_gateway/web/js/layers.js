// On a narrow screen, the picture panel and the lightbox fill the page. There, Back closes them as if each were a page.

import { effect } from '../vendor/signals.js';
import { chat, lightbox, panel } from './state.js';

/** The layers from top to bottom. On a narrow screen, each has an entry in the history while it is open. */
const layers = [lightbox, panel];
const narrow = matchMedia('(max-width: 699px)');
/** Whether the browser is still leaving the entries of closed layers, which it does asynchronously. */
let leaving = false;

/** A chat that got its address while a layer was over it. Its own entry gets the address when the layer is closed. */
let unnamed = /** @type {{chat: import('./chat/turns.js').Chat, hash: string}|null} */ (null);

const countOpen = () => layers.filter((layer) => layer.value !== null).length;
/** The number of history entries up to here that belong to layers. @returns {number} */
export const countEntries = () => history.state?.layers ?? 0;

/** Gives the entry of a chat its address. @param {import('./chat/turns.js').Chat} of @param {string} hash */
export function nameEntry(of, hash) {
  unnamed = countEntries() ? { chat: of, hash } : null;
  history.replaceState(history.state, '', hash);
}

/** Keeps the history in step with the open layers, as long as the page is open. */
export function watchLayers() {
  addEventListener('popstate', () => {
    // Handles Back, and Forward to a closed layer; ignores the steps that left the entry of a closed layer.
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
  const missing = countOpen() - countEntries(); // read first, so that the effect depends on it
  if (leaving) return;
  if (missing < 0) {
    leaving = true;
    history.go(missing);
  } else if (narrow.matches) {
    for (let i = 0; i < missing; i++) history.pushState({ layers: countEntries() + 1 }, '');
  }
}
