// A failure in the person's language: its cause and the next step.

import { coded, has, language, t } from './i18n.js';
import { FAILURES, SENTENCES } from './i18n/zh.js';

/**
 * The gateway's own sentences, in Chinese the words for them; the page's where it was the page that failed.
 * @param {import('./api.js').Failure} failure
 * @returns {{cause: any, next: any}}
 */
export function explained(failure) {
  if (failure.sentence && language.value === 'zh' && FAILURES[failure.code]) {
    const [cause, next] = FAILURES[failure.code];
    const exact = SENTENCES.find(([pattern]) => pattern.test(failure.sentence));
    return { cause: coded(exact ? failure.sentence.replace(...exact) : cause), next: coded(next) };
  }
  if (failure.sentence) return { cause: coded(failure.sentence), next: coded(failure.hint) };
  const key = has(`failure.${failure.code}`) ? failure.code : 'page_error';
  const values = /** @type {Record<string, string|number>} */ ({ status: failure.status, ...failure.more });
  return { cause: coded(t(/** @type {any} */ (`failure.${key}`), values)), next: coded(t(/** @type {any} */ (`failure.${key}.next`), values)) };
}
