// What screen readers hear of an answer: the progress, then the text in whole sentences, some seconds apart.

import { effect } from '../../vendor/signals.js';
import { phaseWords } from './answer.js';
import { t } from '../i18n.js';
import { announcement, chat } from '../state.js';

/** If every word was announced when it arrives, it would interrupt the one before. */
const PAUSE_MS = 3000;
const SENTENCE_ENDS = /[.!?…:](?=\s)|[。！？；：\n]/g;

/** Announces the running answer on screen, as long as the page is open. */
export function speakAnswers() {
  effect(() => {
    const turn = chat.value?.running.value?.turn;
    return turn && speak(turn);
  });
}

/** @param {import('./turns.js').Turn} turn @returns {() => void} ends it */
function speak(turn) {
  let told = turn.base?.length ?? 0; // earlier text was announced when it arrived
  /** @param {number} end */
  const tell = (end) => {
    const words = spoken(turn.text.peek().slice(told, end + 1));
    if (words) announcement.value = words;
    told = Math.max(told, end + 1);
  };
  const timer = setInterval(() => tell(lastSentenceEnd(turn.text.peek())), PAUSE_MS);
  let doing = '';
  const endPhases = effect(() => {
    const phase = turn.phase.value;
    if (!phase || phase.name === doing) return;
    doing = phase.name;
    if (doing !== 'writing') announcement.value = phaseWords(phase, turn.images.peek().length, phase.since);
  });
  return () => {
    clearInterval(timer);
    endPhases();
    const status = turn.status.peek();
    if (status === 'complete') tell(Infinity);
    else if (status === 'cancelled') announcement.value = t('turn.stopped');
    // A failure is an alert, which screen readers announce anyway.
  };
}

/** @param {string} text */
function lastSentenceEnd(text) {
  return [...text.matchAll(SENTENCE_ENDS)].at(-1)?.index ?? -1;
}

/** Removes the markup from a piece of Markdown. @param {string} markdown */
function spoken(markdown) {
  return markdown
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/^[\s|:-]+$/gm, '')
    .replace(/[*_`#>|~\s]+/g, ' ')
    .trim();
}
