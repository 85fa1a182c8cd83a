// Keeps the list of chats and the chat on screen up to date: another page may ask, switch branches, or delete.

import { effect } from '../../vendor/signals.js';
import * as api from '../api.js';
import { asFailure } from '../api.js';
import { chat as onScreen, sessions } from '../state.js';
import { attach, leaveTo } from './running.js';

/** @typedef {import('./turns.js').Chat} Chat */

const PAUSE_MS = 3000;

/** Handles the gateway's events about sessions. @param {import('../events.js').News} news */
export function tellChats({ event, content }) {
  const chat = onScreen.value;
  const id = chat?.id.value;
  if (event === 'running') {
    const running = content.sessions.includes(id);
    if (id && !chat.running.value && running !== chat.elsewhere.value) lookAtChat();
  } else if (event === 'sessions') {
    lookAtAll(content.etag);
    if (id && (!content.changed || content.changed.includes(id))) lookAtChat();
  }
}

/** Fetches the list and the chat on screen, if they have changed. */
export async function lookAtChats() {
  await Promise.all([lookAtAll(), lookAtChat()]);
}

let lists = Promise.resolve();

/** One after the other, so that each request knows the result of the one before. @param {string} [tag]  that the list has now */
function lookAtAll(tag) {
  lists = lists.then(async () => {
    try {
      const list = await api.sessionsNews(tag);
      if (list) sessions.value = list;
    } catch {
      again();
    }
  });
  return lists;
}

let looking = false;
let lookAgain = false;

/** Fetches the chat on screen, if it has changed. */
export async function lookAtChat() {
  lookAgain = true;
  if (looking) return;
  looking = true;
  try {
    while (lookAgain) {
      lookAgain = false;
      if (onScreen.value) await look(onScreen.value);
    }
  } finally {
    looking = false;
  }
}

let timer = 0;

/** Tries again later: the gateway did not answer, and it does not repeat its events. */
function again() {
  clearTimeout(timer);
  timer = setTimeout(() => document.hidden || lookAtChats(), PAUSE_MS);
}

/** @param {Chat} chat */
async function look(chat) {
  const id = chat.id.value;
  if (!id || chat.running.value) return;
  try {
    await chat.settled;
    const news = await api.sessionNews(id, chat.tag);
    chat.unsettled.value = false;
    if (chat.gone) chat.works();
    if (chat.running.value || chat !== onScreen.value) return;
    if (news) {
      chat.tag = news.tag;
      chat.fill(news.session);
    }
    if (!chat.elsewhere.value) leaveTo(chat);
    else attach(chat).then((attached) => attached || again());
  } catch (error) {
    const failure = asFailure(error);
    if (failure.code === 'network') again();
    if (failure.code !== 'session_not_found' || chat.gone) return;
    chat.gone = true;
    chat.failure.value = failure;
  }
}

/** Fetches a chat until it equals the gateway's. */
export function watchChat() {
  effect(() => {
    if (onScreen.value?.unsettled.value) again();
  });
}
