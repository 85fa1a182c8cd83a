// Models that are being installed: the progress of each file, the speed, and errors.

import { explained } from '../failures.js';
import { html } from '../html.js';
import { bytes, duration, number, t } from '../i18n.js';
import { Icon } from '../icons.js';
import { arrivals, pull, putAway } from '../models/models.js';
import { chat, library, model, models, pickedModel } from '../state.js';
import { useClock } from './parts.js';

/** All installs of this page, running or ended, and those that other pages and the shell have started. @param {{only?: string[]}} props  `only` these names */
export function Arrivals({ only }) {
  const own = arrivals.value.filter((a) => !only || only.includes(a.name));
  const others = only ? [] : (library.value?.installing.filter(({ model: name }) => !arrivals.value.some((a) => a.name === name && a.state.value === 'running')) ?? []);
  if (!own.length && !others.length) return null;
  return html`<ul class="arrivals" aria-label=${t('arrival.label')}>
    ${own.map((arrival) => html`<${ArrivalRow} key=${arrival.name} arrival=${arrival} />`)}
    ${others.map(({ model: name, progress }) => html`<li key=${name} class="arrival" data-state="elsewhere">
      <p class="arrival-head"><bdi class="model-name">${name}</bdi></p>
      <p class="quiet figures">${t('arrival.elsewhere')}${progress?.total && progress.completed !== null && ` ${t('arrival.of', { done: bytes(progress.completed), size: bytes(progress.total) })}`}</p>
    </li>`)}
  </ul>`;
}

/** @param {{arrival: import('../models/models.js').Arrival}} props */
function ArrivalRow({ arrival }) {
  const { name, kind } = arrival;
  const state = arrival.state.value;
  const running = state === 'running';
  const goesOn = kind === 'pull' && (state === 'stopped' || state === 'failed');
  return html`<li class="arrival" data-state=${state}>
    <div class="arrival-head">
      <bdi class="model-name">${name}</bdi>
      ${(running || goesOn) &&
      html`<button class="button small" type="button" aria-label=${t(running ? 'arrival.stop_named' : 'arrival.go_on_named', { name })}
        onClick=${() => (running ? arrival.stop.abort() : pull(name))}>${t(running ? 'arrival.stop' : 'arrival.go_on')}</button>`}
      ${state === 'done' && html`<${UseIt} name=${name} />`}
      ${!running && html`<button class="icon-button" type="button" title=${t('arrival.put_away')} aria-label=${t('arrival.put_away')} onClick=${() => putAway(arrival)}><${Icon} name="close" /></button>`}
    </div>
    ${running && html`<${Step} arrival=${arrival} />`}
    ${state === 'stopped' && html`<p class="quiet" role="status">${t(kind === 'pull' ? 'arrival.stopped' : 'arrival.stopped_create')}</p>`}
    ${state === 'done' && html`<p class="quiet" role="status">${t(kind === 'pull' ? 'arrival.here' : 'arrival.made')}</p>`}
    ${state === 'failed' && html`<${Refusal} failure=${arrival.failure.value} />`}
    ${state !== 'done' && html`<${Files} arrival=${arrival} />`}
  </li>`;
}

/** @param {{failure: import('../api.js').Failure|null}} props */
export function Refusal({ failure }) {
  if (!failure) return null;
  const { cause, next } = explained(failure);
  return html`<div class="refusal" role="alert"><p><${Icon} name="warning" /><strong>${cause}</strong></p><p>${next}</p></div>`;
}

/** A button chooses the installed model for this chat, if it is not chosen already. @param {{name: string}} props */
function UseIt({ name }) {
  const found = models.value.find((m) => m.name === name || m.name === `${name}:latest`);
  if (!found || found.name === model.value || chat.value.running.value) return null;
  return html`<button class="button small main" type="button" onClick=${() => (pickedModel.value = found.name)}>${t('arrival.use')}</button>`;
}

/** @param {{arrival: import('../models/models.js').Arrival}} props */
function Step({ arrival }) {
  const now = useClock();
  const step = arrival.step.value;
  const file = arrival.files.value.at(-1);
  const seconds = Math.floor((now - arrival.since) / 1000);
  const after = seconds >= 2 ? t('phase.for', { duration: duration(seconds * 1000) }) : '';
  if (step !== 'download' || !file) return html`<p class="quiet figures">${t(step ? `arrival.${step}` : 'arrival.asking')}${after}</p>`;
  const speed = arrival.speed(now);
  const left = file.total - file.completed;
  return html`<p class="quiet figures">
    ${t('arrival.download', { number: arrival.files.value.length })}${speed === null ? '' : speed > 0 ? t('arrival.speed', { speed: bytes(speed) }) : t('arrival.nothing_comes')}${speed && left ? t('arrival.left', { time: remaining(left / speed) }) : ''}
  </p>`;
}

/** @param {number} seconds */
function remaining(seconds) {
  if (seconds < 100) return t('time.seconds', { count: Math.max(1, Math.round(seconds)) });
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return t('time.minutes', { count: minutes });
  return t('time.hours', { count: number(minutes / 60, { maximumFractionDigits: 1 }) });
}

/** @param {{arrival: import('../models/models.js').Arrival}} props */
function Files({ arrival }) {
  if (!arrival.files.value.length) return null;
  return html`<ol class="arrival-files figures">
    ${arrival.files.value.map(({ digest, completed, total }) => {
      const id = digest.replace(/^sha256:/, '').slice(0, 12);
      const words = completed >= total ? bytes(total) : t('arrival.of', { done: bytes(completed), size: bytes(total) });
      return html`<li key=${digest}>
        <code>${id}</code>
        <progress max=${total} value=${completed} aria-label=${t('arrival.file', { id })} aria-valuetext=${words}></progress>
        <span>${words}</span>
      </li>`;
    })}
  </ol>`;
}
