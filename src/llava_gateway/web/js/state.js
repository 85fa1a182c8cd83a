// The state of the page, as signals. The actions that change it are in models/gateway.js, images/pictures.js and chat/chat.js.

import { computed, signal } from '../vendor/signals.js';

/** @typedef {import('./chat/turns.js').Chat} Chat */

/** The gateway's report on its engines; undefined before the first answer, null if the gateway does not answer. */
export const readiness = signal(/** @type {import('./types.js').Readiness|null|undefined} */ (undefined));

export const models = signal(/** @type {import('./types.js').Model[]} */ ([]));
/** The installs in progress, the machine's memory, and whether this page may change models. */
export const library = signal(/** @type {import('./types.js').Library|null} */ (null));
export const defaultModel = signal(/** @type {string|null} */ (null));
export const catalogue = signal(/** @type {import('./types.js').Catalogue|null} */ (null));

/** A change of the engine while the page was open; shown until it is dismissed. */
export const engineNews = signal(/** @type {{from: string|null, to: string}|null} */ (null));

export const sessions = signal(/** @type {import('./types.js').SessionSummary[]|null} */ (null));
export const chat = signal(/** @type {Chat} */ (/** @type {unknown} */ (null)));

/** The model a person picked for the chat on screen; null follows the chat's own or the default. */
export const pickedModel = signal(/** @type {string|null} */ (null));

/** The model that will answer the next question. */
export const model = computed(() => pickedModel.value ?? chat.value?.model.value ?? readiness.value?.model ?? defaultModel.value);

export const modelInfo = computed(() => models.value.find((m) => m.name === model.value) ?? null);

/** Which overlay is open: only one at a time. */
export const overlay = signal(/** @type {null|'address'|'models'|'options'|'compare'|'context'|'shortcuts'|'chats'} */ (null));

/** Whether the sessions drawer is open on a narrow screen (on a wide one `prefs.sidebarOpen` decides). */
export const drawer = signal(false);

/** The picture in the panel and the one in the lightbox, as images/gallery.js names them; `picking`: a part of it is being picked. */
export const panel = signal(/** @type {number|null} */ (null));
export const lightbox = signal(/** @type {{at: number, picking: boolean}|null} */ (null));

/** Announced by screen readers when it changes. */
export const announcement = signal('');
