// What a new chat shows: an invitation, three pictures to try, and what is running.

import { send } from '../chat.js';
import { drawOn, drawnFile, EXAMPLES } from '../examples.js';
import { html, useEffect, useRef, useState } from '../html.js';
import { rich, t } from '../i18n.js';
import { addFiles, chips, ready, refuse } from '../pictures.js';
import { chat, modelInfo, model, readiness } from '../state.js';
import { CopyButton } from './parts.js';

const LARGER = 'ollama pull llava:7b';

export function Empty() {
  const ready = readiness.value?.ready;
  return html`<section class="empty">
    <h1>${t('empty.title')}</h1>
    <p class="lead">${t(ready ? 'empty.lead' : 'empty.lead_bare')}</p>
    ${ready && html`<${Examples} />`}
    <${Running} />
  </section>`;
}

function Examples() {
  const [waiting, setWaiting] = useState(/** @type {import('../examples.js').Example|null} */ (null));
  // Asked as soon as its picture is prepared; a refusal is shown in the composer.
  useEffect(() => {
    if (!waiting) return;
    if (ready.value.length) {
      setWaiting(null);
      send(t(waiting.question));
    } else if (chips.value.every((c) => c.state === 'refused')) setWaiting(null);
  }, [waiting, chips.value]);
  const busy = Boolean(waiting || chat.value.running.value);

  /** @param {import('../examples.js').Example} example */
  async function choose(example) {
    try {
      addFiles([await drawnFile(example)]);
      setWaiting(example);
    } catch {
      refuse(example.name, 'page_error');
    }
  }

  return html`<ul class="examples">
    ${EXAMPLES.map(
      (example) => html`<li key=${example.name}>
        <button type="button" disabled=${busy || chips.value.length > 0} onClick=${() => choose(example)}>
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
    <p><strong class="model-name">${name}</strong> ${t('empty.answers', { engine: engineName(modelInfo.value?.engine ?? now.engine) })}</p>
    ${demo && html`<p>${t('empty.demo')}</p>`}
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
