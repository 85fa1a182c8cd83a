// What opens above the page: options, shortcuts, the question for the key, and the models (in a file of their own).

import { giveKey, keyNeeded } from '../api.js';
import { glossaryOf } from '../chat.js';
import { html, useState } from '../html.js';
import { language, number, t } from '../i18n.js';
import { OPTIONS, PRESETS } from '../i18n/zh.js';
import * as prefs from '../prefs.js';
import { catalogue, chat, modelInfo, overlay } from '../state.js';
import { presetName } from './composer.js';
import { Choice, Dialog, lazily } from './parts.js';

const close = () => (overlay.value = null);
const Compare = lazily(async () => (await import('./compare.js')).Compare, close);
const Models = lazily(async () => (await import('./models.js')).Models, close);

export function Overlays() {
  return html`${overlay.value === 'models' && html`<${Models} />`} ${overlay.value === 'compare' && html`<${Compare} />`} ${overlay.value === 'options' && html`<${Options} />`}
  ${overlay.value === 'shortcuts' && html`<${Shortcuts} />`} ${keyNeeded.value && html`<${KeyQuestion} />`}`;
}

/** Whole ranges that are too wide for a slider get a field alone. */
const SLIDER_MOST = 1000;

function Options() {
  const known = catalogue.value;
  const preset = prefs.preset.value;
  const values = prefs.options.value;
  const detail = prefs.detail.value;
  const glossary = glossaryOf(preset);
  const changed = Object.keys(values).length > 0 || detail !== 'auto';
  function reset() {
    prefs.options.value = {};
    prefs.detail.value = 'auto';
  }
  return html`<${Dialog} title=${t('options.title')} onClose=${close} class="sheet options">
    ${known &&
    html`<${Choice} label=${t('options.preset')} value=${preset} onChoose=${(/** @type {string|null} */ v) => (prefs.preset.value = v)}
        choices=${[{ value: null, label: t('preset.none') }, ...Object.keys(known.presets).map((name) => ({ value: name, label: presetName(name) }))]} />
      <p class="quiet">${presetAbout(preset)}</p>
      ${glossary.length > 0 && html`<div class="option-glossary quiet"><p>${t('options.glossary')}</p><ul>${glossary.map((line) => html`<li key=${line} dir="auto">${line}</li>`)}</ul></div>`}
      <h3 class="option-title">${t('options.detail')}</h3>
      <${Choice} label=${t('options.detail')} value=${detail} onChoose=${(/** @type {typeof detail} */ v) => (prefs.detail.value = v)}
        choices=${DETAILS.map((value) => ({ value, label: t(`detail.${value}`) }))} />
      <p class="quiet">${t(`detail.${detail}.about`)}</p>
      <${PolicyChoice} />
      <ul class="option-list">${Object.entries(known.options).map(([name, limit]) => html`<${OptionRow} key=${name} name=${name} limit=${limit} />`)}</ul>`}
    <label class="option-system">
      <span>${t('options.system')}</span>
      <textarea class="field" rows="2" dir="auto" placeholder=${t('options.system_placeholder')} value=${chat.value.system.value}
        onInput=${(/** @type {any} */ event) => (chat.value.system.value = event.currentTarget.value)}></textarea>
    </label>
    <label class="option-system">
      <span>${t('options.ocr')}</span>
      <textarea class="field" rows="2" dir="auto" placeholder=${t('options.ocr_placeholder')} value=${chat.value.ocrText.value}
        onInput=${(/** @type {any} */ event) => (chat.value.ocrText.value = event.currentTarget.value)}></textarea>
    </label>
    <p class="option-foot"><button class="button small" type="button" disabled=${!changed} onClick=${reset}>${t('options.reset_all')}</button></p>
  <//>`;
}

const DETAILS = /** @type {const} */ (['auto', 'low', 'high']);
const POLICIES = /** @type {const} */ (['pin_images', 'sliding', 'summarise', 'strict']);

/** A session keeps its policy: once it has one, it can be changed but not taken back. */
function PolicyChoice() {
  const { policy, storedPolicy } = chat.value;
  return html`<label class="option-system">
    <span>${t('options.policy')}</span>
    <select class="field" value=${policy.value ?? ''} onChange=${(/** @type {any} */ event) => (policy.value = event.currentTarget.value || null)}>
      <option value="" disabled=${storedPolicy !== null}>${t('policy.unset')}</option>
      ${POLICIES.map((name) => html`<option key=${name} value=${name}>${t(`policy.${name}`)}</option>`)}
    </select>
  </label>`;
}

/** @param {string|null} name */
function presetAbout(name) {
  if (!name) return t('preset.none.about');
  const said = String(catalogue.value?.presets[name]?.about ?? '');
  return language.value === 'zh' ? (PRESETS[name] ?? said) : said;
}

/** @param {{name: string, limit: import('../types.js').OptionLimit}} props */
function OptionRow({ name, limit }) {
  const own = prefs.options.value[name];
  const preset = prefs.preset.value ? catalogue.value?.presets[prefs.preset.value]?.[name] : undefined;
  const inherited = typeof preset === 'number' ? preset : undefined;
  const shown = own ?? inherited;
  const step = limit.whole ? 1 : 0.05;
  const chinese = language.value === 'zh';
  const about = chinese && OPTIONS[name] ? `${OPTIONS[name]}。` : `${limit.about[0].toUpperCase()}${limit.about.slice(1)}.`;
  const gap = chinese ? '' : ' ';
  const slides = !limit.whole || limit.high <= SLIDER_MOST;
  const id = `option-${name}`;

  /** @param {number|undefined} value */
  function set(value) {
    const { [name]: _old, ...rest } = prefs.options.value;
    prefs.options.value = value === undefined ? rest : { ...rest, [name]: value };
  }
  /** @param {any} event */
  function onSlide(event) {
    set(Number(event.currentTarget.value));
  }
  /** @param {any} event */
  function onType(event) {
    const text = event.currentTarget.value.trim();
    const value = Number(text);
    if (text === '') set(undefined);
    else if (Number.isFinite(value)) set(clamped(value, limit));
    event.currentTarget.value = prefs.options.value[name] ?? inherited ?? '';
  }

  return html`<li class="option" data-own=${own !== undefined}>
    <div class="option-head">
      <label for=${id}><code>${name}</code></label>
      ${own !== undefined && html`<button class="link-button" type="button" aria-label=${t('options.reset_named', { name })} onClick=${() => set(undefined)}>${t('options.reset')}</button>`}
      <input id=${id} class="field figures" inputmode="decimal" aria-describedby=${`${id}-about`} placeholder=${t('options.default')} value=${shown ?? ''} onChange=${onType} />
    </div>
    ${slides &&
    html`<input type="range" class="slider" min=${limit.low} max=${limit.high} step=${step} value=${shown ?? middle(limit)} data-unset=${shown === undefined}
      aria-label=${name} aria-valuetext=${shown === undefined ? t('options.default') : undefined} onInput=${onSlide} onClick=${shown === undefined && onSlide} />`}
    <p class="quiet" id=${`${id}-about`}>
      ${about}
      ${name === 'num_ctx' && modelInfo.value?.context_length && html`${gap}${t('option.num_ctx.trained', { count: modelInfo.value.context_length })}`}
      ${limit.reloads && html`${gap}<span class="reloads">${t('options.reloads')}</span>`}
      ${!slides && html`${gap}<span>${t('options.range', { low: number(limit.low), high: number(limit.high) })}</span>`}
    </p>
  </li>`;
}

/** @param {import('../types.js').OptionLimit} limit */
const middle = (limit) => (limit.low + limit.high) / 2;

/** @param {number} value @param {import('../types.js').OptionLimit} limit */
function clamped(value, limit) {
  const inside = Math.min(limit.high, Math.max(limit.low, value));
  return limit.whole ? Math.round(inside) : inside;
}

const KEYS = /** @type {const} */ ([
  ['Enter', 'shortcut.send'],
  ['Shift+Enter', 'shortcut.line'],
  ['Esc', 'shortcut.stop'],
  ['/', 'shortcut.focus'],
  ['Ctrl+V', 'shortcut.paste'],
  ['←  →', 'shortcut.pictures'],
  ['?', 'shortcut.list'],
]);

function Shortcuts() {
  return html`<${Dialog} title=${t('shortcuts.title')} onClose=${close}>
    <dl class="shortcuts">
      ${KEYS.map(([keys, words]) => html`<div key=${keys}><dt>${keys.split(/\+| {2}/).map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${t(words)}</dd></div>`)}
    </dl>
  <//>`;
}

function KeyQuestion() {
  const [given, setGiven] = useState('');
  const [put, setPut] = useState(false);
  if (put) return html`<button class="button small key-again" type="button" onClick=${() => setPut(false)}>${t('key.title')}</button>`;
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    if (given.trim()) giveKey(given.trim());
  };
  return html`<${Dialog} title=${t('key.title')} onClose=${() => setPut(true)}>
    <form class="key" onSubmit=${submit}>
      <p id="key-about">${keyNeeded.value === 'wrong' ? t('key.wrong') : t('key.about')}</p>
      <input class="field" type="password" autocomplete="off" aria-label=${t('key.label')} aria-describedby="key-about" value=${given} onInput=${(/** @type {any} */ event) => setGiven(event.currentTarget.value)} />
      <button class="button main" type="submit" disabled=${!given.trim()}>${t('key.use')}</button>
      <p class="quiet">${t('key.kept')}</p>
    </form>
  <//>`;
}
