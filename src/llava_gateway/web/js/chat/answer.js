// A running answer: its events as they arrive in a turn, and the words for its progress.

import { duration, number, t } from '../i18n.js';

/** @typedef {import('./turns.js').Turn} Turn */
/** @typedef {import('./turns.js').Phase} Phase */

/** @param {Turn} turn @param {Phase['name']} name @param {Record<string, any>} [values] */
export function setPhase(turn, name, values = {}) {
  const before = turn.phase.value;
  turn.phase.value = { name, values, since: before?.name === name ? before.since : performance.now() };
}

/**
 * Writes an answer into a turn as it arrives. Returns null if `leaves` ended this early.
 * @param {Turn} turn @param {ReturnType<typeof import('../api.js').ask>} events @param {() => boolean} [leaves]  asked after each event
 * @returns {Promise<import('../types.js').Answer|null>}
 */
export async function listen(turn, events, leaves = () => false) {
  const words = new Words(turn);
  let answer = null;
  try {
    for await (const { event, content, id } of events) {
      turn.lastEvent = id || turn.lastEvent;
      switch (event) {
        case 'queued':
        case 'loading':
          setPhase(turn, event, content);
          break;
        case 'progress':
          setPhase(turn, 'reading', content);
          break;
        case 'reasoning':
          turn.reasoning.value += content.text;
          break;
        case 'delta':
          words.add(content.text);
          break;
        case 'done':
          answer = content;
      }
      if (!answer && leaves()) break;
    }
  } finally {
    words.flush();
  }
  return answer;
}

/** Words as they arrive, drawn once per frame. */
class Words {
  /** @param {Turn} turn */
  constructor(turn) {
    this.turn = turn;
    this.waiting = '';
    this.pieces = 0;
    this.frame = 0;
  }

  /** @param {string} text */
  add(text) {
    this.pieces++;
    this.waiting += text;
    this.frame ||= requestAnimationFrame(() => this.flush());
  }

  flush() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (!this.waiting) return;
    this.turn.text.value += this.waiting;
    this.waiting = '';
    setPhase(this.turn, 'writing', { pieces: this.pieces });
  }
}

/**
 * Returns the tokens per second of a finished answer; null if the engine did not report them.
 * @param {{usage: import('../types.js').Usage, timings: Record<string, number|null>}} summary
 */
export function speed({ usage, timings }) {
  const { completion_tokens: tokens } = usage;
  const { generation_ms: ms } = timings;
  return tokens && ms ? (tokens / ms) * 1000 : null;
}

/** Returns the words for the progress. @param {Phase} phase @param {number} pictureCount @param {number} now */
export function phaseWords(phase, pictureCount, now) {
  const { name, values } = phase;
  const seconds = Math.floor((now - phase.since) / 1000);
  const after = seconds >= 2 ? t('phase.for', { duration: duration(seconds * 1000) }) : '';
  switch (name) {
    case 'queued':
      return t('phase.queued', { position: values.position }) + after;
    case 'loading': {
      const last = values.last_load_ms ? t('phase.last_load', { duration: duration(values.last_load_ms) }) : '';
      return t('phase.loading', { model: values.model }) + last + after;
    }
    case 'reading': {
      const key = pictureCount > 1 ? 'phase.reading_pictures' : pictureCount ? 'phase.reading_picture' : 'phase.reading';
      return t(key, { processed: values.processed, total: values.total }) + after;
    }
    case 'writing': {
      const rate = seconds >= 1 ? (values.pieces / (now - phase.since)) * 1000 : 0;
      return rate ? t('phase.writing_rate', { rate: number(rate, { maximumFractionDigits: rate < 10 ? 1 : 0 }) }) : t('phase.writing');
    }
    default:
      return t('phase.asking') + after;
  }
}
