// What is being composed: for each chat its next question, and beside it an earlier one while that is being changed.

import { computed, signal } from '../../vendor/signals.js';

/** @typedef {import('./chat.js').Turn} Turn */
/** @typedef {import('../images/pictures.js').Chip} Chip */

/** A question that is not yet asked; its pictures are in images/pictures.js. */
export class Draft {
  constructor(words = '', ocrText = '') {
    this.words = signal(words);
    /** Text that another program read. */
    this.ocrText = signal(ocrText);
    /** While it is to be sent as soon as its pictures are prepared: the refused ones that it goes without. */
    this.waits = signal(/** @type {ReadonlySet<Chip>|null} */ (null));
  }
}

/** All that is composed for one chat. */
export class Desk {
  constructor(name = '', next = new Draft()) {
    /** What it is kept as. */
    this.name = signal(name);
    this.next = next;
    /** The question that is being changed, and what it is changed to; `next` waits until that is done. */
    this.changed = signal(/** @type {{turn: Turn, draft: Draft}|null} */ (null));
  }
}

/** That of the chat on screen. */
export const desk = signal(new Desk());
/** What the composer shows. */
export const composing = computed(() => desk.value.changed.value?.draft ?? desk.value.next);
/** The turn whose question is being changed in the composer. */
export const editing = computed(() => desk.value.changed.value?.turn ?? null);
