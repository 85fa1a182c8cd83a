// What is being typed and attached, kept for each chat until it is sent: it survives a reload, and going to another chat.

import { computed, effect, untracked } from '../../vendor/signals.js';
import { askAgain } from './branches.js';
import { composed, newChat } from './chat.js';
import { composing, desk, Desk, Draft, editing } from './composing.js';
import { t } from '../i18n.js';
import { upTo } from '../path.js';
import { addKnown, chipsOf, discard, handOver, lookFor } from '../images/pictures.js';
import { chat } from '../state.js';
import { toast } from '../toasts.js';

/** @typedef {import('../types.js').Picture} Picture */
/** @typedef {import('./chat.js').Chat} Chat */
/** @typedef {import('./chat.js').Turn} Turn */
/** A draft as it is kept. @typedef {{words: string, ocrText: string, pictures: Picture[]}} Kept */
/** All that is kept for a chat; `turn` is the id of the one whose question is being changed. @typedef {Kept & {changed?: Kept & {turn: number|null}}} KeptDesk */

const NONE = /** @type {ReadonlySet<Turn>} */ (new Set());
/** The turns that another version takes the place of once the changed question is sent. */
export const leaving = computed(() => {
  const here = chat.value;
  if (!editing.value || !here) return NONE;
  return new Set(here.turns.value.slice(upTo(here.turns.value, editing.value.after ?? 0).length));
});

/** Chats without a session share one: nobody is in two new chats at once. */
const NEW = 'new';
/** Those of this page, by the sessions of their chats. */
const desks = /** @type {Map<string, Desk>} */ (new Map());

/** Keeps drafts for as long as the page is open. */
export function keepDrafts() {
  let shown = /** @type {Chat|null} */ (null);
  effect(() => {
    const here = chat.value;
    if (!here) return;
    const name = here.id.value ?? NEW;
    untracked(() => {
      // A chat that has just got its session is still the same one.
      if (shown === here) rename(desk.value, name);
      else show(here, name);
      shown = here;
    });
  });
}

/** @param {Chat} here @param {string} name */
function show(here, name) {
  const { turns } = here;
  const known = desks.get(name);
  const next = known ?? restored(name, turns.value);
  const changed = known?.changed.value;
  // Its turns may have been fetched anew.
  if (changed) goOn(next, turns.value.find((turn) => turn === changed.turn || (turn.id !== null && turn.id === changed.turn.id)), changed.draft);
  if (next !== desk.value) stopWaiting();
  desk.value = next;
  for (const draft of [next.next, next.changed.value?.draft]) if (draft) lookFor(draft);
}

/** @param {Desk} of @param {string} name */
function rename(of, name) {
  const before = of.name.value;
  if (before === name) return;
  desks.delete(before);
  desks.set(name, of);
  of.name.value = name;
  store(before, null);
}

/** Nothing is sent behind the back of a person who went elsewhere. */
function stopWaiting() {
  if (!composing.value.waits.value) return;
  composing.value.waits.value = null;
  toast(t('composer.not_sent'));
}

/** @param {Desk} of @param {Turn|undefined} turn @param {Draft} draft */
function goOn(of, turn, draft) {
  of.changed.value = turn ? { turn, draft } : null;
  if (!turn) join(of.next, draft);
}

/** Nothing of a draft that has no place any more is lost: it comes before another one. @param {Draft} to @param {Draft} from */
function join(to, from) {
  for (const part of /** @type {const} */ (['words', 'ocrText'])) {
    to[part].value = [from[part].value, to[part].value].filter((text) => text.trim()).join('\n\n');
    from[part].value = '';
  }
  handOver(from, to);
}

/** What was kept for a chat, and is from now on. @param {string} name @param {Turn[]} turns */
function restored(name, turns) {
  const { changed, ...kept } = load(name);
  const made = new Desk(name, draftOf(kept));
  if (changed) goOn(made, turns.find((turn) => turn.id !== null && turn.id === changed.turn), draftOf(changed));
  desks.set(name, made);
  const record = computed(() => recordOf(made));
  effect(() => store(made.name.value, record.value));
  return made;
}

/** @param {{words?: unknown, ocrText?: unknown, pictures?: unknown}} kept */
function draftOf({ words, ocrText, pictures }) {
  const draft = new Draft(String(words ?? ''), String(ocrText ?? ''));
  for (const picture of Array.isArray(pictures) ? pictures : []) addKnown(picture, draft);
  return draft;
}

/** @param {Turn} turn */
const draftOfTurn = ({ prompt, ocrText, images }) => draftOf({ words: prompt, ocrText, pictures: images.value });

/** As JSON; null where there is nothing to keep. @param {Desk} of */
function recordOf({ next, changed }) {
  const kept = keptOf(next);
  const { turn, draft } = changed.value ?? {};
  if (!draft && !kept.words.trim() && !kept.ocrText.trim() && !kept.pictures.length) return null;
  return JSON.stringify(/** @type {KeptDesk} */ ({ ...kept, ...(draft && { changed: { ...keptOf(draft), turn: turn?.id ?? null } }) }));
}

/** @param {Draft} of @returns {Kept} */
function keptOf(of) {
  const pictures = chipsOf(of).flatMap(({ state, picture }) => (state !== 'refused' && picture) || []);
  return { words: of.words.value, ocrText: of.ocrText.value, pictures };
}

/** @param {string} name */
const key = (name) => `llava.draft.${name}`;

/** @param {string} name @returns {Partial<KeptDesk>} */
function load(name) {
  try {
    return JSON.parse(sessionStorage.getItem(key(name)) ?? 'null') ?? {};
  } catch {
    return {};
  }
}

/** @param {string} name @param {string|null} record */
function store(name, record) {
  try {
    if (record) sessionStorage.setItem(key(name), record);
    else sessionStorage.removeItem(key(name));
  } catch {
    // It then holds until the page is closed.
  }
}

/** Takes a question into the composer, to be changed. @param {Turn} turn */
export function edit(turn) {
  stopWaiting();
  endEditing();
  desk.value.changed.value = { turn, draft: draftOfTurn(turn) };
  lookFor(composing.value);
  document.getElementById('words')?.focus();
}

/** Ends that; what was typed before comes back. */
export function endEditing() {
  const { changed } = desk.value;
  if (!changed.value) return;
  discard(changed.value.draft);
  changed.value = null;
}

/**
 * Goes on in a new chat with what this one can't answer, put before what was being typed there.
 * @param {Turn} [turn]  whose question failed; without it, what stands in the composer
 */
export function startOver(turn) {
  const taken = turn ? draftOfTurn(turn) : composing.value;
  if (!turn) desk.value.changed.value = null;
  newChat();
  // Where no chat was open, the composer has the new chat's draft already.
  if (taken !== composing.value) join(composing.value, taken);
  document.getElementById('words')?.focus();
}

/** Asks the changed question in the place of what it was; refused pictures stay with their reason. */
export function sendEdited() {
  const { turn, draft } = desk.value.changed.value ?? {};
  if (!turn || !draft) return;
  const asked = composed(draft.words.value);
  handOver(draft, desk.value.next);
  desk.value.changed.value = null;
  askAgain(turn, asked);
}
