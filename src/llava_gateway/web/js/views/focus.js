// Moves the focus when its element disappears, so that keyboard users keep their place in the page.

import { html, useLayoutEffect, useRef } from '../html.js';

/** The text box for questions. */
export const wordsBox = () => document.getElementById('words');

/** Focuses an element once the change is drawn, unless the person has moved the focus meanwhile. @param {() => Element|null|undefined} find */
export function focusAfterwards(find) {
  const before = document.activeElement;
  requestAnimationFrame(() => {
    const now = document.activeElement;
    if (!now || now === document.body || now === before) /** @type {HTMLElement|null|undefined} */ (find())?.focus();
  });
}

/**
 * Moves the focus on when an element that contains it disappears. Not if a finger or a mouse put the focus there: on phones, the
 * keyboard would cover the text that the person is reading.
 * @param {{current: Element|null}} going
 * @param {() => Element|null|undefined} [heir]  asked while the element is still there
 */
export function useHeir(going, heir = wordsBox) {
  useLayoutEffect(
    () => () => {
      const focused = document.querySelector(':focus-visible');
      if (going.current?.contains(focused)) /** @type {HTMLElement|null|undefined} */ (heir())?.focus();
    },
    [],
  );
}

/** A button that disappears when it is pressed. @param {{heir?: () => Element|null|undefined, children?: any} & Record<string, any>} props */
export function PassingButton({ heir, children, ...attributes }) {
  const button = useRef(/** @type {HTMLButtonElement|null} */ (null));
  useHeir(button, heir);
  return html`<button ref=${button} type="button" ...${attributes}>${children}</button>`;
}
