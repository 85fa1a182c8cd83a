// What the gateway did to a picture, and what it warns of, in the person's language. The gateway's sentences are a finite set in English.

import { has, language, pixels, t } from '../i18n.js';
import { SENTENCES, STEPS } from '../i18n/zh.js';

/** @param {string} sentence */
function one(sentence) {
  // A warning is a code, or a code with a sentence.
  const [, code, rest] = /^([a-z_]+)(?:: (.*))?$/s.exec(sentence) ?? [];
  const key = `warning.${code}`;
  if (code && has(key)) return rest && language.value === 'en' ? rest : t(key);
  if (language.value === 'zh') {
    for (const [pattern, words] of SENTENCES) if (pattern.test(sentence)) return sentence.replace(pattern, words);
    return rest ?? sentence;
  }
  return (rest ?? sentence).replace(/(\d)x(\d)/g, '$1 × $2');
}

/** @param {string[]} sentences */
export function described(sentences) {
  return sentences.map(one).join(language.value === 'zh' ? '，' : ', ');
}

/** A step on the way to a model. @param {{code: string, text: string, values: Record<string, string|number>}} step */
export function stepWords({ code, text, values }) {
  if (language.value !== 'zh' || !STEPS[code]) return text.replace(/(\d)x(\d)/g, '$1 × $2');
  return STEPS[code].replace(/\{(\w+)\}/g, (_, name) => VALUES[String(values[name])] ?? String(values[name] ?? ''));
}

/**
 * The steps from the file to the tokens. What the gateway tells of the file is of the latest one with these pixels; the picture knows its own.
 * @param {import('../types.js').Picture} picture
 * @param {import('../types.js').Seen} told
 */
export function stepsOf({ original, changes }, told) {
  if (!original || !changes) return told.steps.map(stepWords);
  const decoded = t('step.decoded', { format: original.format, size: pixels(original) });
  const ofModel = told.steps.filter((step) => step.of === 'model');
  return [decoded, ...changes.map(one).map(sentence), ...ofModel.map(stepWords)];
}

/** @param {string} words */
const sentence = (words) => (language.value === 'zh' ? `${words}。` : `${words[0].toUpperCase()}${words.slice(1)}.`);

/** How far a count of tokens can be trusted. @type {Record<string, string>} */
const VALUES = { exact: '精确', measured: '实测', estimated: '估计' };

/** What was changed about a picture; "" for nothing. @param {import('../types.js').Picture} picture */
export const changesOf = (picture) => described(picture.changes ?? []);
