// The languages of the page, in the order of the menu. To add one, add a file like these, and name it here.

import * as en from './en.js';
import * as zh from './zh.js';

/** @typedef {keyof typeof en.words} Key */

/** The languages by the codes that browsers use. @type {Record<string, import('../types.js').Language>} */
export const LANGUAGES = { en, zh };

/** Used if a language lacks a text, and for people who read none of them. */
export const FIRST = 'en';
