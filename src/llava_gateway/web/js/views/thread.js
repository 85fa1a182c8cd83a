// The conversation: its turns, the progress, and the first-run invitation.

import { askAgain } from '../chat/branches.js';
import { phaseWords, speed } from '../chat/answer.js';
import { opening } from '../chat/chat.js';
import { goOn } from '../chat/running.js';
import { untold } from '../chat/context.js';
import { goOnAgain, leaving, startOver } from '../chat/drafts.js';
import { explained } from '../failures.js';
import { lit } from '../images/gallery.js';
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../html.js';
import { duration, number, t, told, under } from '../i18n.js';
import { Icon } from '../icons.js';
import { Markdown } from '../markdown.js';
import { pointing } from '../images/mentions.js';
import { changesOf, said } from '../notes.js';
import { chat, overlay, panel } from '../state.js';
import { ContextNotes, ContextWays, isAboutContext, isFull } from './context.js';
import { Empty } from './empty.js';
import { useHeir } from './focus.js';
import { useNotYetDrawn } from './gradually.js';
import { PartFrame } from './part.js';
import { PictureImage, useClock } from './parts.js';
import { Tables, tablesOf } from './table.js';
import { AnswerActions, QuestionActions } from './turn_actions.js';

/** Distance from the end, in pixels, within which the view follows the answer. */
const NEAR_END = 60;

export function Thread() {
  const scroller = useRef(/** @type {HTMLElement|null} */ (null));
  const [atEnd, setAtEnd] = useState(true);
  const following = useRef(true);
  const seen = useRef(0);
  const current = chat.value;
  const turns = current.turns.value;
  const notYet = useNotYetDrawn(current, turns.length);

  const toEnd = () => {
    const box = scroller.current;
    if (box) box.scrollTop = box.scrollHeight;
  };
  const onScroll = () => {
    const box = /** @type {HTMLElement} */ (scroller.current);
    const near = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END;
    // Only a person scrolls up. If the end moved out of view by itself, the view still follows it.
    if (near) following.current = true;
    else if (box.scrollTop < seen.current) following.current = false;
    seen.current = box.scrollTop;
    setAtEnd(near || following.current);
  };
  // After a question is sent or a chat is opened, the view is at the end.
  useLayoutEffect(() => {
    following.current = true;
    setAtEnd(true);
    if (turns.length) toEnd();
  }, [current, turns.length]);
  useEffect(() => {
    const box = /** @type {HTMLElement} */ (scroller.current);
    const watcher = new ResizeObserver(() => following.current && chat.value.turns.value.length && toEnd());
    watcher.observe(/** @type {Element} */ (box.firstElementChild));
    watcher.observe(box);
    return () => watcher.disconnect();
  }, []);

  return html`<div class="thread-frame">
    <div class="thread" data-busy=${Boolean(current.running.value) || current.elsewhere.value} ref=${scroller} onScroll=${onScroll} tabindex="-1">
      <div class="column">
        ${turns.length ? numbered(turns).slice(notYet).map(([turn, first]) => html`<${TurnView} key=${turn.key} turn=${turn} first=${first} />`) : !opening.value && !current.elsewhere.value && html`<${Empty} />`}
        ${current.elsewhere.value && html`<p class="phase"><span class="pulse" aria-hidden="true"></span>${t('phase.elsewhere')}</p>`}
      </div>
    </div>
    ${!atEnd && turns.length > 0 && html`<button class="newest button small" type="button" onClick=${toEnd}><${Icon} name="down" />${t('thread.newest')}</button>`}
  </div>`;
}

/** Returns each turn with the number of its first picture: pictures are numbered through the conversation. @param {import('../chat/turns.js').Turn[]} turns */
function numbered(turns) {
  let count = 0;
  return turns.map((turn) => {
    const first = count + 1;
    count += turn.images.value.length;
    return /** @type {const} */ ([turn, first]);
  });
}

/** @param {{turn: import('../chat/turns.js').Turn, first: number}} props */
function TurnView({ turn, first }) {
  const images = turn.images.value;
  const article = useRef(/** @type {HTMLElement|null} */ (null));
  useHeir(article); // a question that is asked again is replaced by another one
  return html`<article ref=${article} class="turn" aria-label=${t('turn.label')} data-key=${turn.key} inert=${leaving.value.has(turn)}>
    <div class="question">
      ${images.length > 0 &&
      html`<ul class="pictures">
        ${images.map(
          (picture, i) => html`<li key=${i}>
            <button class="picture" type="button" data-lit=${lit.value === first + i} onClick=${() => (panel.value = first + i)} aria-label=${t('picture.open', { number: first + i })}>
              <span class="framed"><${PictureImage} picture=${picture} alt="" />${picture.region && html`<${PartFrame} region=${picture.region} />`}</span>
              <span class="badge figures">${first + i}</span>
            </button>
            ${untold.value.has(picture.id) && html`<p class="quiet untold">${t('context.gone')}</p>`}
            ${changesOf(picture) && html`<p class="quiet">${changesOf(picture)}</p>`}
          </li>`,
        )}
      </ul>`}
      <p class="asked" dir="auto">${turn.prompt}</p>
      <${QuestionActions} turn=${turn} />
    </div>
    <${AnswerView} turn=${turn} pictures=${first - 1 + images.length} />
  </article>`;
}

/** @param {{turn: import('../chat/turns.js').Turn, pictures: number}} props  `pictures`: how many there are up to this turn */
function AnswerView({ turn, pictures }) {
  const text = turn.text.value;
  const status = turn.status.value;
  const failure = turn.failure.value;
  const running = status === 'running' && turn.phase.value;
  return html`<div class="answer" dir="auto" aria-busy=${Boolean(running)} ...${pointing}>
    ${turn.reasoning.value && html`<details class="reasoning"><summary>${t('turn.reasoning')}</summary><p>${turn.reasoning.value}</p></details>`}
    ${text && html`<${Words} text=${text} ended=${!running} pictures=${pictures} />`}
    ${running && html`<${PhaseLine} turn=${turn} />`}
    ${status === 'cancelled' && html`<p class="ended"><${Icon} name="stop" />${t(text ? 'turn.stopped_partial' : 'turn.stopped')}</p>`}
    ${status === 'incomplete' && html`<p class="ended"><${Icon} name="warning" />${cutOff(turn.cut.value ?? 'other')}</p>`}
    ${failure && html`<${Failed} failure=${failure} turn=${turn} />`}
    ${!running && html`<${Summary} turn=${turn} />`}
    ${!running && html`<${Continue} turn=${turn} />`}
  </div>`;
}

/** Says why an answer ended before its end. @param {string} reason  as the gateway names it */
function cutOff(reason) {
  return t('turn.cut_off', { reason: told(({ words }) => [under(words, `cut.${reason}`), words['cut.other']], { code: reason }) ?? reason });
}

/** The button that continues an answer that was stopped or cut off. @param {{turn: import('../chat/turns.js').Turn}} props */
function Continue({ turn }) {
  turn.siblings.value; // known once the session has the turn
  if (!turn.canGoOn || !isLast(turn) || chat.value.running.value || chat.value.elsewhere.value) return null;
  return html`<p class="actions at-rest">
    <button class="button small" type="button" onClick=${() => goOn(chat.value, turn)}><${Icon} name="right" />${t('turn.continue')}</button>
  </p>`;
}

/** The text of an answer; a table if it is JSON. @param {{text: string, ended: boolean, pictures: number}} props */
function Words({ text, ended, pictures }) {
  const tables = useMemo(() => (ended ? tablesOf(text) : null), [text, ended]);
  return tables ? html`<${Tables} tables=${tables} text=${text} />` : html`<${Markdown} text=${text} pictures=${pictures} />`;
}

/** @param {{turn: import('../chat/turns.js').Turn}} props */
function PhaseLine({ turn }) {
  const now = useClock();
  const phase = turn.phase.value;
  if (!phase) return null;
  const share = phase.name === 'reading' && phase.values.total ? phase.values.processed / phase.values.total : null;
  return html`<p class="phase figures" data-phase=${phase.name}>
    <span class="pulse" aria-hidden="true"></span>
    <span>${phaseWords(phase, turn.images.value.length, now)}</span>
    ${share !== null && html`<progress max="1" value=${share} aria-hidden="true"></progress>`}
  </p>`;
}

/** The quiet line under an answer. @param {{turn: import('../chat/turns.js').Turn}} props */
function Summary({ turn }) {
  const summary = turn.summary.value;
  const text = turn.text.value;
  const parts = [];
  if (turn.model.value && (summary || text)) parts.push(html`<span class="model-name">${turn.model.value}</span>`);
  if (summary) {
    const { first_token_ms: first } = summary.timings;
    const rate = speed(summary);
    const { prompt_tokens: read, completion_tokens: wrote, cached_tokens: cached } = summary.usage;
    if (first) parts.push(html`<span title=${timingsWords(summary.timings)}>${t('done.first_word', { duration: duration(first) })}</span>`);
    if (rate) parts.push(html`<span>${t('done.rate', { rate: number(rate, { maximumFractionDigits: rate < 10 ? 1 : 0 }) })}</span>`);
    if (read && wrote) {
      const words = cached ? t('done.tokens_cached', { read, wrote, cached }) : t('done.tokens', { read, wrote });
      parts.push(html`<span>${words}</span>`);
    }
  }
  const cut = summary?.finish_reason === 'length' && !isFull(summary.warnings);
  return html`<div>
    ${cut && html`<p class="ended"><${Icon} name="warning" />${cutOff('length')}</p>`}
    ${warningsOf(summary).map((words) => html`<p class="ended" key=${words}><${Icon} name="warning" />${words}</p>`)}
    ${summary?.warnings.some(({ code }) => code === 'long_image') && html`<p class="in-parts"><button class="button small at-rest" type="button" onClick=${() => askAgain(turn, { images: inParts(turn) })}>${t('chip.in_parts')}</button></p>`}
    <${ContextNotes} turn=${turn} />
    <div class="summary figures">
      <span class="facts">${parts}</span>
      <${AnswerActions} turn=${turn} />
    </div>
  </div>`;
}

/** The pictures of a turn, the long ones in high detail. @param {import('../chat/turns.js').Turn} turn */
const inParts = (turn) => turn.images.value.map((picture) => (isLong(picture) ? { ...picture, detail: /** @type {const} */ ('high') } : picture));

/** Whether the gateway can cut a picture into parts: one that is shown as a whole. @param {import('../types.js').Picture} picture */
const isLong = ({ width, height, region }) => !region && Math.max(width, height) >= 3 * Math.min(width, height);

/** Warnings in words, except those about the context and those shown under a picture. @param {import('../chat/turns.js').Turn['summary']['value']} summary */
function warningsOf(summary) {
  const warnings = summary?.warnings.filter((warning) => warning.code !== 'first_frame_only' && !isAboutContext(warning));
  return [...new Set(warnings?.map(said))];
}

/** @param {Record<string, number|null>} timings */
function timingsWords(timings) {
  const names = /** @type {const} */ (['queue_ms', 'prepare_ms', 'load_ms', 'prompt_ms', 'generation_ms', 'total_ms']);
  return names.flatMap((name) => (timings[name] == null ? [] : [`${t(`timing.${name}`)} ${duration(timings[name])}`])).join('\n');
}

/** @param {import('../chat/turns.js').Turn} turn */
const isLast = (turn) => chat.value.turns.value.at(-1) === turn;

/** A failure of the whole chat: visible at every scroll position. */
export function ChatFailure() {
  const { failure } = chat.value;
  const close = () => {
    failure.value = null;
    document.getElementById('words')?.focus();
  };
  return failure.value && html`<div class="chat-failure"><${Failed} failure=${failure.value} onClose=${close} /></div>`;
}

/** A failure with the next step, and a button for it. @param {{failure: import('../api.js').Failure, turn?: import('../chat/turns.js').Turn, onClose?: () => void}} props */
function Failed({ failure, turn, onClose }) {
  const { cause, next } = explained(failure);
  const busy = Boolean(chat.value.running.value);
  let action = null;
  if (['model_not_found', 'model_lacks_vision', 'model_out_of_memory'].includes(failure.code)) {
    action = html`<button class="button small" type="button" onClick=${() => (overlay.value = 'models')}>${t('failure.choose_model')}</button>`;
  } else if (['context_length_exceeded', 'session_full', 'session_not_found', 'session_deleted'].includes(failure.code)) {
    action = html`${chat.value.gone && chat.value.turns.value.length > 0 && html`<button class="button small main" type="button" onClick=${goOnAgain}>${t('revival.start')}</button>`}
      <button class="button small" type="button" onClick=${() => startOver(turn)}>${t('sessions.new')}</button>`;
  }
  const again = turn && isLast(turn) && !busy && html`<button class="button small" type="button" onClick=${() => askAgain(turn)}><${Icon} name="again" />${t('failure.ask_again')}</button>`;
  return html`<div class="failed" role="alert">
    <p><${Icon} name="warning" /><strong>${cause}</strong>
      ${onClose && html`<button class="icon-button" type="button" title=${t('close')} aria-label=${t('close')} onClick=${onClose}><${Icon} name="close" /></button>`}</p>
    <p>${next}</p>
    <p class="actions">${failure.code === 'context_length_exceeded' && html`<${ContextWays} failure=${failure} turn=${again ? turn : undefined} />`} ${action} ${again}</p>
    ${failure.instance && html`<p class="quiet">${failure.code} · <bdi>${failure.instance}</bdi></p>`}
  </div>`;
}
