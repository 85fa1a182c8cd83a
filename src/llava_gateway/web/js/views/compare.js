// Answers side by side, with their figures, and the vote.

import { phaseWords, speed } from '../chat/answer.js';
import { asFailure } from '../api.js';
import { add, askAll, begin, columns, complete, drop, firstWord, forgetVotes, isElsewhere, LEAST, loadVotes, MOST, OWN, question, running, stopAll, subject, verdict, vote, votes } from '../chat/compare.js';
import { html, useEffect, useRef, useState } from '../html.js';
import { duration, number, t } from '../i18n.js';
import { Icon } from '../icons.js';
import { Markdown } from '../markdown.js';
import { presetName } from '../chat/options.js';
import { addFiles, chips, underway } from '../images/pictures.js';
import { catalogue, chat, models, overlay } from '../state.js';
import { Refusal } from './arrivals.js';
import { Dialog, PictureImage, useClock } from './parts.js';

const DETAILS = /** @type {const} */ (['auto', 'low', 'high']);

export function Compare() {
  useEffect(() => {
    const words = /** @type {HTMLTextAreaElement|null} */ (document.getElementById('words'));
    begin(words?.value ?? '');
    loadVotes().catch(() => {});
  }, []);
  return html`<${Dialog} title=${t('compare.title')} onClose=${() => (overlay.value = null)} class="compare">
    <${Question} />
    <ol class="columns" data-count=${columns.value.length}>
      ${columns.value.map((column, place) => html`<${ColumnView} key=${column.key} column=${column} place=${place} />`)}
      ${columns.value.length < MOST && html`<li class="column-add"><button class="button" type="button" disabled=${running.value} onClick=${add}><${Icon} name="plus" />${t('compare.add')}</button></li>`}
    </ol>
    <${Vote} />
    <${Tally} />
  <//>`;
}

/** The pictures, the question and the button that asks it. */
function Question() {
  const picker = useRef(/** @type {HTMLInputElement|null} */ (null));
  const pictures = subject.value;
  const can = question.value.trim() && !underway.value && columns.value.length >= LEAST;
  /** @param {Event} event */
  function submit(event) {
    event.preventDefault();
    if (running.value) stopAll();
    else if (can) askAll(question.value.trim());
  }
  /** @param {Event & {currentTarget: HTMLInputElement}} event */
  function onPick(event) {
    addFiles([...(event.currentTarget.files ?? [])]);
    event.currentTarget.value = '';
  }
  const refused = chips.value.find((chip) => chip.state === 'refused');
  return html`<form class="compare-question" onSubmit=${submit}>
    <ul class="compare-pictures" aria-label=${t('compare.pictures')}>
      ${pictures.map((picture, i) => html`<li key=${picture.id}><${PictureImage} picture=${picture} alt=${t('panel.alt', { number: i + 1 })} /></li>`)}
      ${!isElsewhere.value && html`<li>
        <input ref=${picker} class="for-readers" type="file" multiple tabindex="-1" aria-hidden="true" onChange=${onPick} accept="image/*,.svgz,.heic,.heif,.avif,.tif,.tiff,.bmp" />
        <button class="icon-button" type="button" title=${t('composer.add')} aria-label=${t('composer.add')} onClick=${() => picker.current?.click()}><${Icon} name="plus" /></button>
      </li>`}
    </ul>
    <textarea class="field" rows="2" dir="auto" aria-label=${t('compare.question')} placeholder=${t('compare.question')} value=${question.value}
      onInput=${(/** @type {any} */ event) => (question.value = event.currentTarget.value)}></textarea>
    <button class=${running.value ? 'button' : 'button main'} type="submit" disabled=${!running.value && !can}>${t(running.value ? 'compare.stop_all' : 'compare.ask_all')}</button>
    ${underway.value && html`<p class="quiet" role="status">${t('chip.preparing')}</p>`}
    ${refused && html`<${Refusal} failure=${refused.failure} />`}
  </form>`;
}

/** @param {{column: import('../chat/compare.js').Column, place: number}} props */
function ColumnView({ column, place }) {
  const turn = column.turn.value;
  const status = turn?.status.value;
  const busy = status === 'running';
  const label = t('compare.column', { number: place + 1 });
  const pictures = subject.value.length > 0;
  const { preset, options } = chat.value.choices.now.value;
  const own = preset !== null || Object.keys(options).length > 0;
  return html`<li class="column-box" data-best=${verdict.value === column} aria-label=${label}>
    <div class="column-head">
      <span class="badge figures" aria-hidden="true">${place + 1}</span>
      <select class="field" aria-label=${t('compare.model')} disabled=${busy} value=${column.model.value ?? ''} onChange=${(/** @type {any} */ event) => (column.model.value = event.currentTarget.value)}>
        ${models.value.map((m) => html`<option key=${m.name} value=${m.name} disabled=${pictures && !m.vision}>${m.name}${!m.vision && ` (${t('models.blind')})`}</option>`)}
      </select>
      <button class="icon-button" type="button" title=${t('compare.drop')} aria-label=${t('compare.drop_named', { number: place + 1 })} disabled=${columns.value.length <= LEAST} onClick=${() => drop(column)}><${Icon} name="close" /></button>
    </div>
    <div class="column-options">
      <select class="field" aria-label=${t('options.preset')} disabled=${busy} value=${column.preset.value ?? ''} onChange=${(/** @type {any} */ event) => (column.preset.value = event.currentTarget.value || null)}>
        <option value="">${t('compare.no_preset')}</option>
        ${Object.keys(catalogue.value?.presets ?? {}).map((name) => html`<option key=${name} value=${name}>${presetName(name)}</option>`)}
        ${(own || column.preset.value === OWN) && html`<option value=${OWN}>${t('compare.own')}</option>`}
      </select>
      <select class="field" aria-label=${t('options.detail')} disabled=${busy} value=${column.detail.value} onChange=${(/** @type {any} */ event) => (column.detail.value = event.currentTarget.value)}>
        ${DETAILS.map((detail) => html`<option key=${detail} value=${detail}>${t('compare.detail', { detail: t(`detail.${detail}`) })}</option>`)}
      </select>
    </div>
    ${turn && html`<${AnswerView} turn=${turn} stop=${() => column.stop.abort()} />`}
    ${verdict.value === column && html`<p class="column-verdict"><${Icon} name="check" />${t('compare.best')}</p>`}
  </li>`;
}

/** @param {{turn: import('../chat/turns.js').Turn, stop: () => void}} props */
function AnswerView({ turn, stop }) {
  const status = turn.status.value;
  return html`<div class="column-answer" dir="auto" aria-busy=${status === 'running'}>
      ${turn.text.value && html`<${Markdown} text=${turn.text.value} />`}
      ${status === 'cancelled' && html`<p class="ended"><${Icon} name="stop" />${t(turn.text.value ? 'turn.stopped_partial' : 'turn.stopped')}</p>`}
      ${status === 'failed' && html`<${Refusal} failure=${turn.failure.value} />`}
    </div>
    ${status === 'running' && html`<${Phase} turn=${turn} stop=${stop} />`} ${status === 'complete' && html`<${Figures} turn=${turn} />`}`;
}

/** @param {{turn: import('../chat/turns.js').Turn, stop: () => void}} props */
function Phase({ turn, stop }) {
  const now = useClock();
  const phase = turn.phase.value;
  return html`<div class="column-phase">
    <p class="quiet figures" data-phase=${phase?.name}>${phase && phaseWords(phase, turn.images.value.length, now)}</p>
    <button class="button small" type="button" onClick=${stop}>${t('arrival.stop')}</button>
  </div>`;
}

/** The same figures in the same order in every column. @param {{turn: import('../chat/turns.js').Turn}} props */
function Figures({ turn }) {
  const summary = turn.summary.value;
  if (!summary) return null;
  const { timings, usage } = summary;
  const first = firstWord(timings);
  const rate = speed(summary);
  const ms = (/** @type {number|null|undefined} */ figure) => (figure == null ? t('compare.untold') : duration(figure));
  const tokens = (/** @type {number|null|undefined} */ count) => (count == null ? t('compare.untold') : number(count));
  return html`<dl class="column-figures figures">
    <div><dt>${t('compare.first_word')}</dt><dd>${ms(first)}</dd></div>
    <div><dt>${t('compare.speed')}</dt><dd>${rate ? t('done.rate', { rate: number(rate, { maximumFractionDigits: rate < 10 ? 1 : 0 }) }) : t('compare.untold')}</dd></div>
    <div><dt>${t('compare.total')}</dt><dd>${ms(timings.total_ms == null ? null : timings.total_ms - (timings.queue_ms ?? 0))}</dd></div>
    <div><dt>${t('compare.queue')}</dt><dd>${ms(timings.queue_ms)}</dd></div>
    <div><dt>${t('compare.read')}</dt><dd>${tokens(usage.prompt_tokens)}${usage.cached_tokens ? t('compare.cached', { count: usage.cached_tokens }) : ''}</dd></div>
    <div><dt>${t('compare.wrote')}</dt><dd>${tokens(usage.completion_tokens)}</dd></div>
  </dl>`;
}

/** The vote, once at least two answers are complete and none is running. */
function Vote() {
  const [failure, setFailure] = useState(/** @type {import('../api.js').Failure|null} */ (null));
  if (running.value || complete.value.length < LEAST) return null;
  if (verdict.value) return html`<p class="vote" role="status">${t(verdict.value === 'tie' ? 'compare.saved_tie' : 'compare.saved')}</p>`;
  /** @param {import('../chat/compare.js').Column|'tie'} best */
  async function cast(best) {
    setFailure(null);
    try {
      await vote(best);
    } catch (error) {
      setFailure(asFailure(error));
    }
  }
  return html`<div class="vote" role="group" aria-label=${t('compare.vote')}>
    <span>${t('compare.vote')}</span>
    ${complete.value.map((column) => html`<button class="button small" type="button" key=${column.key} onClick=${() => cast(column)}>${t('compare.number_best', { number: columns.value.indexOf(column) + 1 })}</button>`)}
    <button class="button small" type="button" onClick=${() => cast('tie')}>${t('compare.tie')}</button>
    ${failure && html`<${Refusal} failure=${failure} />`}
  </div>`;
}

/** The results of each model in the votes so far. */
function Tally() {
  const [asks, setAsks] = useState(false);
  const found = votes.value;
  if (!found?.votes.length) return null;
  const rate = (/** @type {number|null} */ figure) => (figure == null ? t('compare.untold') : number(figure, { maximumFractionDigits: 1 }));
  const forget = () => (setAsks(false), forgetVotes().catch(() => {}));
  return html`<section class="tally">
    <h3>${t('compare.tally', { count: found.votes.length })}</h3>
    <div class="tally-scroll" tabindex="0" role="region" aria-label=${t('compare.tally_label')}>
      <table class="figures">
        <thead><tr><th scope="col">${t('compare.model')}</th><th scope="col">${t('compare.times_best')}</th><th scope="col">${t('compare.ties')}</th><th scope="col">${t('compare.compared')}</th><th scope="col">${t('compare.first_word')}</th><th scope="col">${t('compare.rate')}</th></tr></thead>
        <tbody>
          ${found.tally.map((s) => html`<tr key=${s.model}><th scope="row"><bdi>${s.model}</bdi></th><td>${number(s.best)}</td><td>${number(s.ties)}</td><td>${number(s.compared)}</td><td>${s.first_word_ms == null ? t('compare.untold') : duration(s.first_word_ms)}</td><td>${rate(s.tokens_per_second)}</td></tr>`)}
        </tbody>
      </table>
    </div>
    <p class="tally-foot">
      ${asks
        ? html`<span>${t('compare.forget_question')}</span><button class="button small grave" type="button" onClick=${forget}>${t('compare.forget')}</button><button class="button small" type="button" onClick=${() => setAsks(false)}>${t('models.keep')}</button>`
        : html`<button class="button small" type="button" onClick=${() => save(found)}>${t('compare.export')}</button><button class="link-button" type="button" onClick=${() => setAsks(true)}>${t('compare.forget_all')}</button><span class="quiet">${t('compare.kept')}</span>`}
    </p>
  </section>`;
}

/** Downloads the votes as a file. @param {import('../types.js').Votes} found */
function save(found) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(found, null, 2)], { type: 'application/json' }));
  link.download = 'votes.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
