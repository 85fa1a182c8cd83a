// Keeps the list of chats, and the chat on screen, as the gateway has them: another page may ask, go to another branch, or delete.

import * as api from '../api.js';
import { asFailure } from './chat.js';
import { chat as onScreen, sessions } from '../state.js';

const PAUSE_MS = 2000;
const PAUSE_WHILE_ELSEWHERE_MS = 500;

/** Looks for as long as the page is open. */
export async function watchChat() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, onScreen.value?.elsewhere.value ? PAUSE_WHILE_ELSEWHERE_MS : PAUSE_MS));
    if (document.hidden || !onScreen.value) continue;
    await look(onScreen.value);
    await lookAtAll();
  }
}

async function lookAtAll() {
  try {
    const list = await api.sessionsNews();
    if (list) sessions.value = list;
  } catch {
    // A gateway that does not answer is spoken of in the banner.
  }
}

/** @param {import('./chat.js').Chat} chat */
async function look(chat) {
  const id = chat.id.value;
  if (!id || chat.running.value) return;
  // One that is gone is looked at again once the list has it: it was brought back.
  if (chat.gone && !sessions.value?.some((listed) => listed.id === id)) return;
  try {
    await chat.settled;
    const news = await api.sessionNews(id, chat.tag);
    if (chat.gone) chat.works();
    if (!news || chat.running.value || chat !== onScreen.value) return;
    chat.tag = news.tag;
    chat.fill(news.session);
  } catch (error) {
    const failure = asFailure(error);
    if (failure.code !== 'session_not_found' || chat.gone) return;
    chat.gone = true;
    chat.failure.value = failure;
  }
}
