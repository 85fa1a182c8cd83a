// Creating a model from a Modelfile: an editor with examples, and errors at the line at fault.

import { explained } from '../failures.js';
import { html, useEffect, useRef, useState } from '../html.js';
import { t } from '../i18n.js';
import { create, examples, loadExamples } from '../models/models.js';
import { kept } from '../prefs.js';
import { Arrivals } from './arrivals.js';
import { Dialog } from './parts.js';

/** The text survives closing the dialog and a reload. */
const draft = kept('recipe', { name: '', text: '' }, (v) => typeof (/** @type {any} */ (v)?.name) === 'string' && typeof (/** @type {any} */ (v).text) === 'string');

const NAME_FAULTS = new Set(['invalid_model_name', 'model_exists', 'model_busy']);

/** @param {{onBack: () => void, onClose: () => void}} props */
export function Recipe({ onBack, onClose }) {
  const [arrival, setArrival] = useState(/** @type {import('../models/models.js').Arrival|null} */ (null));
  const editor = useRef(/** @type {HTMLTextAreaElement|null} */ (null));
  const { name, text } = draft.value;
  const running = arrival?.state.value === 'running';
  const failure = arrival?.failure.value ?? null;
  const line = failure && typeof failure.values.line === 'number' ? failure.values.line : null;
  useEffect(() => void loadExamples().catch(() => {}), []);
  // The line at fault is selected, so that it is visible and typing replaces it.
  useEffect(() => {
    if (line && editor.current) select(editor.current, line);
  }, [arrival, line]);

  /** @param {boolean} replace */
  const make = (replace) => setArrival(create(name.trim(), text, replace));
  /** @param {Partial<typeof draft.value>} change */
  const write = (change) => (draft.value = { ...draft.value, ...change });
  /** @param {any} event */
  function begin(event) {
    const example = examples.value?.find((e) => e.name === event.currentTarget.value);
    if (example) write({ name: example.name, text: example.modelfile });
    event.currentTarget.value = '';
  }

  // A cloud model can be the new name or what FROM names.
  const atName = failure && (NAME_FAULTS.has(failure.code) || (failure.code === 'cloud_model_refused' && /cloud\s*$/i.test(name)));
  return html`<${Dialog} title=${t('recipe.title')} onClose=${onClose} class="sheet recipe">
    <form onSubmit=${(/** @type {Event} */ event) => (event.preventDefault(), make(false))}>
      <label><span>${t('recipe.example')}</span>
        <select class="field" onChange=${begin}>
          <option value="">${t('recipe.choose_example')}</option>
          ${examples.value?.map((e) => html`<option key=${e.name} value=${e.name} title=${e.about}>${e.name}</option>`)}
        </select>
      </label>
      <label><span>${t('recipe.name')}</span>
        <input class="field" required autocapitalize="none" autocomplete="off" spellcheck=${false} aria-invalid=${Boolean(atName)} aria-describedby="recipe-name-fault"
          placeholder="receipts" value=${name} onInput=${(/** @type {any} */ event) => write({ name: event.currentTarget.value })} />
      </label>
      <div id="recipe-name-fault">${atName && html`<${Fault} failure=${failure}>${failure.code === 'model_exists' && html`<button class="button small grave" type="button" onClick=${() => make(true)}>${t('recipe.replace')}</button>`}<//>`}</div>
      <label><span>${t('recipe.text')}</span>
        <textarea ref=${editor} class="field code" rows="12" required spellcheck=${false} aria-invalid=${Boolean(failure && !atName)} aria-describedby="recipe-text-fault"
          placeholder=${'FROM llava:7b\nPARAMETER temperature 0.2\nSYSTEM Answer in one sentence.'} value=${text} onInput=${(/** @type {any} */ event) => write({ text: event.currentTarget.value })}></textarea>
      </label>
      <div id="recipe-text-fault">${failure && !atName && html`<${Fault} failure=${failure} />`}</div>
      <p class="recipe-foot">
        <button class="button" type="button" onClick=${onBack}>${t('recipe.back')}</button>
        <button class="button main" type="submit" disabled=${running || !name.trim() || !text.trim()}>${t('recipe.make')}</button>
      </p>
    </form>
    ${arrival && !failure && html`<${Arrivals} only=${[arrival.name]} />`}
  <//>`;
}

/** @param {{failure: import('../api.js').Failure, children?: any}} props */
function Fault({ failure, children }) {
  const { cause, next } = explained(failure);
  return html`<div class="refusal" role="alert"><p><strong>${cause}</strong></p><p>${next}</p>${children}</div>`;
}

/** @param {HTMLTextAreaElement} area @param {number} line  counted from 1 */
function select(area, line) {
  const lines = area.value.split('\n');
  const start = lines.slice(0, line - 1).join('\n').length + (line > 1 ? 1 : 0);
  area.focus();
  area.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
}
