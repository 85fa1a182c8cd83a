// Starts the page.

import { readAhead } from './ahead.js';
import { speakAnswers } from './aloud.js';
import { openAddressed } from './chat.js';
import { watchContext } from './context.js';
import { watch } from './gateway.js';
import { html, render } from './html.js';
import { watchModels } from './models.js';
import { App } from './views/app.js';

render(html`<${App} />`, document.body);
addEventListener('popstate', openAddressed);
openAddressed();
watch();
watchModels();
readAhead();
speakAnswers();
watchContext();
