// The actions of a turn: edit it, ask it again, switch its branches, copy it, or start a new chat from it.

import { askAgain, placeOf, step } from '../chat/branches.js';
import { edit } from '../chat/drafts.js';
import { html } from '../html.js';
import { t } from '../i18n.js';
import { Icon } from '../icons.js';
import { presetName } from '../chat/options.js';
import { fork } from '../chat/sessions.js';
import { catalogue, chat, models } from '../state.js';
import { toast } from '../toasts.js';
import { Menu } from './menu.js';
import { copy, CopyButton } from './parts.js';

/** @typedef {import('../chat/turns.js').Turn} Turn */

// During an answer, the style sheet hides elements of the class `at-rest`, so that a long chat need not be drawn again.

/** Beside a question. @param {{turn: Turn}} props */
export function QuestionActions({ turn }) {
  return html`<span class="turn-actions at-rest">
    <button class="icon-button" type="button" title=${t('turn.edit')} aria-label=${t('turn.edit')} onClick=${() => edit(turn)}><${Icon} name="pencil" /></button>
  </span>`;
}

/** Under an answer. @param {{turn: Turn}} props */
export function AnswerActions({ turn }) {
  const text = turn.text.value;
  return html`<span class="actions">
    <${Branches} turn=${turn} />
    ${text && html`<${CopyButton} text=${text} label=${t('turn.copy')} />`}
    <button class="icon-button at-rest" type="button" title=${t('turn.again')} aria-label=${t('turn.again')} onClick=${() => askAgain(turn)}><${Icon} name="again" /></button>
    <${Menu} class="icon-button at-rest" label=${t('turn.more')} icon="more" items=${() => items(turn)} />
  </span>`;
}

/** The version number of this turn, with buttons for the other versions. @param {{turn: Turn}} props */
function Branches({ turn }) {
  const { at, count } = placeOf(turn);
  if (count < 2) return null;
  const words = t('branch.place', { place: at + 1, count });
  return html`<span class="branches at-rest" role="group" aria-label=${words}>
    <button class="icon-button" type="button" title=${`${t('branch.previous')} ([)`} aria-label=${t('branch.previous')} disabled=${at === 0} onClick=${() => step(turn, -1)}><${Icon} name="left" /></button>
    <span class="figures" aria-hidden="true">${at + 1}/${count}</span>
    <button class="icon-button" type="button" title=${`${t('branch.next')} (])`} aria-label=${t('branch.next')} disabled=${at === count - 1} onClick=${() => step(turn, 1)}><${Icon} name="right" /></button>
  </span>`;
}

/** @param {Turn} turn @returns {import('./menu.js').Item[]} */
function items(turn) {
  const text = turn.text.value;
  const kept = turn.id !== null;
  const others = models.value.filter((one) => one.name !== turn.model.value && (one.vision || !turn.images.value.length));
  return [
    ...(text
      ? [
          { label: t('turn.copy_text'), icon: 'copy', onChoose: () => copied(plain(turn)) },
          { label: t('turn.copy_markdown'), icon: 'copy', onChoose: () => copied(markdown(turn)) },
        ]
      : []),
    ...(kept ? [{ label: t('turn.fork'), icon: 'fork', onChoose: () => fork(String(chat.value.id.value), chat.value.turns.value.indexOf(turn) + 1) }] : []),
    { label: t('turn.again_preset') },
    ...Object.keys(catalogue.value?.presets ?? {}).map((preset) => ({ label: presetName(preset), icon: 'sliders', onChoose: () => void askAgain(turn, { preset }) })),
    ...(others.length
      ? [{ label: t('turn.again_model') }, ...others.map(({ name }) => ({ label: name, icon: 'again', onChoose: () => void askAgain(turn, { model: name }) }))]
      : []),
  ];
}

/** @param {string} text */
async function copied(text) {
  if (await copy(text)) toast(t('copied'));
}

/** Returns an answer as plain text. @param {Turn} turn */
function plain(turn) {
  const words = /** @type {HTMLElement|null} */ (document.querySelector(`.turn[data-key="${turn.key}"] .words`));
  return words?.innerText.trim() ?? turn.text.value;
}

/** Returns the question and the answer. @param {Turn} turn */
function markdown(turn) {
  const question = turn.prompt.split('\n').map((line) => `> ${line}`.trimEnd());
  return `${question.join('\n')}\n\n${turn.text.value}\n`;
}
