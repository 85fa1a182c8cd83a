// One chat and its turns as the page knows them.

import { signal } from '../../vendor/signals.js';
import { Choices } from './options.js';
import { placed } from '../path.js';

/** @typedef {import('../types.js').Picture} Picture */
/** @typedef {import('../api.js').Failure} Failure */
/**
 * The progress of the answer as the gateway reports it; `since` is performance.now() at its start.
 * @typedef {{name: 'asking'|'queued'|'loading'|'reading'|'writing', since: number, values: Record<string, any>}} Phase
 */
/** @typedef {'running'|'complete'|'cancelled'|'incomplete'|'failed'} Status */


let keys = 0;

/** One question and its answer. Values that change during the answer are signals, so that nothing else is drawn again. */
export class Turn {
  /** @param {string} prompt @param {Picture[]} images @param {string|null} model @param {Status} status */
  constructor(prompt, images, model, status) {
    this.key = ++keys;
    /** Its id in the session; null if the session does not have it. */
    this.id = /** @type {number|null} */ (null);
    /** The id of the turn it follows, 0 for none; null while it is unknown. */
    this.after = /** @type {number|null} */ (null);
    /** Whether it is another version of a turn, and the ids of all versions in the session. */
    this.instead = false;
    this.siblings = signal(/** @type {number[]} */ ([]));
    this.prompt = prompt;
    this.images = signal(images);
    /** Text that another program read in the pictures, as it was sent; known to this page only. */
    this.ocrText = '';
    /** The preset of this question only. */
    this.preset = /** @type {string|null} */ (null);
    this.model = signal(model);
    this.status = signal(status);
    /** The id of the last event of its answer that arrived. */
    this.lastEvent = '';
    this.text = signal('');
    /** The text before the answer was continued; null if it was not. */
    this.base = /** @type {string|null} */ (null);
    /** The gateway's code for why the answer was cut off; null if it was not, or if a person stopped it. */
    this.cut = signal(/** @type {string|null} */ (null));
    this.reasoning = signal('');
    this.phase = signal(/** @type {Phase|null} */ (null));
    this.failure = signal(/** @type {Failure|null} */ (null));
    /** Figures and warnings of a finished answer; `context` exists only in the page that asked. */
    this.summary = signal(
      /** @type {(Pick<import('../types.js').Answer, 'usage'|'timings'|'warnings'|'finish_reason'> & {context?: import('../types.js').ContextReport})|null} */ (
        null
      ),
    );
  }

  /** @param {import('../types.js').StoredTurn} stored @param {string|null} model */
  static fromStored(stored, model) {
    const sentModel = stored.model ?? model;
    const images = stored.images.map((picture) => ({ ...picture, sentModel: sentModel ?? undefined }));
    const turn = new Turn(stored.prompt, images, sentModel, 'complete');
    turn.take(stored);
    return turn;
  }

  /** Its answer is read again from the beginning; a continued one, from where it was continued. */
  restart() {
    this.status.value = 'running';
    this.failure.value = this.cut.value = null;
    this.text.value = this.base ?? '';
    this.reasoning.value = this.lastEvent = '';
  }

  /** Its answer is continued after the text so far. */
  goOn() {
    this.base ??= this.text.value;
    this.restart();
  }

  /** Whether its answer can be continued: it was stopped or cut off. */
  get canGoOn() {
    const ended = this.status.value === 'complete' ? this.summary.value?.finish_reason === 'length' : this.status.value !== 'running';
    return ended && this.text.value !== '' && this.id !== null;
  }

  /** Applies the answer in the session. It counts as stopped if a person stopped it, and otherwise as cut off. @param {import('../types.js').StoredTurn} stored */
  take(stored) {
    this.status.value = stored.status === 'cancelled' && stored.error_code ? 'incomplete' : stored.status;
    this.cut.value = this.status.value === 'incomplete' ? (stored.error_code ?? 'other') : null;
    this.text.value = stored.message?.content ?? '';
    if (stored.usage) {
      this.summary.value = {
        usage: stored.usage,
        timings: stored.timings ?? {},
        warnings: stored.warnings ?? [],
        finish_reason: stored.finish_reason === 'length' ? 'length' : 'stop',
      };
    }
  }

  /** Applies its place among the turns of the session, and its answer if that was continued in another page. @param {import('../types.js').StoredTurn} stored */
  stand(stored) {
    const { id, after, siblings, message } = stored;
    if (this.id === id && this.status.value !== 'running' && (message?.content ?? '') !== this.text.value) {
      this.failure.value = null;
      this.take(stored);
    }
    this.id = id;
    this.after = after ?? 0;
    if (String(siblings) !== String(this.siblings.value)) this.siblings.value = siblings;
  }
}

export class Chat {
  /** @param {string|null} [id] */
  constructor(id = null) {
    this.id = signal(id);
    this.title = signal(/** @type {string|null} */ (null));
    this.model = signal(/** @type {string|null} */ (null));
    /** Whether the gateway writes nothing of it to disk. */
    this.temporary = signal(false);
    this.choices = new Choices(this.id);
    this.turns = signal(/** @type {Turn[]} */ ([]));
    /** The session's pins and details of its pictures. */
    this.pictures = signal(/** @type {import('../types.js').KeptPictures} */ ({}));
    this.running = signal(/** @type {{turn: Turn, stop: AbortController}|null} */ (null));
    /** Whether this session is answering another page. */
    this.elsewhere = signal(false);
    /** Whether a person has stopped the last answer. */
    this.stopped = false;
    /** Settles when the gateway has finished the last answer and the chat is up to date. */
    this.settled = Promise.resolve();
    /** Why it could not be opened, or why the last action in it failed. Shown until an action succeeds, or until it is dismissed. */
    this.failure = signal(/** @type {Failure|null} */ (null));
    /** Whether the gateway has lost it. */
    this.gone = false;
    /** Whether it could not be fetched after its last answer. */
    this.unsettled = signal(false);
    /** The session's ETag at the last request. */
    this.tag = /** @type {string|null} */ (null);
  }

  /** Applies the session of the gateway. Values that only this page knows stay. @param {import('../types.js').Session} stored */
  fill(stored) {
    this.title.value = stored.title;
    this.model.value = stored.model;
    this.temporary.value = stored.temporary;
    this.choices.fill(stored);
    const turns = placed(stored.turns, this.turns.value, (turn) => Turn.fromStored(turn, stored.model));
    // If no turn has moved, a long chat need not be drawn again.
    if (turns.length !== this.turns.value.length || turns.some((turn, i) => turn !== this.turns.value[i])) this.turns.value = turns;
    this.pictures.value = stored.images;
    this.elsewhere.value = stored.running && !this.running.value;
  }

  /** An action succeeded, so an earlier failure is over. */
  works() {
    this.failure.value = null;
    this.gone = false;
  }
}
