// Starts the page.

import { readAhead } from './ahead.js';
import { speakAnswers } from './aloud.js';
import { openAddressed } from './chat.js';
import { keepDrafts } from './drafts.js';
import { watchContext } from './context.js';
import { watchGallery } from './gallery.js';
import { watch } from './gateway.js';
import { html, render } from './html.js';
import { watchLayers } from './layers.js';
import { watchModels } from './models.js';
import { watchChat } from './news.js';
import { searchChats } from './sessions.js';
import { App } from './views/app.js';

render(html`<${App} />`, document.body);
watchLayers(); // first: it knows the address of a chat that got one under a layer
addEventListener('popstate', openAddressed);
openAddressed();
watch();
watchModels();
watchChat();
searchChats();
keepDrafts();
readAhead();
speakAnswers();
watchContext();
watchGallery();
