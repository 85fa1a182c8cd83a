// An empty chat: an invitation, three example pictures, the running model, and how to get more models.

import { signal } from '../../vendor/signals.js';
import { send } from '../chat/chat.js';
import { drawOn, drawnFile, examplesFor, isDemo } from '../images/examples.js';
import { html, useEffect, useRef } from '../html.js';
import { t } from '../i18n.js';
import { seeing, setup } from '../models/models.js';
import { addFiles, chips, ready, refuse } from '../images/pictures.js';
import { catalogue, chat, library, modelInfo, model, overlay, pickedModel, readiness } from '../state.js';
import { engineName } from './advice.js';
import { PassingButton, useHeir } from './focus.js';
import { lazily } from './parts.js';

const TOUCH = matchMedia('(pointer: coarse)');
const SetupCard = lazily(async () => (await import('./setup.js')).SetupCard);

/** The example that is sent as soon as its picture is prepared. */
const asking = signal(/** @type {import('../images/examples.js').Example|null} */ (null));

export function Empty() {
  const quiet = Boolean(readiness.value) && (asking.value || !chips.value.length);
  const sees = readiness.value?.ready && modelInfo.value?.vision;
  // The running model is shown above what is missing, and would push it down.
  const known = !readiness.value?.ready || Boolean(library.value);
  return html`<section class="empty">
    <h1>${t('empty.title')}</h1>
    <p class="lead">${t(TOUCH.matches ? 'empty.lead_touch' : 'empty.lead')}</p>
    ${quiet && sees && model.value && html`<p class="lead">${t('empty.or')}</p><${Examples} of=${model.value} />`}
    ${quiet && html`<${Running} />`}
    ${quiet && known && setup.value?.missing && html`<${SetupCard} brief />`}
    ${catalogue.value?.keep === 'sqlite' && html`<${Temporary} />`}
  </section>`;
}

/** The choice of a temporary chat, which the gateway does not write to disk. */
const Temporary = () =>
  html`<label class="temporary"><input type="checkbox" checked=${chat.value.temporary.value} onChange=${(/** @type {any} */ event) => (chat.value.temporary.value = event.currentTarget.checked)} />
    <span>${t('empty.temporary')}</span></label>`;

/** @param {{of: string}} props */
function Examples({ of }) {
  const waiting = asking.value;
  const list = useRef(/** @type {HTMLElement|null} */ (null));
  useHeir(list);
  // The composer shows a refused picture.
  useEffect(() => {
    if (!waiting) return;
    if (ready.value.length) {
      asking.value = null;
      send(t(waiting.question));
    } else if (chips.value.every((c) => c.state === 'refused')) asking.value = null;
  }, [waiting, chips.value]);
  // Nothing is sent after the person switched to another chat.
  useEffect(() => () => void (asking.value = null), []);

  /** @param {import('../images/examples.js').Example} example */
  async function choose(example) {
    if (asking.value) return;
    try {
      const file = await drawnFile(example);
      asking.value = example;
      addFiles([file]);
    } catch {
      refuse(example.name, 'page_error');
    }
  }

  return html`<ul ref=${list} class="examples">
    ${examplesFor(of).map(
      (example) => html`<li key=${example.name}>
        <button type="button" aria-disabled=${Boolean(waiting)} onClick=${() => choose(example)}>
          <${Drawing} example=${example} />
          <span>${t(example.question)}</span>
        </button>
      </li>`,
    )}
  </ul>`;
}

/** @param {{example: import('../images/examples.js').Example}} props */
function Drawing({ example }) {
  const canvas = useRef(/** @type {HTMLCanvasElement|null} */ (null));
  useEffect(() => drawOn(example, /** @type {HTMLCanvasElement} */ (canvas.current)), [example]);
  return html`<canvas ref=${canvas} aria-hidden="true"></canvas>`;
}

function Running() {
  const name = model.value;
  const info = modelInfo.value;
  // Only once it is known whether the model can see, because then the examples appear above this and would push it down.
  if (!readiness.value?.ready || !name || !info) return null;
  const other = seeing.value;
  const blind = !info.vision;
  return html`<div class="running">
    <p><strong class="model-name">${name}</strong> ${t('empty.answers', { engine: engineName(info.engine) })}${isDemo(name) && t('empty.demo')}</p>
    ${blind && html`<p class="care">${t('empty.no_vision')}</p>`}
    <p>
      ${blind && other && html`<${PassingButton} class="button small main" onClick=${() => (pickedModel.value = other.name)}>${t('models.switch_to', { name: other.name })}<//>`}
      <button class="link-button" type="button" onClick=${() => (overlay.value = 'models')}>${t('empty.models')}</button>
    </p>
  </div>`;
}
