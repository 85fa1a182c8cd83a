// What the gateway sends, as types for the editor and the checker; nothing here runs.

/**
 * @typedef {object} Readiness  GET /readyz
 * @property {boolean} ready
 * @property {string|null} engine
 * @property {string|null} model
 * @property {string} reason  one sentence: why this engine and model
 * @property {{name: string, ok: boolean, version: string, detail: string}[]} engines
 *
 * @typedef {object} Model  one of GET /models
 * @property {string} name
 * @property {string} engine
 * @property {boolean} vision
 * @property {number|null} context_length  trained
 * @property {number|null} [loaded_context]  it runs with now
 * @property {boolean} loaded
 * @property {number|null} size_bytes
 * @property {string} family
 * @property {string} parameters
 * @property {string} quantization
 *
 * @typedef {object} OptionLimit
 * @property {number} low
 * @property {number} high
 * @property {string} unit
 * @property {string} about
 * @property {boolean} whole
 * @property {boolean} reloads
 *
 * @typedef {Record<string, number|string> & {glossary?: string[]}} Preset  option values, "about", and lines about names and terms
 *
 * @typedef {object} Catalogue  GET /options
 * @property {Record<string, OptionLimit>} options
 * @property {Record<string, Preset>} presets
 * @property {{images_per_turn: number, image_max_bytes: number, image_formats: string[]}} limits
 *
 * @typedef {object} Sent  what one model gets of a picture
 * @property {number} width
 * @property {number} height
 * @property {string} format
 * @property {number|null} tokens
 *
 * @typedef {object} Picture  POST /images, and in turns
 * @property {string} id
 * @property {number} width
 * @property {number} height
 * @property {{width: number, height: number, format: string, bytes: number}} [original]
 * @property {string[]} [changes]
 * @property {string[]} [warnings]
 * @property {Sent|null} [sent]
 * @property {string} [name]  the file's name; known to this page only
 * @property {string} [sentModel]  the model that `sent` is about; known to this page only
 *
 * @typedef {object} Usage
 * @property {number|null} [prompt_tokens]
 * @property {number|null} [completion_tokens]
 * @property {number|null} [cached_tokens]
 *
 * @typedef {object} Answer  the event `done`, and the JSON answer
 * @property {string} id
 * @property {string} model
 * @property {string} engine
 * @property {string|null} session_id
 * @property {{role: string, content: string}} message
 * @property {'stop'|'length'} finish_reason
 * @property {Picture[]} images
 * @property {Usage} usage
 * @property {Record<string, number|null>} timings
 * @property {string[]} warnings
 *
 * @typedef {object} SessionSummary  one of GET /sessions
 * @property {string} id
 * @property {string|null} title
 * @property {string|null} model
 * @property {string|number} created_at
 * @property {string|number} updated_at
 * @property {number} turn_count
 *
 * @typedef {object} StoredTurn  one of GET /sessions/{id}
 * @property {number} index
 * @property {string} prompt
 * @property {Picture[]} images
 * @property {{role: string, content: string}|null} message
 * @property {'complete'|'incomplete'|'cancelled'} status
 * @property {string} [model]
 * @property {Usage} [usage]
 * @property {Record<string, number|null>} [timings]
 * @property {string|null} [finish_reason]
 * @property {string|null} [error_code]
 * @property {string[]} [warnings]
 *
 * @typedef {'strict'|'pin_images'|'sliding'|'summarise'} Policy
 * @typedef {SessionSummary & {system: string, policy: Policy|null, running: boolean, turns: StoredTurn[]}} Session
 *
 * @typedef {object} ErrorBody
 * @property {string} title
 * @property {number} status
 * @property {string} detail
 * @property {string} instance
 * @property {{message: string, type: string, code: string, param: string|null, hint: string} & Record<string, unknown>} error
 * @property {boolean} retryable
 */

export {};
