// The options of questions. The gateway stores those of a session, this browser stores those of new chats.

import { computed, signal } from '../../vendor/signals.js';
import * as api from '../api.js';
import { Failure } from '../api.js';
import { t } from '../i18n.js';
import { kept } from '../prefs.js';
import { catalogue } from '../state.js';

/** @typedef {import('../types.js').Asked} Asked */

const text = (/** @type {unknown} */ value) => typeof value === 'string';
const object = (/** @type {unknown} */ value) => typeof value === 'object' && value !== null && !Array.isArray(value);

export const POLICIES = /** @type {const} */ (['pin_images', 'sliding', 'summarise', 'strict']);

/** The options of new chats. */
const begin = {
  preset: kept('preset', /** @type {Asked['preset']} */ (null), text),
  options: kept('options', /** @type {Asked['options']} */ ({}), object),
  detail: kept('detail', /** @type {Asked['detail']} */ (null), (v) => v === 'low' || v === 'high'),
  policy: kept('policy', /** @type {Asked['policy']} */ (null), (v) => POLICIES.includes(/** @type {any} */ (v))),
  system: kept('system', '', text),
  glossary: kept('glossary', /** @type {string[]} */ ([]), (v) => Array.isArray(v) && v.every(text)),
  format: kept('format', /** @type {Asked['format']} */ (null), (v) => v === 'json' || object(v)),
};

/** @param {Partial<Asked>} from @returns {Asked} */
const only = ({ preset, options, detail, policy, system, glossary, format }) => ({
  preset: preset ?? null,
  options: options ?? {},
  detail: detail === 'auto' ? null : (detail ?? null),
  policy: policy ?? null,
  system: system ?? '',
  glossary: glossary ?? [],
  format: format ?? null,
});

const NOTHING = only({});

const forNewChats = computed(() => {
  const found = only(Object.fromEntries(Object.entries(begin).map(([name, choice]) => [name, choice.value])));
  const gone = found.preset && catalogue.value && !catalogue.value.presets[found.preset];
  return gone ? { ...found, preset: null } : found;
});

/** @param {Partial<Asked>} changes */
function beginWith(changes) {
  for (const [name, value] of Object.entries(changes)) /** @type {any} */ (begin)[name].value = value;
}

/** The names and terms of a preset. @param {string|null} preset @returns {string[]} */
const glossaryOf = (preset) => (preset && catalogue.value?.presets[preset]?.glossary) || [];

/** Returns whether a JSON text has exactly this value. @param {string} typed @param {unknown} value */
export function means(typed, value) {
  try {
    return JSON.stringify(JSON.parse(typed)) === JSON.stringify(value);
  } catch {
    return false;
  }
}

/** The options of a chat. Before it has a session, they are those of new chats. */
export class Choices {
  /** @param {import('../../vendor/signals.js').Signal<string|null>} id  of the session */
  constructor(id) {
    this.id = id;
    this.own = signal(/** @type {Asked|null} */ (null));
    this.now = computed(() => this.own.value ?? forNewChats.value);
    /** Settles when the gateway has stored every change. */
    this.saved = Promise.resolve();
    /** Why the gateway rejected the last change. */
    this.failure = signal(/** @type {Failure|null} */ (null));
    /** The JSON schema as it was last typed, and why the gateway rejected it. */
    this.schema = signal(/** @type {{typed: string, refused: Failure|null}|null} */ (null));
    /** The last valid format, in a new chat. */
    this.right = begin.format.peek();
    /** @type {Partial<Asked>} */
    this.unsaved = {};
    /** The options as the gateway has them. */
    this.stored = NOTHING;
  }

  /** Applies the gateway's values of the session. @param {Asked} stored */
  fill(stored) {
    this.stored = only(stored);
    this.own.value = { ...this.stored, ...this.unsaved };
  }

  /** @param {Partial<Asked>} changes */
  choose(changes) {
    this.failure.value = null;
    if (!this.own.value) {
      // As in a session of the gateway, a preset's glossary comes and goes with the preset.
      const own = 'preset' in changes ? glossaryOf(changes.preset ?? null) : [];
      const before = glossaryOf(this.now.value.preset).join('\n');
      const leaves = 'preset' in changes && before !== '' && this.now.value.glossary.join('\n') === before;
      if (changes.format && this.schema.value) this.saved = this.saved.then(() => this.check(changes.format ?? null));
      else if ('format' in changes) this.right = changes.format ?? null;
      beginWith({ ...changes, ...((own.length || leaves) && { glossary: own }) });
      return;
    }
    this.own.value = { ...this.own.value, ...changes };
    this.unsaved = { ...this.unsaved, ...changes };
    this.saved = this.saved.then(() => this.save());
  }

  /** One request after the other, so that the last change wins. Changes made during a request are sent together. */
  async save() {
    const id = this.id.value;
    const changes = this.unsaved;
    if (!id || !Object.keys(changes).length) return;
    this.unsaved = {};
    try {
      this.fill(await api.changeSession(id, changes));
    } catch (error) {
      const failure = error instanceof Failure ? error : new Failure('page_error', { message: String(error) });
      const { format, ...others } = changes;
      if (failure.code === 'invalid_format' && this.schema.value) {
        this.refuse(format, failure); // the other values were valid
        this.unsaved = { ...others, ...this.unsaved };
      } else this.failure.value = failure;
      this.fill(this.stored);
      await this.save();
    }
  }

  /** Lets the gateway check a schema that no session has yet. A token count with it costs nothing. @param {Asked['format']} format */
  async check(format) {
    try {
      await api.countTokens({ prompt: '-', format }, new AbortController().signal);
    } catch (error) {
      if (error instanceof Failure && error.code === 'invalid_format') {
        this.refuse(format, error);
        if (JSON.stringify(begin.format.value) === JSON.stringify(format)) beginWith({ format: this.right });
        return;
      }
    }
    this.right = format;
  }

  /** Shows an invalid schema's error where it was typed, unless the text has changed since. @param {unknown} format @param {Failure} failure */
  refuse(format, failure) {
    const { schema } = this;
    if (schema.value && means(schema.value.typed, format)) schema.value = { ...schema.value, refused: failure };
  }

  /** @param {string} name @param {unknown} value  undefined takes it back */
  set(name, value) {
    const { [name]: _old, ...rest } = this.now.value.options;
    this.choose({ options: value === undefined ? rest : { ...rest, [name]: value } });
  }

  /** All options except texts that a person wrote. */
  reset() {
    const { system, glossary } = this.now.value;
    this.schema.value = null;
    this.choose({ ...NOTHING, system, glossary });
  }

  /** Uses the options of this chat for new chats. */
  forNewChats() {
    beginWith(this.now.value);
  }

  /** Whether new chats already use these options. */
  get areForNewChats() {
    return JSON.stringify(this.now.value) === JSON.stringify(forNewChats.value);
  }
}

/** The options that differ from the preset, as fields of a request. The preset's glossary may have been edited. @param {Asked} choices @returns {Partial<Asked>} */
export const asFields = (choices) => ({ ...set(choices), ...(choices.preset && { glossary: choices.glossary }) });

/** @param {Asked} choices @returns {Partial<Asked>} */
const set = (choices) =>
  Object.fromEntries(Object.entries(choices).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(/** @type {any} */ (NOTHING)[name])));

/** The number of changed options, without the preset and its glossary, which are shown beside it. @param {Asked} choices */
export function countOf({ preset, options, ...others }) {
  const own = set({ ...NOTHING, ...others });
  if (own.glossary?.join('\n') === glossaryOf(preset).join('\n')) delete own.glossary;
  return Object.keys(options).length + Object.keys(own).length;
}

/** @param {string} name */
export function presetName(name) {
  if (name === 'factual' || name === 'balanced' || name === 'creative') return t(`preset.${name}`);
  return name;
}
