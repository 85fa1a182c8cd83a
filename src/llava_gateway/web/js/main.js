// Starts the page.

import { readAhead } from './images/read_ahead.js';
import { speakAnswers } from './chat/aloud.js';
import { openAddressed } from './chat/chat.js';
import { addWords, keepDrafts } from './chat/drafts.js';
import { watchContext } from './chat/context.js';
import { watchGallery } from './images/gallery.js';
import { look, tellEngines } from './models/gateway.js';
import { html, render } from './html.js';
import { watchLayers } from './layers.js';
import { watchModels } from './models/models.js';
import { lookAtChats, tellChats, watchChat } from './chat/news.js';
import { watchEvents } from './events.js';
import { searchChats } from './chat/sessions.js';
import { takeFrame } from './take_over.js';
import { App } from './views/app.js';

watchLayers(); // first, because it knows the address of a chat that got one under a layer
addEventListener('popstate', openAddressed);
const opened = openAddressed();
keepDrafts();
const { words, focus } = takeFrame();
render(html`<${App} />`, document.body);
if (focus) document.getElementById('words')?.focus();
opened.then(() => addWords(words));
const lookAtAll = async () => void (await Promise.all([look(), lookAtChats()]));
watchEvents((news) => {
  if (news.event === 'lost') lookAtAll();
  tellEngines(news);
  tellChats(news);
}, lookAtAll);
watchChat();
watchModels();
searchChats();
readAhead();
speakAnswers();
watchContext();
watchGallery();
