// What a new chat shows: an invitation, three pictures to try, and what is running.

import { signal } from '../../vendor/signals.js';
import { send } from '../chat.js';
import { drawOn, drawnFile, EXAMPLES } from '../examples.js';
import { html, useEffect, useRef } from '../html.js';
import { rich, t } from '../i18n.js';
import { addFiles, chips, ready, refuse } from '../pictures.js';
import { modelInfo, model, readiness } from '../state.js';
import { CopyButton } from './parts.js';

const LARGER = 'ollama pull llava:7b';
const TOUCH = matchMedia('(pointer: coarse)');

/** The example that is asked as soon as its picture is prepared. */
const asking = signal(/** @type {import('../examples.js').Example|null} */ (null));

export function Empty() {
  const invites = readiness.value?.ready && (asking.value || !chips.value.length);
  return html`<section class="empty">
    <h1>${t('empty.title')}</h1>
    <p class="lead">${t(TOUCH.matches ? 'empty.lead_touch' : 'empty.lead')}${invites && t('empty.or')}</p>
    ${invites && html`<${Examples} /><${Running} />`}
  </section>`;
}

function Examples() {
  const waiting = asking.value;
  // A refusal is shown in the composer.
  useEffect(() => {
    if (!waiting) return;
    if (ready.value.length) {
      asking.value = null;
      send(t(waiting.question));
    } else if (chips.value.every((c) => c.state === 'refused')) asking.value = null;
  }, [waiting, chips.value]);

  /** @param {import('../examples.js').Example} example */
  async function choose(example) {
    try {
      const file = await drawnFile(example);
      asking.value = example;
      addFiles([file]);
    } catch {
      refuse(example.name, 'page_error');
    }
  }

  return html`<ul class="examples">
    ${EXAMPLES.map(
      (example) => html`<li key=${example.name}>
        <button type="button" disabled=${Boolean(waiting)} onClick=${() => choose(example)}>
          <${Drawing} example=${example} />
          <span>${t(example.question)}</span>
        </button>
      </li>`,
    )}
  </ul>`;
}

/** @param {{example: import('../examples.js').Example}} props */
function Drawing({ example }) {
  const canvas = useRef(/** @type {HTMLCanvasElement|null} */ (null));
  useEffect(() => drawOn(example, /** @type {HTMLCanvasElement} */ (canvas.current)), [example]);
  return html`<canvas ref=${canvas} aria-hidden="true"></canvas>`;
}

function Running() {
  const now = readiness.value;
  const name = model.value;
  if (!now?.ready || !name) return null;
  const demo = name === 'demo';
  return html`<div class="running">
    <p><strong class="model-name">${name}</strong> ${t('empty.answers', { engine: engineName(modelInfo.value?.engine ?? now.engine) })}${demo && t('empty.demo')}</p>
    ${demo &&
    html`<p>${rich('empty.larger')}</p>
      <p class="command"><code>${LARGER}</code><${CopyButton} text=${LARGER} label=${t('copy_command')} /></p>`}
    ${!demo && modelInfo.value && !modelInfo.value.vision && html`<p class="care">${t('empty.no_vision')}</p>`}
  </div>`;
}

/** @param {string|null} engine */
export function engineName(engine) {
  if (engine === 'embedded') return t('engine.embedded');
  if (engine === 'openai') return t('engine.openai');
  return engine === 'ollama' ? 'Ollama' : (engine ?? '');
}
