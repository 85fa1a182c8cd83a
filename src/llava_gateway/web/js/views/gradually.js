// Draws a long conversation from its end: the visible part at once, the rest a few turns at a time, so that the page stays responsive.

import { useEffect, useRef, useState } from '../html.js';

const AT_ONCE = 4;
const STEP = 4;
const PAUSE_MS = 16;

/**
 * Returns how many turns at the beginning are not drawn yet; this falls to zero. Later turns are drawn at once.
 * @param {object} chat  begins anew with another one
 * @param {number} count  turns that it has
 */
export function useNotYetDrawn(chat, count) {
  const [, redraw] = useState(0);
  const state = useRef({ chat, left: 0 });
  if (state.current.chat !== chat) state.current = { chat, left: Math.max(0, count - AT_ONCE) };
  const { left } = state.current;
  useEffect(() => {
    if (!left) return undefined;
    const timer = setTimeout(() => {
      state.current.left = Math.max(0, left - STEP);
      redraw(left);
    }, PAUSE_MS);
    return () => clearTimeout(timer);
  }, [chat, left]);
  return left;
}
