// The composer: one box with picture chips above the text, and a quiet line under it.

import { send, stop } from '../chat/chat.js';
import { composing, editing } from '../chat/composing.js';
import { endEditing, sendEdited } from '../chat/drafts.js';
import { html, useEffect, useLayoutEffect, useRef } from '../html.js';
import { t } from '../i18n.js';
import { Icon } from '../icons.js';
import { canCaptureScreen, captureScreen, hasCamera } from '../images/intake.js';
import { seeing } from '../models/models.js';
import { countOf, presetName } from '../chat/options.js';
import { addFiles, chips, ready, underway } from '../images/pictures.js';
import { catalogue, chat, model, modelInfo, overlay, pickedModel, readiness } from '../state.js';
import { Chips } from './chips.js';
import { ContextMeter } from './context.js';
import { PassingButton } from './focus.js';
import { Menu } from './menu.js';

export function Composer() {
  const text = useRef(/** @type {HTMLTextAreaElement|null} */ (null));
  const picker = useRef(/** @type {HTMLInputElement|null} */ (null));
  const draft = composing.value;
  const words = draft.words.value;
  const changing = editing.value;
  const without = draft.waits.value;
  const running = chat.value.running.value;
  const empty = !words.trim() && !ready.value.length && !underway.value;
  const blind = ready.value.length > 0 && modelInfo.value && !modelInfo.value.vision;
  // Before the gateway has reported what it can do, a question may be sent already: it waits as for a picture.
  const unknown = readiness.value === undefined;
  const can = !running && !chat.value.elsewhere.value && !empty && !blind && (unknown || Boolean(readiness.value));
  const early = Boolean(underway.value) || unknown;

  useFittingHeight(text, words);

  function submit() {
    if (!can) return;
    if (early) {
      draft.waits.value = new Set(chips.value.filter((c) => c.state === 'refused'));
      return;
    }
    // Another button replaces this one and the pictures disappear, so the focus would be lost.
    if (document.activeElement?.matches('.send, .chips :focus-visible')) text.current?.focus();
    if (changing) sendEdited();
    else {
      draft.words.value = '';
      send(words);
    }
  }

  // Enter was pressed too early: send when all pictures are prepared and the gateway has reported, and don't send if a picture was refused meanwhile.
  useEffect(() => {
    if (!without || early || draft !== composing.value) return;
    draft.waits.value = null;
    if (chips.value.every((c) => c.state !== 'refused' || without.has(c))) submit();
  }, [without, early]);

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    // 229: the key belongs to an input method (Safari sends it after isComposing has ended).
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

  /** Opens the file picker, or the camera. @param {boolean} camera */
  function pick(camera) {
    const input = /** @type {HTMLInputElement} */ (picker.current);
    if (camera) input.setAttribute('capture', 'environment');
    else input.removeAttribute('capture');
    input.click();
  }

  /** The ways to add pictures on this device. */
  const ways = () => [
    { label: t('add.files'), icon: 'picture', onChoose: () => pick(false) },
    hasCamera() && { label: t('add.camera'), icon: 'camera', onChoose: () => pick(true) },
    canCaptureScreen() && !hasCamera() && { label: t('add.screen'), icon: 'screen', onChoose: captureScreen },
    Boolean(catalogue.value?.fetch) && { label: t('add.address'), icon: 'link', onChoose: () => (overlay.value = 'address') },
  ];
  const advice = [!hasCamera() && t('add.anywhere'), catalogue.value?.fetch === false && t('add.address_off')];

  return html`<div class="composer-frame">
    <form class="composer" onSubmit=${(/** @type {Event} */ event) => (event.preventDefault(), submit())}>
      ${changing &&
      html`<p class="changing">
        <${Icon} name="pencil" /><span>${t('composer.changing')}</span>
        <${PassingButton} class="icon-button" title=${t('composer.keep')} aria-label=${t('composer.keep')} onClick=${endEditing}><${Icon} name="close" /><//>
      </p>`}
      <${Chips} />
      <div class="compose-row">
        <input ref=${picker} class="for-readers" type="file" multiple tabindex="-1" aria-hidden="true" onChange=${onPick}
          accept="image/*,.svgz,.heic,.heif,.avif,.tif,.tiff,.bmp,application/pdf,.pdf,video/mp4,video/webm,video/quicktime,.mkv,.avi" />
        <${Menu} class="icon-button round" label=${t('composer.add')} icon="plus" items=${ways} notes=${advice} />
        <textarea ref=${text} id="words" rows="1" dir="auto" placeholder=${t(chips.value.length ? 'composer.ask_about' : 'composer.ask')} aria-label=${t('composer.ask')}
          value=${words} enterkeyhint="send" onInput=${(/** @type {any} */ event) => (draft.words.value = event.currentTarget.value)} onKeyDown=${onKey}></textarea>
        ${running
          ? html`<${PassingButton} key="stop" class="icon-button round send stop" title=${t('composer.stop')} aria-label=${t('composer.stop')} onClick=${stop}><${Icon} name="stop" /><//>`
          : html`<button key="send" class="icon-button round send" type="submit" title=${t('composer.send')} aria-label=${t('composer.send')} disabled=${!can}><${Icon} name="send" /></button>`}
      </div>
    </form>
    <div class="composer-line">${readiness.value !== undefined && html`<${Line} note=${note({ sendsWhenReady: Boolean(without), blind: Boolean(blind) })} />`}</div>
  </div>`;
}

/** The model that answers, and its options. Empty until the gateway has reported the model, because another name would replace a guess. @param {{note: any}} props */
function Line({ note }) {
  return html`<button class="line-button" type="button" aria-haspopup="dialog" onClick=${() => (overlay.value = 'models')}>
      <span class="model-name">${model.value ?? t('models.none')}</span><${Icon} name="chevron" />
    </button>
    <button class="line-button" type="button" aria-haspopup="dialog" onClick=${() => (overlay.value = 'options')}>
      <${Icon} name="sliders" />${optionsWords()}
    </button>
    <button class="line-button compare-open" type="button" aria-haspopup="dialog" aria-label=${t('compare.open')} onClick=${() => (overlay.value = 'compare')}>
      <${Icon} name="compare" /><span>${t('compare.open')}</span>
    </button>
    <span class="line-note" aria-live="polite">${note}</span>
    <${ContextMeter} />`;
}

/** Makes a text box as high as its text, which takes more lines in a narrower box. @param {{current: HTMLTextAreaElement|null}} box @param {string} words */
function useFittingHeight(box, words) {
  function fit() {
    const area = box.current;
    if (!area) return;
    area.style.height = 'auto';
    area.style.height = `${area.scrollHeight}px`;
  }
  useLayoutEffect(fit, [words]);
  useEffect(() => {
    // In the next frame, because browsers report an error if an observer changes the observed size.
    const watcher = new ResizeObserver(() => requestAnimationFrame(fit));
    watcher.observe(/** @type {Element} */ (box.current));
    return () => watcher.disconnect();
  }, []);
}

/** @param {{sendsWhenReady: boolean, blind: boolean}} state */
function note({ sendsWhenReady, blind }) {
  if (sendsWhenReady) return t('composer.sends_when_ready');
  if (blind) {
    const other = seeing.value;
    const instead = () => (other ? (pickedModel.value = other.name) : (overlay.value = 'models'));
    return html`${t('composer.blind')} <${PassingButton} class="link-button" onClick=${instead}>${other ? t('models.switch_to', { name: other.name }) : t('failure.choose_model')}<//>`;
  }
  return null;
}

/** The preset, and the number of changed options. */
function optionsWords() {
  const { choices } = chat.value;
  const { ocrText } = composing.value;
  const { preset } = choices.now.value;
  const count = countOf(choices.now.value) + (ocrText.value.trim() ? 1 : 0);
  const name = preset ? presetName(preset) : t('options.title');
  return count ? `${name} · ${t('options.custom_count', { count })}` : name;
}

