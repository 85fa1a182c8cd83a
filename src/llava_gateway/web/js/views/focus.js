// Where the focus goes when what has it goes away: who uses the keyboard keeps their place in the page.

import { html, useLayoutEffect, useRef } from '../html.js';

/** The box that questions are typed into. */
export const wordsBox = () => document.getElementById('words');

/** Focuses what is there once the change is drawn, unless the person has gone elsewhere meanwhile. @param {() => Element|null|undefined} find */
export function focusAfterwards(find) {
  const before = document.activeElement;
  requestAnimationFrame(() => {
    const now = document.activeElement;
    if (!now || now === document.body || now === before) /** @type {HTMLElement|null|undefined} */ (find())?.focus();
  });
}

/**
 * Hands the focus on when an element goes while it, or something in it, has it. Not where a finger or a mouse put it there: on phones the
 * keyboard would come up over what is being read.
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

/** A button that its own press takes away. @param {{heir?: () => Element|null|undefined, children?: any} & Record<string, any>} props */
export function PassingButton({ heir, children, ...attributes }) {
  const button = useRef(/** @type {HTMLButtonElement|null} */ (null));
  useHeir(button, heir);
  return html`<button ref=${button} type="button" ...${attributes}>${children}</button>`;
}
