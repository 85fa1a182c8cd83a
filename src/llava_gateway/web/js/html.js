// Preact's `h` behind htm's template strings, and the hooks in use.

import htm from '../vendor/htm.js';
import { h } from '../vendor/preact.js';
// Importing signals makes every component draw itself again when a signal that it reads changes.
import '../vendor/signals.js';

export const html = htm.bind(h);
export { Fragment, render } from '../vendor/preact.js';
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../vendor/preact-hooks.js';
