// What a new chat shows: an invitation, three pictures to try, what is running, and how to get more.

import { signal } from '../../vendor/signals.js';
import { send } from '../chat/chat.js';
import { drawOn, drawnFile, examplesFor, isDemo } from '../images/examples.js';
import { html, useEffect, useRef } from '../html.js';
import { t } from '../i18n.js';
import { seeing, setup } from '../models/models.js';
import { addFiles, chips, ready, refuse } from '../images/pictures.js';
import { modelInfo, model, overlay, pickedModel, readiness } from '../state.js';
import { engineName } from './advice.js';
import { PassingButton, useHeir } from './focus.js';
import { lazily } from './parts.js';

const TOUCH = matchMedia('(pointer: coarse)');
const SetupCard = lazily(async () => (await import('./setup.js')).SetupCard);

/** The example that is asked as soon as its picture is prepared. */
const asking = signal(/** @type {import('../images/examples.js').Example|null} */ (null));

export function Empty() {
  const quiet = Boolean(readiness.value) && (asking.value || !chips.value.length);
  const sees = readiness.value?.ready && modelInfo.value?.vision;
  return html`<section class="empty">
    <h1>${t('empty.title')}</h1>
    <p class="lead">${t(TOUCH.matches ? 'empty.lead_touch' : 'empty.lead')}${quiet && sees && t('empty.or')}</p>
    ${quiet && sees && model.value && html`<${Examples} of=${model.value} />`}
    ${quiet && html`<${Running} />`}
    ${quiet && setup.value?.missing && html`<${SetupCard} brief />`}
  </section>`;
}

/** @param {{of: string}} props */
function Examples({ of }) {
  const waiting = asking.value;
  const list = useRef(/** @type {HTMLElement|null} */ (null));
  useHeir(list);
  // A refusal is shown in the composer.
  useEffect(() => {
    if (!waiting) return;
    if (ready.value.length) {
      asking.value = null;
      send(t(waiting.question));
    } else if (chips.value.every((c) => c.state === 'refused')) asking.value = null;
  }, [waiting, chips.value]);
  // Nothing is asked behind the back of a person who went elsewhere.
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
  const now = readiness.value;
  const name = model.value;
  if (!now?.ready || !name) return null;
  const other = seeing.value;
  const blind = modelInfo.value && !modelInfo.value.vision;
  return html`<div class="running">
    <p><strong class="model-name">${name}</strong> ${t('empty.answers', { engine: engineName(modelInfo.value?.engine ?? now.engine) })}${isDemo(name) && t('empty.demo')}</p>
    ${blind && html`<p class="care">${t('empty.no_vision')}</p>`}
    <p>
      ${blind && other && html`<${PassingButton} class="button small main" onClick=${() => (pickedModel.value = other.name)}>${t('models.switch_to', { name: other.name })}<//>`}
      <button class="link-button" type="button" onClick=${() => (overlay.value = 'models')}>${t('empty.models')}</button>
    </p>
  </div>`;
}
