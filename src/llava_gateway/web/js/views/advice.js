// Facts about a model in plain words: what it can do, how large it is, whether it fits into memory.

import { bytes, t } from '../i18n.js';
import { library } from '../state.js';

/** @param {string|null} engine */
export function engineName(engine) {
  if (engine === 'embedded') return t('engine.embedded');
  if (engine === 'openai') return t('engine.openai');
  return engine === 'ollama' ? 'Ollama' : (engine ?? '');
}

/** @param {import('../types.js').Model} m */
export function modelFacts(m) {
  const facts = [engineName(m.engine)];
  if (m.parameters) facts.push([m.parameters, m.quantization].filter(Boolean).join(' '));
  if (m.size_bytes) facts.push(bytes(m.size_bytes));
  if (m.loaded) facts.push(m.loaded_context ? t('models.loaded_context', { count: m.loaded_context }) : t('models.loaded'));
  if (m.context_length) facts.push(t('models.context', { count: m.context_length }));
  return facts.join(' · ');
}

/** Says whether a model fits into this machine's memory. @param {import('../types.js').Fit|null} fit */
export function memoryWords(fit) {
  const machine = library.value?.memory;
  if (!fit || !machine) return '';
  const needed = bytes(fit.needed);
  switch (fit.verdict) {
    case 'loaded': {
      const words = t(fit.estimated ? 'memory.loaded_about' : 'memory.loaded', { needed });
      return fit.gpu ? words + t('memory.gpu', { gpu: bytes(fit.gpu) }) : words;
    }
    case 'fits':
      return t('memory.fits', { needed, free: bytes(machine.available) });
    case 'tight':
      return t('memory.tight', { needed, free: bytes(machine.available) });
    default:
      return t('memory.over', { needed, total: bytes(machine.total) });
  }
}
