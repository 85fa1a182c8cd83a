// What the page knows, as signals; the actions that change it are in models/gateway.js, images/pictures.js and chat/chat.js.

import { computed, signal } from '../vendor/signals.js';

/** @typedef {import('./chat/chat.js').Chat} Chat */

/** The gateway's word on its engines; undefined before the first answer, null when it does not answer. */
export const readiness = signal(/** @type {import('./types.js').Readiness|null|undefined} */ (undefined));

export const models = signal(/** @type {import('./types.js').Model[]} */ ([]));
/** What is on its way in, the machine's memory, and whether this page may change models. */
export const library = signal(/** @type {import('./types.js').Library|null} */ (null));
export const defaultModel = signal(/** @type {string|null} */ (null));
export const catalogue = signal(/** @type {import('./types.js').Catalogue|null} */ (null));

/** What changed about the engine while the page was open: shown until it is put away. */
export const engineNews = signal(/** @type {{from: string|null, to: string}|null} */ (null));

export const sessions = signal(/** @type {import('./types.js').SessionSummary[]|null} */ (null));
export const chat = signal(/** @type {Chat} */ (/** @type {unknown} */ (null)));

/** The model a person picked for the chat on screen; null follows the chat's own or the default. */
export const pickedModel = signal(/** @type {string|null} */ (null));

/** The model that will answer the next question. */
export const model = computed(() => pickedModel.value ?? chat.value?.model.value ?? readiness.value?.model ?? defaultModel.value);

export const modelInfo = computed(() => models.value.find((m) => m.name === model.value) ?? null);

/** Which overlay is open: only one at a time. */
export const overlay = signal(/** @type {null|'models'|'options'|'compare'|'context'|'shortcuts'} */ (null));

/** Whether the sessions drawer is open on a narrow screen (on a wide one `prefs.sidebarOpen` decides). */
export const drawer = signal(false);

/** The picture in the panel and the one in the lightbox, as images/gallery.js names them; `picking`: a part of it is being picked. */
export const panel = signal(/** @type {number|null} */ (null));
export const lightbox = signal(/** @type {{at: number, picking: boolean}|null} */ (null));

/** Spoken by screen readers when it changes. */
export const announcement = signal('');
