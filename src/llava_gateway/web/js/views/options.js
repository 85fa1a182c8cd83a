// The dialog for options: presets, detail of pictures, system prompt and glossary, and each option with its default, unit and range.

import { composing } from '../chat/composing.js';
import { explained } from '../failures.js';
import { html, useState } from '../html.js';
import { between, number, t, told, under } from '../i18n.js';
import { countOf, POLICIES, presetName } from '../chat/options.js';
import { catalogue, chat, modelInfo, overlay } from '../state.js';
import { PassingButton } from './focus.js';
import { FormatEditor } from './format.js';
import { Choice, Dialog } from './parts.js';

/** Ranges that are too wide for a slider get only a field. */
const SLIDER_MOST = 1000;
const DETAILS = /** @type {const} */ (['auto', 'low', 'high']);
/** The gateway's options by subject. Unknown ones come last. */
const GROUPS = /** @type {const} */ ([
  ['options.words', ['temperature', 'top_k', 'top_p', 'min_p', 'repeat_penalty', 'repeat_last_n', 'seed']],
  ['options.length', ['num_predict']],
  ['options.engine', ['num_ctx', 'num_gpu', 'num_thread']],
]);

export function Options() {
  const known = catalogue.value;
  const { choices } = chat.value;
  const { ocrText } = composing.value;
  const { preset, detail, system } = choices.now.value;
  const unset = preset === null && countOf(choices.now.value) === 0;
  return html`<${Dialog} title=${t('options.title')} onClose=${() => (overlay.value = null)} class="sheet options">
    <${Scope} />
    ${known &&
    html`<${Choice} label=${t('options.preset')} value=${preset} onChoose=${(/** @type {string|null} */ v) => choices.choose({ preset: v })}
        choices=${[{ value: null, label: t('preset.none') }, ...Object.keys(known.presets).map((name) => ({ value: name, label: presetName(name) }))]} />
      <p class="quiet">${presetAbout(preset)}</p>`}
    <h3 class="option-title">${t('options.detail')}</h3>
    <${Choice} label=${t('options.detail')} value=${detail ?? 'auto'} onChoose=${(/** @type {'auto'|'low'|'high'} */ v) => choices.choose({ detail: v === 'auto' ? null : v })}
      choices=${DETAILS.map((value) => ({ value, label: t(`detail.${value}`) }))} />
    <p class="quiet">${t(`detail.${detail ?? 'auto'}.about`)}</p>
    <label class="option-text">
      <span>${t('options.system')}</span>
      <textarea class="field" rows="2" dir="auto" placeholder=${t('options.system_placeholder')} value=${system}
        onInput=${(/** @type {any} */ event) => choices.choose({ system: event.currentTarget.value })}></textarea>
    </label>
    <${Glossary} />
    <${FormatEditor} />
    <${PolicyChoice} />
    <label class="option-text">
      <span>${t('options.ocr')}</span>
      <textarea class="field" rows="2" dir="auto" placeholder=${t('options.ocr_placeholder')} value=${ocrText.value}
        onInput=${(/** @type {any} */ event) => (ocrText.value = event.currentTarget.value)}></textarea>
    </label>
    ${known && grouped(known.options).map(([title, names]) => html`<${Group} key=${title} title=${title} names=${names} />`)}
    <p class="option-foot"><button class="button small" type="button" disabled=${unset} onClick=${() => choices.reset()}>${t('options.reset_all')}</button></p>
  <//>`;
}

/** Says which chats the options apply to. */
function Scope() {
  const { choices } = chat.value;
  const words = choices.own.value === null ? t('options.for_new') : t('options.for_this');
  return html`<div class="option-scope quiet">
    <p>${words}</p>
    ${choices.own.value !== null &&
    html`<button class="button small" type="button" disabled=${choices.areForNewChats} onClick=${() => choices.forNewChats()}>
      ${t(choices.areForNewChats ? 'options.are_for_new' : 'options.use_for_new')}
    </button>`}
    <${Refused} />
  </div>`;
}

/** Why the gateway rejected the last change. */
export function Refused() {
  const failure = chat.value.choices.failure.value;
  return failure && html`<p class="option-failure" role="alert">${explained(failure).cause} ${explained(failure).next}</p>`;
}

/** @param {Record<string, import('../types.js').OptionLimit>} known @returns {[string, string[]][]} */
function grouped(known) {
  const placed = GROUPS.flatMap(([, names]) => /** @type {readonly string[]} */ (names));
  const others = Object.keys(known).filter((name) => !placed.includes(name));
  return GROUPS.map(([title, names], i) => [title, [...names.filter((name) => name in known), ...(i ? [] : others)]]);
}

/** @param {{title: any, names: string[]}} props */
function Group({ title, names }) {
  const known = catalogue.value?.options ?? {};
  return html`<section class="option-group">
    <h3>${t(title)}</h3>
    <ul class="option-list">
      ${names.map((name) => html`<${OptionRow} key=${name} name=${name} limit=${known[name]} />`)}
      ${title === 'options.length' && html`<${StopRow} />`}
      ${title === 'options.engine' && html`<${KeepAliveRow} />`}
    </ul>
  </section>`;
}

/** @param {{label?: string}} props */
export function PolicyChoice({ label = t('options.policy') }) {
  const { choices } = chat.value;
  const { policy } = choices.now.value;
  return html`<label class="option-text">
    <span>${label}</span>
    <select class="field" value=${policy ?? ''} onChange=${(/** @type {any} */ event) => choices.choose({ policy: event.currentTarget.value || null })}>
      <option value="">${t('policy.unset')}</option>
      ${POLICIES.map((name) => html`<option key=${name} value=${name}>${t(`policy.${name}`)}</option>`)}
    </select>
  </label>`;
}

/** @param {string} text */
const lines = (text) => text.split('\n').map((line) => line.trim()).filter(Boolean);

function Glossary() {
  const { choices } = chat.value;
  const kept = choices.now.value.glossary;
  const [typed, setTyped] = useState('');
  // The text is kept as typed while it means the stored value: an empty line is where the next entry begins.
  const shown = lines(typed).join('\n') === kept.join('\n') ? typed : kept.join('\n');
  /** @param {any} event */
  function onInput(event) {
    setTyped(event.currentTarget.value);
    choices.choose({ glossary: lines(event.currentTarget.value) });
  }
  return html`<label class="option-text">
    <span>${t('options.glossary')}</span>
    <textarea class="field" rows="2" dir="auto" placeholder=${t('options.glossary_placeholder')} value=${shown} onInput=${onInput}></textarea>
  </label>`;
}

/** @param {string|null} name */
function presetAbout(name) {
  if (!name) return t('preset.none.about');
  return told(({ presets }) => [under(presets, name)]) ?? catalogue.value?.presets[name]?.about;
}

/** The head of an option: its name, where its value comes from, and the way back. @param {{name: string, own: boolean, inherited?: boolean, children?: any}} props */
function Head({ name, own, inherited = false, children }) {
  const { choices } = chat.value;
  const { preset } = choices.now.value;
  return html`<div class="option-head">
    <label for=${`option-${name}`}><code>${name}</code></label>
    ${own && html`<${PassingButton} class="link-button" heir=${() => document.getElementById(`option-${name}`)} aria-label=${t('options.reset_named', { name })} onClick=${() => choices.set(name, undefined)}>${t('options.reset')}<//>`}
    ${!own && inherited && preset && html`<span class="quiet">${t('options.from_preset', { preset: presetName(preset) })}</span>`}
    ${children}
  </div>`;
}

/** @param {{name: string, limit: import('../types.js').OptionLimit}} props */
function OptionRow({ name, limit }) {
  const { choices } = chat.value;
  const { preset, options } = choices.now.value;
  const own = /** @type {number|undefined} */ (options[name]);
  const given = preset ? catalogue.value?.presets[preset]?.[name] : undefined;
  const inherited = typeof given === 'number' ? given : undefined;
  const shown = own ?? inherited;
  const about = told((of) => [under(of.options, name)]) ?? `${limit.about[0].toUpperCase()}${limit.about.slice(1)}.`;
  const gap = between();
  const slides = !limit.whole || limit.high <= SLIDER_MOST;
  const id = `option-${name}`;
  /** @param {any} event */
  const onSlide = (event) => choices.set(name, Number(event.currentTarget.value));
  /** @param {any} event */
  function onType(event) {
    const text = event.currentTarget.value.trim();
    const value = Number(text);
    if (text === '') choices.set(name, undefined);
    else if (Number.isFinite(value)) choices.set(name, clamped(value, limit));
    event.currentTarget.value = choices.now.value.options[name] ?? inherited ?? '';
  }
  return html`<li class="option" data-own=${own !== undefined}>
    <${Head} name=${name} own=${own !== undefined} inherited=${inherited !== undefined}>
      <input id=${id} class="field figures" inputmode="decimal" aria-describedby=${`${id}-about`} placeholder=${t('options.default')} value=${shown ?? ''} onChange=${onType} />
      <span class="option-unit">${limit.unit && unit(limit.unit)}</span>
    <//>
    ${slides &&
    html`<input type="range" class="slider" min=${limit.low} max=${limit.high} step=${limit.whole ? 1 : 0.05} value=${shown ?? middle(limit)} data-unset=${shown === undefined}
      aria-label=${name} aria-valuetext=${shown === undefined ? t('options.default') : undefined} onInput=${onSlide} onClick=${shown === undefined && onSlide} />`}
    <p class="quiet" id=${`${id}-about`}>
      ${about}
      ${name === 'num_ctx' && modelInfo.value?.context_length && html`${gap}${t('option.num_ctx.trained', { count: modelInfo.value.context_length })}`}
      ${limit.reloads && html`${gap}<span class="reloads">${t('options.reloads')}</span>`}
      ${gap}<span>${t('options.range', { low: number(limit.low), high: number(limit.high) })}</span>
    </p>
  </li>`;
}

function StopRow() {
  const { choices } = chat.value;
  const kept = /** @type {string[]|undefined} */ (choices.now.value.options.stop);
  const [typed, setTyped] = useState('');
  const shown = lines(typed).join('\n') === (kept ?? []).join('\n') ? typed : (kept ?? []).join('\n');
  /** @param {any} event */
  function onInput(event) {
    const found = lines(event.currentTarget.value);
    setTyped(event.currentTarget.value);
    choices.set('stop', found.length ? found : undefined);
  }
  return html`<li class="option" data-own=${kept !== undefined}>
    <${Head} name="stop" own=${kept !== undefined} />
    <textarea id="option-stop" class="field" rows="2" aria-describedby="option-stop-about" placeholder=${t('options.default')} value=${shown} onInput=${onInput}></textarea>
    <p class="quiet" id="option-stop-about">${t('option.stop.about')}</p>
  </li>`;
}

/** A number of seconds, or a duration as the gateway accepts it. */
const KEEP_ALIVE = /^-?(\d+|(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+)$/;

function KeepAliveRow() {
  const { choices } = chat.value;
  const own = choices.now.value.options.keep_alive;
  /** @param {any} event */
  function onChange(event) {
    const text = event.currentTarget.value.trim();
    if (text === '') choices.set('keep_alive', undefined);
    else if (KEEP_ALIVE.test(text)) choices.set('keep_alive', text);
    event.currentTarget.value = choices.now.value.options.keep_alive ?? '';
  }
  return html`<li class="option" data-own=${own !== undefined}>
    <${Head} name="keep_alive" own=${own !== undefined}>
      <input id="option-keep_alive" class="field figures" aria-describedby="option-keep_alive-about" placeholder=${t('options.default')} value=${own ?? ''} onChange=${onChange} />
      <span class="option-unit"></span>
    <//>
    <p class="quiet" id="option-keep_alive-about">${t('option.keep_alive.about')}</p>
  </li>`;
}

/** @param {string} name */
const unit = (name) => (name === 'tokens' || name === 'words' || name === 'layers' ? t(`unit.${name}`) : name);

/** @param {import('../types.js').OptionLimit} limit */
const middle = (limit) => (limit.low + limit.high) / 2;

/** @param {number} value @param {import('../types.js').OptionLimit} limit */
function clamped(value, limit) {
  const inside = Math.min(limit.high, Math.max(limit.low, value));
  return limit.whole ? Math.round(inside) : inside;
}
