// Types of what the gateway sends, for the editor and the type checker; no code.

/**
 * @typedef {Record<string, number|string|string[]|undefined>} Values  the numbers and names in what is said; a list is of names, any of which may be meant
 *
 * @typedef {object} Note  one fact: what was done to a picture, a wish that could not be met, a warning, a reason
 * @property {string} code
 * @property {string} message  in the gateway's own words
 * @property {Values} values
 *
 * @typedef {string | ({other: string} & Partial<Record<Intl.LDMLPluralRule, string>>)} Form  a text, or one for each kind of number
 * @typedef {Form | Form[]} Words  in a list, the first form counts whose values are all there
 *
 * @typedef {object} Language  a file of i18n
 * @property {string} tag  of HTML's lang
 * @property {string} label  in the menu
 * @property {string} name
 * @property {string} between  what stands between two sentences
 * @property {Record<string, Form>} words  of the page
 * @property {Record<string, Words>} notes  by code
 * @property {Record<string, {cause?: Words, next?: Words}>} failures  by reason or code
 * @property {Record<string, Words>} options  what each does
 * @property {Record<string, Words>} presets  what the built-in ones are for
 *
 * @typedef {object} ListedPage  a page or frame of POST /documents; no thumbnail where it can't be read
 * @property {number} number
 * @property {number} width
 * @property {number} height
 * @property {number|null} seconds
 * @property {string|null} thumbnail
 *
 * @typedef {object} PageList  POST /documents
 * @property {string} format
 * @property {number} count
 * @property {'pages'|'frames'} field
 * @property {ListedPage[]} pages
 *
 * @typedef {object} Readiness  GET /readyz
 * @property {boolean} ready
 * @property {string|null} engine
 * @property {string|null} model
 * @property {Note} reason  why this engine and model
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
 * @property {Fit|null} memory
 *
 * @typedef {object} Fit  whether a model fits into memory; figures in bytes
 * @property {'loaded'|'fits'|'tight'|'over'} verdict
 * @property {number} needed
 * @property {number|null} gpu  of them in GPU memory
 * @property {number|null} context  tokens the figure is for
 * @property {boolean} estimated
 *
 * @typedef {object} Progress  of a model on its way in
 * @property {'manifest'|'download'|'verify'|'build'|'write'|'success'} step
 * @property {string} status
 * @property {string|null} digest
 * @property {number|null} completed
 * @property {number|null} total
 *
 * @typedef {object} Library  GET /models beside the models
 * @property {{model: string, kind: 'pull'|'create', progress: Progress|null}[]} installing
 * @property {{total: number, available: number}} memory
 * @property {boolean} may_change
 *
 * @typedef {object} Setup  GET /setup
 * @property {'ready'|'demo'|'no_model'} state
 * @property {'ollama_not_used'|'ollama_not_installed'|'ollama_not_running'|'vision_model'|'chosen_model'|'embedded_not_installed'|null} missing
 * @property {string|null} chosen_model
 * @property {'linux'|'macos'|'windows'} platform
 * @property {{installed: boolean|null, running: boolean, version: string}} ollama
 * @property {{page: string, command: string}} install
 * @property {{installed: boolean, command: string}} embedded
 * @property {{command: string}} start
 * @property {{model: string, download_bytes: number, memory: Fit|null}[]} suggested
 * @property {boolean} may_change
 *
 * @typedef {object} Standing  how a model did in the votes
 * @property {string} model
 * @property {number} compared
 * @property {number} best
 * @property {number} ties
 * @property {number|null} first_word_ms
 * @property {number|null} tokens_per_second
 *
 * @typedef {{votes: object[], tally: Standing[]}} Votes  GET /votes
 *
 * @typedef {object} ModelfileExample
 * @property {string} name
 * @property {string} about
 * @property {string} base
 * @property {string} modelfile
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
 * @property {{images_per_turn: number, image_max_bytes: number, document_max_bytes: number, image_formats: string[]}} limits
 * @property {'memory'|'sqlite'} keep  where chats are kept
 * @property {boolean} fetch  whether the gateway fetches pictures from addresses
 *
 * @typedef {object} Sent  what one model gets of a picture
 * @property {number} width
 * @property {number} height
 * @property {string} format
 * @property {number|null} tokens
 * @property {number} pieces  files that it is sent as
 *
 * @typedef {object} Picture  POST /images, and in turns
 * @property {string} id
 * @property {number} width
 * @property {number} height
 * @property {{width: number, height: number, format: string, bytes: number}} [original]
 * @property {Note[]} [changes]
 * @property {Note[]} [warnings]
 * @property {Sent|null} [sent]
 * @property {Region|null} [region]  the part that was, or is to be, asked about
 * @property {Detail} [detail]  how much of it the model was, or is to be, shown
 * @property {boolean} [pinned]  whether it is to stay in the context; known to this page only
 * @property {string} [name]  the file's name; known to this page only
 * @property {string} [sentModel]  the model that `sent` is about; known to this page only
 *
 * @typedef {'auto'|'low'|'high'} Detail
 * @typedef {[number, number, number, number]} Region  [x, y, width, height] in fractions of the upright picture
 *
 * @typedef {object} Seen  GET /images/{id}/view as JSON
 * @property {string} model
 * @property {{width: number, height: number}} drawing
 * @property {(Note & {of: 'file'|'model'})[]} steps
 * @property {{role: string, width: number, height: number, box: Region|null, format: string, bytes: number, tokens: number|null}[]} pieces
 * @property {number|null} tokens
 * @property {'exact'|'measured'|'estimated'} label
 * @property {'low'|'high'} detail
 * @property {Note[]} notes
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
 * @property {number|null} turn_id
 * @property {{role: string, content: string}} message
 * @property {'stop'|'length'} finish_reason
 * @property {Picture[]} images
 * @property {Usage} usage
 * @property {Record<string, number|null>} timings
 * @property {ContextReport} context
 * @property {Note[]} warnings
 *
 * @typedef {{turn: number, turn_id: number, image_id: string|null, tokens: number}} Dropped  without image_id: the text of the turn
 *
 * @typedef {object} ContextReport  how full the context is after an answer
 * @property {number|null} used
 * @property {number|null} limit
 * @property {number|null} images
 * @property {Dropped[]} dropped
 * @property {Note[]} warnings
 *
 * @typedef {object} ImageCost  a picture of a turn; image_id is null for one that comes with the question as a file
 * @property {number} number
 * @property {string|null} image_id
 * @property {number|null} tokens
 * @property {boolean} sent
 * @property {boolean|null} pinned
 * @property {'low'|'high'|null} detail
 *
 * @typedef {{turn: number|null, turn_id: number|null, asked: string, sent: boolean, text_tokens: number, images: ImageCost[]}} TurnCost  turn is null for the question
 *
 * @typedef {object} RunningQuestion  the event `question`
 * @property {number|null} continues  the turn whose answer goes on
 * @property {string} prompt
 * @property {number|null} after
 * @property {string|null} model
 * @property {Picture[]} images
 *
 * @typedef {object} Counted  POST /count_tokens
 * @property {number} total
 * @property {number} limit
 * @property {boolean} fits
 * @property {number} over
 * @property {{system: number, text: number, images: number[]}} parts
 * @property {number} answer_room
 * @property {'exact'|'measured'|'estimated'} label
 * @property {string} model
 * @property {Policy} policy
 * @property {Dropped[]} dropped
 * @property {Note[]} warnings
 * @property {TurnCost[]} turns
 * @property {Dropped[]} next  in the order in which they go
 * @property {number} together
 * @property {{num_ctx: number, last_load_ms: number|null}|null} larger
 *
 * @typedef {object} SessionSummary  one of GET /sessions
 * @property {string} id
 * @property {string|null} title
 * @property {string|null} model
 * @property {string|number} created_at
 * @property {string|number} updated_at
 * @property {number} turn_count
 * @property {boolean} temporary  whether nothing of it is written to disk
 *
 * @typedef {SessionSummary & {matches: Match[]}} Found  one of GET /sessions?q=
 *
 * @typedef {object} Match  a place where words were found; `turn` is null in a title
 * @property {number|null} turn
 * @property {'title'|'prompt'|'answer'} in
 * @property {string} before
 * @property {string} text
 * @property {string} after
 *
 * @typedef {object} StoredTurn  one of GET /sessions/{id}
 * @property {number} id
 * @property {number|null} after  the turn it follows
 * @property {number[]} siblings  all turns that follow that one, itself among them
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
 * @property {Note[]} [warnings]
 *
 * @typedef {'strict'|'pin_images'|'sliding'|'summarise'} Policy
 * @typedef {object} Asked  what the turns of a session are asked with where they say nothing themselves
 * @property {string} system
 * @property {Policy|null} policy
 * @property {string|null} preset
 * @property {Record<string, any>} options
 * @property {'auto'|'low'|'high'|null} detail
 * @property {'json'|Record<string, any>|null} format
 * @property {string[]} glossary
 * @typedef {SessionSummary & Asked & {running: boolean, turns: StoredTurn[], images: KeptPictures}} Session
 * @typedef {Record<string, {pinned: boolean|null, detail: Detail|null}>} KeptPictures  what a session keeps of its pictures, by their ids
 *
 * @typedef {object} ErrorBody
 * @property {string} title
 * @property {number} status
 * @property {string} detail
 * @property {string} instance
 * @property {{message: string, type: string, code: string, reason?: string, param: string|null, hint: string, values?: Values}} error
 * @property {boolean} retryable
 */

export {};
