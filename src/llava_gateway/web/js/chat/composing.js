// The drafts: each chat has its next question and, while an earlier question is being edited, that one too.

import { computed, signal } from '../../vendor/signals.js';

/** @typedef {import('./turns.js').Turn} Turn */
/** @typedef {import('../images/pictures.js').Chip} Chip */

/** A question that is not sent yet. Its pictures are in images/pictures.js. */
export class Draft {
  constructor(words = '', ocrText = '') {
    this.words = signal(words);
    /** Text that another program read. */
    this.ocrText = signal(ocrText);
    /** Set while the question waits for its pictures or for the gateway's first report: the refused pictures, without which it will be sent. */
    this.waits = signal(/** @type {ReadonlySet<Chip>|null} */ (null));
  }
}

/** All drafts of one chat. */
export class Desk {
  constructor(name = '', next = new Draft()) {
    /** The key under which it is stored. */
    this.name = signal(name);
    this.next = next;
    /** The turn whose question is being edited, and the edited question. `next` waits until that is done. */
    this.changed = signal(/** @type {{turn: Turn, draft: Draft}|null} */ (null));
  }
}

/** The drafts of the chat on screen. */
export const desk = signal(new Desk());
/** The draft in the composer. */
export const composing = computed(() => desk.value.changed.value?.draft ?? desk.value.next);
/** The turn whose question is being edited in the composer. */
export const editing = computed(() => desk.value.changed.value?.turn ?? null);
