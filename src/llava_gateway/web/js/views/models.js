// The dialog for models: the list with their fit into memory, choosing one for this chat, downloading, deleting, and creating one from a Modelfile.

import { asFailure } from '../api.js';
import { loadModels } from '../models/gateway.js';
import { html, useEffect, useRef, useState } from '../html.js';
import { rich, t } from '../i18n.js';
import { Icon } from '../icons.js';
import { loadSetup, pull, remove, seeing, setup } from '../models/models.js';
import { ready } from '../images/pictures.js';
import { chat, library, model, modelInfo, models, overlay, pickedModel, readiness } from '../state.js';
import { memoryWords, modelFacts } from './advice.js';
import { Arrivals, Refusal } from './arrivals.js';
import { Recipe } from './recipe.js';
import { Dialog } from './parts.js';
import { SetupCard } from './setup.js';

/** Other pages and the shell change models too. */
const POLL_MS = 2000;

const close = () => (overlay.value = null);

/** Whether the next prompt has pictures, new ones or those of earlier turns. */
const inComposer = () => ready.value.length > 0;
const withPictures = () => inComposer() || chat.value.turns.value.some((turn) => turn.images.value.length);

/** @param {string} name */
function pick(name) {
  pickedModel.value = name;
  close();
}

export function Models() {
  const [making, setMaking] = useState(false);
  useEffect(() => {
    const look = () => Promise.allSettled([loadModels(), loadSetup()]);
    look();
    const timer = setInterval(look, POLL_MS);
    return () => clearInterval(timer);
  }, []);
  if (making) return html`<${Recipe} onBack=${() => setMaking(false)} onClose=${close} />`;
  return html`<${Dialog} title=${t('models.title')} onClose=${close} class="sheet models-sheet">
    <${SwitchTo} />
    <ul class="models" aria-label=${t('models.title')}>${models.value.map((m) => html`<${ModelRow} key=${`${m.engine}/${m.name}`} m=${m} />`)}</ul>
    ${!models.value.length && html`<p>${t('models.none_live')}</p>`}
    <${SetupCard} />
    <${More} onMake=${() => setMaking(true)} />
  <//>`;
}

/** The warning that the model can't see the chat's pictures. */
function SwitchTo() {
  const other = seeing.value;
  if (!other || !withPictures() || !modelInfo.value || modelInfo.value.vision) return null;
  return html`<p class="notice">
    <span>${t('models.cannot_see', { name: modelInfo.value.name })}</span>
    <button class="button small main" type="button" onClick=${() => pick(other.name)}>${t('models.switch_to', { name: other.name })}</button>
  </p>`;
}

/** @param {{m: import('../types.js').Model}} props */
function ModelRow({ m }) {
  const [asks, setAsks] = useState(false);
  const [failure, setFailure] = useState(/** @type {import('../api.js').Failure|null} */ (null));
  const blind = !m.vision && inComposer();
  const knows = !m.vision && !blind && withPictures();
  const bin = useRef(/** @type {HTMLButtonElement|null} */ (null));
  const asked = useRef(false);
  // The focus returns to where it was.
  useEffect(() => {
    if (asked.current && !asks) bin.current?.focus();
    asked.current = asks;
  }, [asks]);
  async function take() {
    setAsks(false);
    try {
      await remove(m.name);
    } catch (error) {
      setFailure(asFailure(error));
    }
  }
  if (asks)
    return html`<li class="model-question" role="group" aria-label=${t('models.delete_question', { name: m.name })}>
      <p>${t('models.delete_question', { name: m.name })}</p>
      <button class="button small grave" type="button" ref=${focused} onClick=${take}>${t('models.delete')}</button>
      <button class="button small" type="button" onClick=${() => setAsks(false)}>${t('models.keep')}</button>
    </li>`;
  return html`<li class="model-row">
    <button class="model-pick" type="button" aria-pressed=${m.name === model.value} disabled=${blind} onClick=${() => pick(m.name)}>
      <span class="model-line"><bdi class="model-name">${m.name}</bdi><span class="sees" data-sees=${m.vision}>${m.vision && html`<${Icon} name="eye" />`}${t(m.vision ? 'models.sees' : 'models.blind')}</span></span>
      ${m.name === model.value && html`<${Icon} name="check" />`}
      <span class="quiet figures">${modelFacts(m)}</span>
      ${m.memory && html`<span class="quiet figures" data-verdict=${m.memory.verdict}>${memoryWords(m.memory)}</span>`}
      ${blind && html`<span class="quiet">${t('models.blind_now')}</span>`}
      ${knows && html`<span class="quiet">${t('models.blind_known')}</span>`}
    </button>
    ${m.engine === 'ollama' &&
    library.value?.may_change &&
    html`<button ref=${bin} class="icon-button" type="button" title=${t('models.delete')} aria-label=${t('models.delete_named', { name: m.name })} onClick=${() => (setFailure(null), setAsks(true))}><${Icon} name="trash" /></button>`}
    ${failure && html`<${Refusal} failure=${failure} />`}
  </li>`;
}

/** @param {HTMLElement|null} element */
const focused = (element) => element?.focus();

/** Downloading models, if there is an Ollama and this page is on its machine. @param {{onMake: () => void}} props */
function More({ onMake }) {
  const [name, setName] = useState('');
  const ollama = readiness.value?.engines.find((engine) => engine.name === 'ollama');
  if (!ollama?.ok || !library.value) return null;
  if (!library.value.may_change) return html`<p class="quiet">${rich('models.not_here')}</p>`;
  /** @param {Event} event */
  function submit(event) {
    event.preventDefault();
    const wanted = name.trim().replace(/^ollama (pull|run) /, '');
    if (!wanted) return;
    pull(wanted);
    setName('');
  }
  const suggested = setup.value?.missing === 'vision_model' ? [] : (setup.value?.suggested.filter((s) => !models.value.some((m) => m.name === s.model)) ?? []);
  return html`<section class="models-more">
    <h3>${t('models.more')}</h3>
    <form class="pull" onSubmit=${submit}>
      <input class="field" aria-label=${t('models.name')} placeholder=${t('models.name_placeholder')} list="suggested-models" autocapitalize="none" autocomplete="off" spellcheck=${false}
        value=${name} onInput=${(/** @type {any} */ event) => setName(event.currentTarget.value)} />
      <datalist id="suggested-models">${suggested.map((s) => html`<option key=${s.model} value=${s.model}>${memoryWords(s.memory)}</option>`)}</datalist>
      <button class="button" type="submit" disabled=${!name.trim()}><${Icon} name="down" />${t('models.download')}</button>
    </form>
    <${Arrivals} />
    <p><button class="link-button" type="button" onClick=${onMake}>${t('models.make')}</button></p>
  </section>`;
}
