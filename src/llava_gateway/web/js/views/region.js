// Picking a part of a picture: a box that is drawn, moved and resized with a pointer or the arrow keys.

import { html, useEffect, useRef } from '../html.js';
import { number, t } from '../i18n.js';

/** @typedef {import('../types.js').Region} Region */
/** @typedef {{x: number, y: number}} Point */

/** The smallest side, as a share of the picture's. */
const LEAST = 0.02;
const STEP = 0.01;
const CORNERS = /** @type {const} */ (['nw', 'ne', 'sw', 'se']);
export const MIDDLE = /** @type {Region} */ ([0.25, 0.25, 0.5, 0.5]);

/**
 * Lies over the whole picture.
 * @param {{region: Region, onChange: (region: Region) => void, onAsk: () => void}} props
 */
export function RegionPicker({ region, onChange, onAsk }) {
  const layer = useRef(/** @type {HTMLElement|null} */ (null));
  const box = useRef(/** @type {HTMLElement|null} */ (null));
  const drag = useRef(/** @type {((to: Point) => Region)|null} */ (null));
  useEffect(() => box.current?.focus(), []);

  /** @param {PointerEvent} event @returns {Point} */
  function inPicture(event) {
    const area = /** @type {HTMLElement} */ (layer.current).getBoundingClientRect();
    return { x: within((event.clientX - area.left) / area.width), y: within((event.clientY - area.top) / area.height) };
  }
  /** @param {PointerEvent} event */
  function onPointerDown(event) {
    if (event.button !== 0) return;
    event.stopPropagation();
    event.preventDefault();
    const from = inPicture(event);
    const target = /** @type {HTMLElement} */ (event.target);
    const corner = target.dataset.corner;
    const [x, y, width, height] = region;
    if (corner) {
      const fixed = { x: corner.includes('w') ? x + width : x, y: corner.includes('n') ? y + height : y };
      drag.current = (to) => between(fixed, to);
    } else if (target === box.current) {
      drag.current = (to) => movedBy(region, to.x - from.x, to.y - from.y);
    } else {
      drag.current = (to) => between(from, to);
    }
    layer.current?.setPointerCapture(event.pointerId);
    box.current?.focus();
  }
  /** @param {PointerEvent} event */
  function onPointerMove(event) {
    if (drag.current) onChange(drag.current(inPicture(event)));
  }
  const onPointerUp = () => (drag.current = null);

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const [dx, dy] = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key] ?? [0, 0];
    if (event.key === 'Enter') onAsk();
    else if (dx || dy) onChange(event.shiftKey ? resizedBy(region, dx, dy) : movedBy(region, dx, dy));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  const [left, top, width, height] = region;
  const share = (/** @type {number} */ value) => number(value, { style: 'percent' });
  const label = t('region.box', { left: share(left), top: share(top), width: share(width), height: share(height) });
  const place = { left: share100(left), top: share100(top), width: share100(width), height: share100(height) };
  return html`<div ref=${layer} class="region-layer" onPointerDown=${onPointerDown} onPointerMove=${onPointerMove} onPointerUp=${onPointerUp} onPointerCancel=${onPointerUp}>
    <div ref=${box} class="region-box" role="button" tabindex="0" aria-label=${label} aria-describedby="region-keys" style=${place} onKeyDown=${onKey}>
      ${CORNERS.map((corner) => html`<span key=${corner} class="region-corner" data-corner=${corner}></span>`)}
    </div>
  </div>`;
}

/** @param {number} value */
const share100 = (value) => `${100 * value}%`;
/** @param {number} value @param {number} [most] */
const within = (value, most = 1) => Math.min(most, Math.max(0, value));
/** Fractions that are sent need no more. @param {number[]} region */
const rounded = (region) => /** @type {Region} */ (region.map((value) => Math.round(value * 1e4) / 1e4));

/** The box with these two corners. @param {Point} fixed @param {Point} to */
function between(fixed, to) {
  const [width, height] = [Math.max(LEAST, Math.abs(to.x - fixed.x)), Math.max(LEAST, Math.abs(to.y - fixed.y))];
  const x = to.x < fixed.x ? fixed.x - width : fixed.x;
  const y = to.y < fixed.y ? fixed.y - height : fixed.y;
  return rounded([within(x, 1 - width), within(y, 1 - height), width, height]);
}

/** @param {Region} region @param {number} dx @param {number} dy */
const movedBy = ([x, y, width, height], dx, dy) => rounded([within(x + dx, 1 - width), within(y + dy, 1 - height), width, height]);

/** @param {Region} region @param {number} dx @param {number} dy */
function resizedBy([x, y, width, height], dx, dy) {
  return rounded([x, y, Math.min(1 - x, Math.max(LEAST, width + dx)), Math.min(1 - y, Math.max(LEAST, height + dy))]);
}
