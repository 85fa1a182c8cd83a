// What is missing before a photo can be asked about, and the next step.

import { html } from '../html.js';
import { bytes, rich, t } from '../i18n.js';
import { Icon } from '../icons.js';
import { arrivals, pull, setup } from '../models/models.js';
import { memoryWords } from './advice.js';
import { Arrivals } from './arrivals.js';
import { CopyButton } from './parts.js';

/** Empty if nothing is missing. @param {{brief?: boolean}} props  `brief` suggests one model only */
export function SetupCard({ brief = false }) {
  const found = setup.value;
  if (!found?.missing) return null;
  return html`<section class="setup" aria-label=${t('setup.label')}>
    <h2>${t(found.state === 'demo' ? 'setup.title_demo' : 'setup.title')}</h2>
    <${Next} found=${found} brief=${brief} />
    ${found.state === 'no_model' &&
    !found.embedded.installed &&
    html`<p>${t(found.missing === 'embedded_not_installed' ? 'setup.embedded_not_installed' : 'setup.or_embedded')}</p>
      <${Command} text=${found.embedded.command} />`}
  </section>`;
}

/** @param {{found: import('../types.js').Setup, brief: boolean}} props */
function Next({ found, brief }) {
  switch (found.missing) {
    case 'embedded_not_installed':
      return null;
    case 'ollama_not_used':
      return html`<p>${rich('setup.ollama_not_used')}</p>`;
    case 'ollama_not_installed':
      return html`<ol class="setup-steps">
        <li>
          <p>${t('setup.install', { system: t(`setup.${found.platform}`) })}</p>
          <${Command} text=${found.install.command} />
          <p class="quiet">${t('setup.install_or')} <a href=${found.install.page} target="_blank" rel="noreferrer">${found.install.page.replace(/^https:\/\//, '')}</a></p>
        </li>
        <li><p>${t('setup.then_pull')}</p></li>
      </ol>`;
    case 'ollama_not_running':
      return html`<p>${t(found.ollama.installed === null ? 'setup.ollama_elsewhere' : 'setup.ollama_not_running')}</p>
        ${found.ollama.installed !== null && html`<${Command} text=${found.start.command} />`}
        <p class="quiet">${t('setup.notices')}</p>`;
    case 'chosen_model': {
      const chosen = found.chosen_model ?? '';
      return html`<p>${t('setup.chosen_model', { model: chosen })}</p><${Fetch} model=${chosen} found=${found} />`;
    }
    default:
      return html`<p>${t('setup.vision_model')}</p>
        <ul class="suggestions">
          ${found.suggested.slice(0, brief ? 1 : undefined).map(
            (s) => html`<li key=${s.model}>
              <p><bdi class="model-name">${s.model}</bdi> <span class="quiet figures">${t('setup.download_size', { size: bytes(s.download_bytes) })} ${memoryWords(s.memory)}</span></p>
              <${Fetch} model=${s.model} found=${found} />
            </li>`,
          )}
        </ul>`;
  }
}

/** Downloads a model. On a machine other than the gateway's, only the command is shown. @param {{model: string, found: import('../types.js').Setup}} props */
function Fetch({ model, found }) {
  if (!found.may_change) return html`<${Command} text=${`ollama pull ${model}`} />`;
  if (arrivals.value.some((a) => a.name === model)) return html`<${Arrivals} only=${[model]} />`;
  return html`<button class="button small" type="button" aria-label=${t('models.download_named', { name: model })} onClick=${() => pull(model)}>
    <${Icon} name="down" />${t('models.download')}
  </button>`;
}

/** A command to run in a shell. @param {{text: string}} props */
function Command({ text }) {
  return html`<p class="command"><code>${text}</code><${CopyButton} text=${text} label=${t('copy_command')} /></p>`;
}
