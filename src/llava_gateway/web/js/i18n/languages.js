// The languages of the page, in the order of the menu. Another one is another file like these, and its name here.

import * as en from './en.js';
import * as zh from './zh.js';

/** @typedef {keyof typeof en.words} Key */

/** By the codes that browsers name them with. @type {Record<string, import('../types.js').Language>} */
export const LANGUAGES = { en, zh };

/** It serves where another one has no words, and who speaks none of them. */
export const FIRST = 'en';
