// A failure in the person's language: its cause and the next step.

import { coded, has, language, t } from './i18n.js';
import { FAILURES, SENTENCES } from './i18n/zh.js';

/** What the gateway says of these names its routes; a person has the page. */
const IN_PAGE_WORDS = ['session_deleted', 'session_not_found'];

/**
 * The gateway's own sentences, in Chinese the words for them; the page's where it was the page that failed, or where it can say more for a person.
 * @param {import('./api.js').Failure} failure
 * @returns {{cause: any, next: any}}
 */
export function explained(failure) {
  const gatewaySays = failure.sentence && !IN_PAGE_WORDS.includes(failure.code);
  if (gatewaySays && language.value === 'zh' && FAILURES[failure.code]) {
    const [cause, next] = FAILURES[failure.code];
    const exact = SENTENCES.find(([pattern]) => pattern.test(failure.sentence));
    return { cause: coded(exact ? failure.sentence.replace(...exact) : cause), next: coded(next) };
  }
  if (gatewaySays) return { cause: coded(failure.sentence), next: coded(failure.hint) };
  const key = has(`failure.${failure.code}`) ? failure.code : 'page_error';
  const values = /** @type {Record<string, string|number>} */ ({ status: failure.status, ...failure.more });
  return { cause: coded(t(/** @type {any} */ (`failure.${key}`), values)), next: coded(t(/** @type {any} */ (`failure.${key}.next`), values)) };
}
