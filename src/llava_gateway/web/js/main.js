// Starts the page.

import { readAhead } from './images/read_ahead.js';
import { speakAnswers } from './chat/aloud.js';
import { openAddressed } from './chat/chat.js';
import { keepDrafts } from './chat/drafts.js';
import { watchContext } from './chat/context.js';
import { watchGallery } from './images/gallery.js';
import { watch } from './models/gateway.js';
import { html, render } from './html.js';
import { watchLayers } from './layers.js';
import { watchModels } from './models/models.js';
import { watchChat } from './chat/news.js';
import { searchChats } from './chat/sessions.js';
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
