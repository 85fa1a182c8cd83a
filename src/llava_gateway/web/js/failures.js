// A failure in the person's language: its cause and the next step.

import { coded, told, under } from './i18n.js';
import { withUnits } from './notes.js';

/**
 * Looks for words by the reason, then by the code. If the page has none, uses the gateway's words.
 * @param {import('./api.js').Failure} failure
 * @returns {{cause: any, next: any}}
 */
export function explained({ code, reason, status, values, sentence, hint }) {
  /** @param {'cause'|'next'} part @param {string[]} names */
  const words = (part, ...names) => told(({ failures }) => names.map((name) => under(failures, name)?.[part]), { status, ...withUnits(values) });
  const cause = words('cause', reason, code);
  if (cause !== null) return { cause: coded(cause), next: coded(words('next', reason, code) ?? hint) };
  if (sentence) return { cause: coded(sentence), next: coded(hint) };
  return { cause: coded(words('cause', 'page_error') ?? ''), next: coded(words('next', 'page_error') ?? '') };
}
