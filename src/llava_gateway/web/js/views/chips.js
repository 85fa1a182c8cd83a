// The pictures in the composer, in order and numbered, with their state and actions.

import { haveBeenRead } from '../images/read_ahead.js';
import { explained } from '../failures.js';
import { atOf, countBefore, hungAt, lookCloser, setDetail, setPinned } from '../images/gallery.js';
import { html, useLayoutEffect, useRef } from '../html.js';
import { number, pixels, t } from '../i18n.js';
import { Icon } from '../icons.js';
import { accepted, begin, canTryAgain, chips, chooseFrames, move, remove, turn, wish } from '../images/pictures.js';
import { seen, usualDetail } from '../images/seen.js';
import { changesOf, flawsOf, said } from '../notes.js';
import { model, panel } from '../state.js';
import { focusAfterwards, wordsBox } from './focus.js';
import { Menu } from './menu.js';
import { PartImage } from './part.js';

/** @typedef {import('../images/pictures.js').Chip} Chip */

/** Pixels that a pointer must move to start dragging. */
const DRAG_AFTER = 6;
const DETAILS = /** @type {const} */ (['auto', 'low', 'high']);

export function Chips() {
  if (!chips.value.length) return null;
  return html`<ul class="chips" aria-label=${t('chips.label')}>${chips.value.map((chip) => html`<${ChipView} key=${chip.key} chip=${chip} />`)}</ul>`;
}

/** @param {{chip: Chip}} props */
function ChipView({ chip }) {
  const { key, state, name } = chip;
  const place = accepted.value.indexOf(chip);
  const shownNumber = countBefore.value + place + 1;
  const drag = useDrag(key);
  const item = useRef(/** @type {HTMLElement|null} */ (null));
  // Many pictures fill their list, and refused ones are below its visible end.
  useLayoutEffect(() => {
    if (state === 'refused') item.current?.scrollIntoView({ block: 'nearest' });
  }, [state]);
  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!event.altKey || !step) return;
    event.preventDefault(); // otherwise the browser would go back
    shift(key, place + step);
  }
  return html`<li ref=${item} class="chip" data-state=${state} data-key=${key} onKeyDown=${onKey}>
    <${Thumb} chip=${chip} shownNumber=${shownNumber} drag=${drag} />
    <div class="chip-words">
      <p class="chip-name"><bdi>${name}</bdi></p>
      <${ChipState} chip=${chip} />
    </div>
    <div class="chip-tools">
      <button class="icon-button" type="button" title=${t('chip.remove')} aria-label=${t('chip.remove_named', { name })} onClick=${() => removeAndStay(key)}>
        <${Icon} name="close" />
      </button>
      ${chip.picture && state !== 'refused' && html`<${Menu} label=${t('chip.more', { name })} icon="more" busy=${state !== 'ready'} items=${() => items(chip, place)} />`}
    </div>
  </li>`;
}

/** @param {{chip: Chip, shownNumber: number, drag: ReturnType<typeof useDrag>}} props */
function Thumb({ chip, shownNumber, drag }) {
  const { state, picture, preview } = chip;
  if (state === 'refused') return html`<span class="thumb"><${Icon} name="broken" /></span>`;
  const several = accepted.value.length > 1 || countBefore.value > 0;
  const badge = several && html`<span class="badge figures">${shownNumber}</span>`;
  const inside = picture ? html`<${PartImage} picture=${picture} />` : preview ? html`<img src=${preview} alt="" draggable=${false} />` : html`<${Icon} name="picture" />`;
  const look = () => drag.over() || state !== 'ready' || (panel.value = atOf(chip.key));
  return html`<button class="thumb" type="button" aria-disabled=${state !== 'ready' || undefined} aria-label=${t('picture.open', { number: shownNumber })}
    aria-keyshortcuts=${accepted.value.length > 1 ? 'Alt+ArrowLeft Alt+ArrowRight' : undefined} onPointerDown=${drag.start} onClick=${look}>
    ${inside}${badge}
  </button>`;
}

/** @param {{chip: Chip}} props */
function ChipState({ chip }) {
  switch (chip.state) {
    case 'uploading':
      return html`<p class="figures" role="status">${t('chip.uploading', { share: number(chip.progress, { style: 'percent' }) })}</p>
        <progress max="1" value=${chip.progress} aria-hidden="true"></progress>`;
    case 'preparing':
      return html`<p role="status">${t(chip.from ? 'chip.fetching' : 'chip.preparing')}</p>`;
    case 'refused':
      return html`<${Refusal} chip=${chip} />`;
    default:
      return html`<${ChipFacts} picture=${chip.picture} /><${TooLong} chip=${chip} />${chip.failure && html`<${Refusal} chip=${chip} />`}`;
  }
}

/** @param {{chip: Chip}} props */
function Refusal({ chip }) {
  const { cause, next } = explained(/** @type {import('../api.js').Failure} */ (chip.failure));
  return html`<div class="chip-refused" role="alert">
    <p>${cause}</p>
    <p>${next}</p>
    ${canTryAgain(chip) && html`<button class="button small" type="button" onClick=${() => againAndStay(chip.key)}>${t('chip.again')}</button>`}
  </div>`;
}

/** @param {{picture: import('../types.js').Picture}} props */
function ChipFacts({ picture }) {
  const changes = changesOf(picture);
  const { detail, pinned, region } = picture;
  const size = region ? { width: Math.round(picture.width * region[2]), height: Math.round(picture.height * region[3]) } : picture;
  const known = seen(picture, model.value);
  const tokens = known ? known.tokens : picture.sentModel === model.value && !detail && !region ? picture.sent?.tokens : null;
  const facts = [
    region ? t('chip.part', { pixels: pixels(size) }) : pixels(size),
    tokens && t('picture.tokens', { count: tokens }),
    detail && detail !== usualDetail.value && t(`chip.detail.${detail}`),
    pinned && t('chip.pinned'),
    haveBeenRead.value && t('chip.read'),
  ];
  return html`<p class="figures">${facts.filter(Boolean).join(' · ')}</p>
    ${changes && html`<p class="chip-changes">${changes}</p>`}
    ${flawsOf(picture).map((words) => html`<p class="chip-flaw" key=${words}><${Icon} name="warning" />${words}</p>`)}`;
}

/** What is said of a picture that is so long that its text becomes too small, with the way to see more. @param {{chip: Chip}} props */
function TooLong({ chip }) {
  const picture = /** @type {import('../types.js').Picture} */ (chip.picture);
  const long = seen(picture, model.value)?.notes.find(({ code }) => code.startsWith('long_image'));
  if (!long) return null;
  const at = atOf(chip.key);
  const action =
    long.code === 'long_image'
      ? html`<button class="button small" type="button" onClick=${() => inPartsAndStay(chip.key)}>${t('chip.in_parts')}</button>`
      : html`<button class="button small" type="button" onClick=${() => lookCloser(at, true)}>${t('chip.pick')}</button>`;
  return html`<div class="chip-long"><p>${said(long)}</p>
    ${action}</div>`;
}

/** The button goes when it was used: who did so with the keyboard stays with the picture. @param {number} key */
function inPartsAndStay(key) {
  wish(key, { detail: 'high' });
  focusAfterwards(() => elementOf(key)?.querySelector('.thumb'));
}

/** The menu of a prepared picture. @param {Chip} chip @param {number} place @returns {(import('./menu.js').Item|false)[]} */
function items(chip, place) {
  const { key } = chip;
  const at = atOf(key);
  const picture = /** @type {import('../types.js').Picture} */ (chip.picture);
  const last = accepted.value.length - 1;
  const hung = /** @type {import('../images/gallery.js').Hung} */ (hungAt(at));
  return [
    { label: t('chip.closer'), icon: 'zoomin', onChoose: () => lookCloser(at) },
    isSheet(chip) && { label: t('chip.frames'), icon: 'picture', onChoose: () => chooseFrames(key) },
    { label: t('chip.pick'), icon: 'crop', onChoose: () => lookCloser(at, true) },
    Boolean(picture.region) && { label: t('chip.whole'), icon: 'picture', onChoose: () => wish(key, { region: null }) },
    { label: t('chip.turn_right'), icon: 'turnright', onChoose: () => turn(key, 90) },
    { label: t('chip.turn_left'), icon: 'turnleft', onChoose: () => turn(key, 270) },
    last > 0 && { label: t('chip.earlier'), icon: 'left', disabled: place === 0, onChoose: () => shift(key, place - 1) },
    last > 0 && { label: t('chip.later'), icon: 'right', disabled: place === last, onChoose: () => shift(key, place + 1) },
    { label: t('chip.pin'), icon: 'pin', hint: t('pin.about'), checked: Boolean(picture.pinned), onChoose: () => setPinned(hung, !picture.pinned) },
    { label: t('options.detail') },
    ...DETAILS.map((detail) => ({
      label: t(`detail.${detail}`),
      hint: t(`detail.${detail}.about`),
      group: 'detail',
      checked: (picture.detail ?? usualDetail.value) === detail,
      onChoose: () => setDetail(hung, detail),
    })),
  ];
}

/** Whether it is the sheet of an animation whose file is here, or at an address. @param {Chip} chip */
const isSheet = ({ file, from, page, picture }) => Boolean((file || from) && !page && picture?.warnings?.some((warning) => warning.code === 'animation_sheet'));

/** @param {number} key */
const elementOf = (key) => document.querySelector(`.chip[data-key="${key}"]`);

/** Moves a picture. The keyboard focus stays on it. @param {number} key @param {number} place */
function shift(key, place) {
  move(key, place);
  focusAfterwards(() => elementOf(key)?.querySelector('.thumb'));
}

/** Uploads a refused picture again. @param {number} key */
function againAndStay(key) {
  begin(key);
  focusAfterwards(() => elementOf(key)?.querySelector('.thumb'));
}

/** @param {number} key */
function removeAndStay(key) {
  const at = chips.value.findIndex((chip) => chip.key === key);
  remove(key);
  const next = chips.value[Math.min(at, chips.value.length - 1)];
  focusAfterwards(() => (next ? elementOf(next.key)?.querySelector('.chip-tools button') : wordsBox()));
}

/**
 * Dragging a picture by its thumbnail over another one moves it there.
 * @param {number} key
 */
function useDrag(key) {
  const dragged = useRef(false);
  return {
    /** Whether this click ends a drag. */
    over: () => dragged.current,
    /** @param {PointerEvent} from */
    start(from) {
      dragged.current = false;
      if (from.button !== 0 || accepted.value.length < 2) return;
      /** @param {PointerEvent} to */
      const onMove = (to) => {
        if (!dragged.current && Math.hypot(to.clientX - from.clientX, to.clientY - from.clientY) < DRAG_AFTER) return;
        dragged.current = true;
        elementOf(key)?.setAttribute('data-dragged', '');
        const under = document.elementFromPoint(to.clientX, to.clientY)?.closest('.chip');
        const place = accepted.value.findIndex((chip) => String(chip.key) === /** @type {HTMLElement|null} */ (under)?.dataset.key);
        if (place >= 0) move(key, place);
      };
      const onEnd = () => {
        elementOf(key)?.removeAttribute('data-dragged');
        document.removeEventListener('pointermove', onMove);
        document.removeEventListener('pointerup', onEnd);
        document.removeEventListener('pointercancel', onEnd);
      };
      document.addEventListener('pointermove', onMove);
      document.addEventListener('pointerup', onEnd);
      document.addEventListener('pointercancel', onEnd);
    },
  };
}
