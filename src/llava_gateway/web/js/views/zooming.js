// Zooming and moving a picture with wheel, pointers and fingers.

import { useEffect, useLayoutEffect, useRef, useState } from '../html.js';
import { fitScale, fitted, moved, zoomed } from '../images/zoom.js';

const WHEEL_SPEED = 0.0016;
/** The steps of a trackpad's pinch are much smaller. */
const PINCH_SPEED = 0.01;
const LINE_PIXELS = 30;
/** Pixels that a finger slides to go to the next picture. */
const SWIPE = 60;
export const ZOOM_STEP = 1.4;

/** @typedef {import('../images/zoom.js').Size} Size */
/** @typedef {import('../images/zoom.js').Point} Point */

/**
 * @param {Size} picture
 * @param {string} name  of what is shown: another one is shown whole at first
 * @param {(step: 1|-1) => void} onSwipe
 */
export function useZoom(picture, name, onSwipe) {
  const stage = useRef(/** @type {HTMLElement|null} */ (null));
  const [box, setBox] = useState(/** @type {Size} */ ({ width: 1, height: 1 }));
  const [own, setOwn] = useState(/** @type {import('../images/zoom.js').Place|null} */ (null));
  const pointers = useRef(/** @type {Map<number, Point>} */ (new Map()));
  const slid = useRef({ x: 0, y: 0 });

  useLayoutEffect(() => {
    const element = /** @type {HTMLElement} */ (stage.current);
    const measure = () => setBox({ width: element.clientWidth, height: element.clientHeight });
    const watcher = new ResizeObserver(measure);
    watcher.observe(element);
    measure();
    return () => watcher.disconnect();
  }, []);
  useLayoutEffect(() => setOwn(null), [name, picture.width, picture.height]);

  const place = own ? moved(own, 0, 0, picture, box) : fitted(picture, box);
  const isFitted = place.scale <= fitScale(picture, box) * 1.001;

  /** @param {number} factor @param {Point} [at] */
  const zoomBy = (factor, at = { x: box.width / 2, y: box.height / 2 }) => setOwn((old) => zoomed(old ?? fitted(picture, box), factor, at, picture, box));
  /** @param {number} dx @param {number} dy */
  const moveBy = (dx, dy) => setOwn((old) => moved(old ?? fitted(picture, box), dx, dy, picture, box));
  const fit = () => setOwn(null);

  /** @param {MouseEvent} event @returns {Point} */
  function inStage(event) {
    const corner = /** @type {HTMLElement} */ (stage.current).getBoundingClientRect();
    return { x: event.clientX - corner.left, y: event.clientY - corner.top };
  }

  /** @param {WheelEvent} event */
  function onWheel(event) {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? LINE_PIXELS : 1);
    zoomBy(Math.exp(-pixels * (event.ctrlKey ? PINCH_SPEED : WHEEL_SPEED)), inStage(event));
  }
  const latest = useRef(onWheel);
  latest.current = onWheel;
  useEffect(() => {
    const element = /** @type {HTMLElement} */ (stage.current);
    // Not passive, because the browser's own zoom must be prevented.
    const listener = (/** @type {WheelEvent} */ event) => latest.current(event);
    element.addEventListener('wheel', listener, { passive: false });
    return () => element.removeEventListener('wheel', listener);
  }, []);

  const handlers = {
    /** @param {PointerEvent} event */
    onPointerDown(event) {
      if (event.button !== 0 || /** @type {HTMLElement} */ (event.target).closest('button')) return;
      if (!pointers.current.size) slid.current = { x: 0, y: 0 };
      pointers.current.set(event.pointerId, inStage(event));
      stage.current?.setPointerCapture(event.pointerId);
    },
    /** @param {PointerEvent} event */
    onPointerMove(event) {
      const from = pointers.current.get(event.pointerId);
      if (!from) return;
      const to = inStage(event);
      const [other] = [...pointers.current].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
      pointers.current.set(event.pointerId, to);
      slid.current = { x: slid.current.x + to.x - from.x, y: slid.current.y + to.y - from.y };
      if (other) {
        const before = Math.hypot(from.x - other.x, from.y - other.y);
        const after = Math.hypot(to.x - other.x, to.y - other.y);
        if (before > 0) zoomBy(after / before, { x: (to.x + other.x) / 2, y: (to.y + other.y) / 2 });
        slid.current = { x: 0, y: 0 };
      } else if (!isFitted) moveBy(to.x - from.x, to.y - from.y);
    },
    /** @param {PointerEvent} event */
    onPointerUp(event) {
      const { x, y } = slid.current;
      const last = pointers.current.delete(event.pointerId) && !pointers.current.size;
      if (last && isFitted && event.pointerType === 'touch' && Math.abs(x) > SWIPE && Math.abs(x) > 2 * Math.abs(y)) onSwipe(x < 0 ? 1 : -1);
    },
    /** @param {PointerEvent} event */
    onPointerCancel(event) {
      pointers.current.delete(event.pointerId);
    },
    /** @param {MouseEvent} event */
    onDblClick(event) {
      if (/** @type {HTMLElement} */ (event.target).closest('button')) return;
      if (isFitted) zoomBy(Math.max(2, 1 / place.scale), inStage(event));
      else fit();
    },
  };
  return { stage, place, isFitted, zoomBy, moveBy, fit, handlers };
}
