// The composer: one box with picture chips above the text, and a quiet line under it.

import { haveBeenRead } from '../ahead.js';
import { send, stop } from '../chat.js';
import { changesOf } from '../changes.js';
import { typed } from '../context.js';
import { explained } from '../failures.js';
import { html, useEffect, useLayoutEffect, useRef, useState } from '../html.js';
import { number, t } from '../i18n.js';
import { Icon } from '../icons.js';
import { seeing } from '../models.js';
import { addFiles, again, chips, ready, remove, underway } from '../pictures.js';
import { countOf, presetName } from '../options.js';
import { chat, model, modelInfo, overlay, panel, pickedModel, readiness } from '../state.js';
import { ContextMeter } from './context.js';
import { PictureImage } from './parts.js';
import { pictureFacts } from './thread.js';

export function Composer() {
  const text = useRef(/** @type {HTMLTextAreaElement|null} */ (null));
  const picker = useRef(/** @type {HTMLInputElement|null} */ (null));
  const [words, setWords] = useState('');
  const [sendsWhenReady, setSendsWhenReady] = useState(false);
  const running = chat.value.running.value;
  const empty = !words.trim() && !ready.value.length && !underway.value;
  const blind = ready.value.length > 0 && modelInfo.value && !modelInfo.value.vision;
  const can = !running && !chat.value.elsewhere.value && !empty && !blind && Boolean(readiness.value);

  useEffect(() => void (typed.value = words), [words]);

  useLayoutEffect(() => {
    const area = /** @type {HTMLTextAreaElement} */ (text.current);
    area.style.height = 'auto';
    area.style.height = `${area.scrollHeight}px`;
  }, [words]);

  function submit() {
    if (!can) return;
    if (underway.value) {
      setSendsWhenReady(true);
      return;
    }
    setSendsWhenReady(false);
    setWords('');
    // The button gives way to another one, and the focus would be lost with it.
    if (document.activeElement?.matches('.send')) text.current?.focus();
    send(words);
  }

  // Enter was pressed while a picture was on its way: it goes when all are prepared, and not at all when one was refused.
  useEffect(() => {
    if (!sendsWhenReady || underway.value) return;
    if (chips.value.some((c) => c.state === 'refused')) setSendsWhenReady(false);
    else submit();
  }, [sendsWhenReady, underway.value, chips.value]);

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    // 229: the key belongs to an input method (Safari sends it after isComposing is over).
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    submit();
  }

  /** @param {Event & {currentTarget: HTMLInputElement}} event */
  function onPick(event) {
    addFiles([...(event.currentTarget.files ?? [])]);
    event.currentTarget.value = '';
    text.current?.focus();
  }

  return html`<div class="composer-frame">
    <form class="composer" onSubmit=${(/** @type {Event} */ event) => (event.preventDefault(), submit())}>
      ${chips.value.length > 0 && html`<ul class="chips" aria-label=${t('chips.label')}>${chips.value.map((chip) => html`<${ChipView} key=${chip.key} chip=${chip} />`)}</ul>`}
      <div class="compose-row">
        <input ref=${picker} class="for-readers" type="file" multiple tabindex="-1" aria-hidden="true" onChange=${onPick}
          accept="image/*,.heic,.heif,.avif,.tif,.tiff,.bmp" />
        <button class="icon-button round" type="button" title=${t('composer.add')} aria-label=${t('composer.add')} onClick=${() => picker.current?.click()}>
          <${Icon} name="plus" />
        </button>
        <textarea ref=${text} id="words" rows="1" dir="auto" placeholder=${t(chips.value.length ? 'composer.ask_about' : 'composer.ask')} aria-label=${t('composer.ask')}
          value=${words} enterkeyhint="send" onInput=${(/** @type {any} */ event) => setWords(event.currentTarget.value)} onKeyDown=${onKey}></textarea>
        ${running
          ? html`<button key="stop" class="icon-button round send stop" type="button" title=${t('composer.stop')} aria-label=${t('composer.stop')} onClick=${stop}><${Icon} name="stop" /></button>`
          : html`<button key="send" class="icon-button round send" type="submit" title=${t('composer.send')} aria-label=${t('composer.send')} disabled=${!can}><${Icon} name="send" /></button>`}
      </div>
    </form>
    <div class="composer-line">
      <button class="line-button" type="button" aria-haspopup="dialog" onClick=${() => (overlay.value = 'models')}>
        <span class="model-name">${model.value ?? t('models.none')}</span><${Icon} name="chevron" />
      </button>
      <button class="line-button" type="button" aria-haspopup="dialog" onClick=${() => (overlay.value = 'options')}>
        <${Icon} name="sliders" />${optionsWords()}
      </button>
      <button class="line-button compare-open" type="button" aria-haspopup="dialog" aria-label=${t('compare.open')} onClick=${() => (overlay.value = 'compare')}>
        <${Icon} name="compare" /><span>${t('compare.open')}</span>
      </button>
      <span class="line-note" aria-live="polite">${note({ sendsWhenReady: sendsWhenReady && underway.value, blind: Boolean(blind) })}</span>
      <${ContextMeter} />
    </div>
  </div>`;
}

/** @param {{sendsWhenReady: boolean, blind: boolean}} state */
function note({ sendsWhenReady, blind }) {
  if (sendsWhenReady) return t('composer.sends_when_ready');
  if (blind) {
    const other = seeing.value;
    const instead = () => (other ? (pickedModel.value = other.name) : (overlay.value = 'models'));
    return html`${t('composer.blind')} <button class="link-button" type="button" onClick=${instead}>${other ? t('models.switch_to', { name: other.name }) : t('failure.choose_model')}</button>`;
  }
  return null;
}

/** The preset, and how many options were set by hand. */
function optionsWords() {
  const { choices, ocrText } = chat.value;
  const { preset } = choices.now.value;
  const count = countOf(choices.now.value) + (ocrText.value.trim() ? 1 : 0);
  const name = preset ? presetName(preset) : t('options.title');
  return count ? `${name} · ${t('options.custom_count', { count })}` : name;
}

/** @param {{chip: import('../pictures.js').Chip}} props */
function ChipView({ chip }) {
  const { state, picture, preview } = chip;
  const place = ready.value.indexOf(chip) + 1;
  const look = () => {
    const pictures = ready.value.map((c) => /** @type {import('../types.js').Picture} */ (c.picture));
    panel.value = { pictures, at: place - 1 };
  };
  const thumb = picture
    ? html`<button class="thumb" type="button" onClick=${look} aria-label=${t('picture.open', { number: place })}>
        <${PictureImage} picture=${picture} alt="" />
        ${ready.value.length > 1 && html`<span class="badge figures">${place}</span>`}
      </button>`
    : html`<span class="thumb">${preview && state !== 'refused' ? html`<img src=${preview} alt="" />` : html`<${Icon} name=${state === 'refused' ? 'broken' : 'picture'} />`}</span>`;
  return html`<li class="chip" data-state=${state}>
    ${thumb}
    <div class="chip-words">
      <p class="chip-name"><bdi>${chip.name}</bdi></p>
      <${ChipState} chip=${chip} />
    </div>
    <button class="icon-button chip-close" type="button" title=${t('chip.remove')} aria-label=${t('chip.remove_named', { name: chip.name })} onClick=${() => remove(chip.key)}>
      <${Icon} name="close" />
    </button>
  </li>`;
}

/** @param {{chip: import('../pictures.js').Chip}} props */
function ChipState({ chip }) {
  switch (chip.state) {
    case 'uploading':
      return html`<p class="figures" role="status">${t('chip.uploading', { share: number(chip.progress, { style: 'percent' }) })}</p>`;
    case 'preparing':
      return html`<p role="status">${t('chip.preparing')}</p>`;
    case 'refused': {
      const { cause, next } = explained(/** @type {import('../api.js').Failure} */ (chip.failure));
      return html`<div class="chip-refused" role="alert">
        <p>${cause}</p>
        <p>${next}</p>
        ${chip.file && chip.failure?.retryable && html`<button class="button small" type="button" onClick=${() => again(chip.key)}>${t('chip.again')}</button>`}
      </div>`;
    }
    default: {
      const picture = /** @type {import('../types.js').Picture} */ (chip.picture);
      const changes = changesOf(picture);
      return html`<p class="figures">${pictureFacts(picture, model.value)}${haveBeenRead.value && ` · ${t('chip.read')}`}</p>
        ${changes && html`<p class="chip-changes">${changes}</p>`}`;
    }
  }
}

