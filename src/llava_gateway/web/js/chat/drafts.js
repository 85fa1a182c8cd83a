// Drafts: text and pictures that are not sent yet, kept for each chat. They survive a reload and switching to another chat.

import { computed, effect, untracked } from '../../vendor/signals.js';
import { askAgain } from './branches.js';
import { asFailure } from '../api.js';
import { composed, newChat, openSession } from './chat.js';
import { composing, desk, Desk, Draft, editing } from './composing.js';
import { t } from '../i18n.js';
import { upTo } from '../path.js';
import { addKnown, chipsOf, discard, handOver, lookFor } from '../images/pictures.js';
import { revive } from './revival.js';
import { chat, readiness } from '../state.js';
import { toast } from '../toasts.js';

/** @typedef {import('../types.js').Picture} Picture */
/** @typedef {import('./turns.js').Chat} Chat */
/** @typedef {import('./turns.js').Turn} Turn */
/** A draft as it is stored. @typedef {{words: string, ocrText: string, pictures: Picture[]}} Kept */
/** Everything that is stored for a chat. `turn` is the id of the turn whose question is being edited. @typedef {Kept & {changed?: Kept & {turn: number|null}}} KeptDesk */

const NONE = /** @type {ReadonlySet<Turn>} */ (new Set());
/** The turns that another version replaces when the edited question is sent. */
export const leaving = computed(() => {
  const here = chat.value;
  if (!editing.value || !here) return NONE;
  return new Set(here.turns.value.slice(upTo(here.turns.value, editing.value.after ?? 0).length));
});

/** Chats without a session share one entry, because a tab has only one new chat. */
const NEW = 'new';
/** The drafts of this page, by the sessions of their chats. */
const desks = /** @type {Map<string, Desk>} */ (new Map());

/** Stores drafts as long as the page is open. */
export function keepDrafts() {
  let shown = /** @type {Chat|null} */ (null);
  effect(() => {
    const here = chat.value;
    if (!here) return;
    const name = here.id.value ?? NEW;
    untracked(() => {
      // A chat that just got its session is still the same chat.
      if (shown === here) rename(desk.value, name);
      else show(here, name);
      shown = here;
    });
  });
  let away = false;
  effect(() => {
    // After a restart, the gateway may have lost pictures that were not sent in a question yet.
    if (readiness.value && away) untracked(lookForAll);
    away = readiness.value === null;
  });
}

function lookForAll() {
  for (const draft of [desk.value.next, desk.value.changed.value?.draft]) if (draft) lookFor(draft);
}

/** @param {Chat} here @param {string} name */
function show(here, name) {
  const { turns } = here;
  const known = desks.get(name);
  const next = known ?? restored(name, turns.value);
  const changed = known?.changed.value;
  // Its turns may have been fetched again.
  if (changed) goOn(next, turns.value.find((turn) => turn === changed.turn || (turn.id !== null && turn.id === changed.turn.id)), changed.draft);
  if (next !== desk.value) stopWaiting();
  desk.value = next;
  lookForAll();
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

/** Nothing is sent after the person switched to another chat. */
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

/** A draft that lost its chat is not dropped: its text goes before that of another draft. @param {Draft} to @param {Draft} from */
function join(to, from) {
  for (const part of /** @type {const} */ (['words', 'ocrText'])) {
    to[part].value = [from[part].value, to[part].value].filter((text) => text.trim()).join('\n\n');
    from[part].value = '';
  }
  handOver(from, to);
}

/** Appends text that was typed elsewhere to the text in the composer. @param {string} words */
export function addWords(words) {
  if (!words) return;
  const before = composing.value.words;
  before.value = [before.value, words].filter((text) => text.trim()).join('\n\n');
}

/** Returns the stored drafts of a chat, and stores them from now on. @param {string} name @param {Turn[]} turns */
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

/** Returns the draft as JSON; null if there is nothing to store. @param {Desk} of */
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
    // Then the draft is kept until the page is closed.
  }
}

/** Puts a question into the composer to edit it. @param {Turn} turn */
export function edit(turn) {
  stopWaiting();
  endEditing();
  desk.value.changed.value = { turn, draft: draftOfTurn(turn) };
  lookFor(composing.value);
  document.getElementById('words')?.focus();
}

/** Cancels editing. The text that was typed before comes back. */
export function endEditing() {
  const { changed } = desk.value;
  if (!changed.value) return;
  discard(changed.value.draft);
  changed.value = null;
}

/**
 * Moves a question that this chat can't answer into a new chat, before the text that is being typed there.
 * @param {Turn} [turn]  whose question failed; without it, what stands in the composer
 */
export function startOver(turn) {
  const taken = turn ? draftOfTurn(turn) : composing.value;
  if (!turn) desk.value.changed.value = null;
  newChat();
  // If no chat was open, the composer already has the new chat's draft.
  if (taken !== composing.value) join(composing.value, taken);
  lookFor(composing.value);
  document.getElementById('words')?.focus();
}

/** Restores the chat on screen, which the gateway has lost, and keeps the question in the composer. */
export async function goOnAgain() {
  const gone = chat.value;
  const taken = composing.value;
  try {
    const { id, lost } = await revive(gone);
    if (chat.value === gone) {
      await openSession(id);
      if (taken !== composing.value) join(composing.value, taken);
      lookFor(composing.value);
    }
    toast(lost ? t('revival.without', { count: lost }) : t('revival.done'));
  } catch (error) {
    gone.failure.value = asFailure(error);
  }
}

/** Sends the edited question as another version. Refused pictures stay, with their reason. */
export function sendEdited() {
  const { turn, draft } = desk.value.changed.value ?? {};
  if (!turn || !draft) return;
  const asked = composed(draft.words.value);
  handOver(draft, desk.value.next);
  desk.value.changed.value = null;
  askAgain(turn, asked);
}
