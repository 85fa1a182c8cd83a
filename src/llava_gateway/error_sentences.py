"""The English sentences of all errors: the message and the hint. They are written only here and in `request_sentences.py`.

A reason is an error's code (then the sentences need no values), or one of several reasons for the same code. `{field}` in a sentence is the
invalid field, without the prefix `options.`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llava_gateway.notes import INSTALL_EMBEDDED, ErrorText, absent, format_sentence
from llava_gateway.request_sentences import REQUESTS


def message_of(reason: str, values: Mapping[str, Any]) -> str:
    """Return the message; the reason itself if it has no sentence."""
    return format_sentence(ERRORS[reason][0], values) if reason in ERRORS else reason


def hint_of(reason: str, values: Mapping[str, Any]) -> str:
    """Return the hint; "" to use that of the error's class."""
    hint = ERRORS[reason][1] if reason in ERRORS else None
    return format_sentence(hint, values) if hint else ""


def _why(values: Mapping[str, Any]) -> str:
    """Return the message of the inner reason of an error."""
    return message_of(values["why"], values)


def _why_hint(values: Mapping[str, Any]) -> str:
    return hint_of(values["why"], values)


def _piece(values: Mapping[str, Any]) -> str:
    count = values["count"]
    return f"This image is sent as {f'{count} files, pieces 0 to {count - 1}' if count != 1 else 'one file, piece 0'}."


def _installed(values: Mapping[str, Any]) -> str:
    """List the installed models that could be used instead, if there are any and they were looked up."""
    return f"Installed with vision: {', '.join(values['installed'])}." if values.get("installed") else ""


def _other_model(values: Mapping[str, Any]) -> str:
    return _installed(values) or ("Download one with `ollama pull llava:7b`." if "installed" in values else "")


def _gone(values: Mapping[str, Any]) -> str:
    return f"Install it again, or name another model in the request. {_installed(values) or hint_of('model_not_found', {})}"


def ways_to_fit(ways: Sequence[str], words: Mapping[str, str]) -> str:
    """List the ways to make a prompt fit, in the words for each of them."""
    listed = ", or ".join(words.get(way, way) for way in ways)
    return f"Try {listed}." if listed else "Shorten the question, or choose a model with a larger context."


def _ways(values: Mapping[str, Any]) -> str:
    words = {
        "num_ctx": f"num_ctx {values.get('num_ctx')} (reloads the model)",
        "pin_images": "the policy pin_images, which drops old text and keeps images",
        "detail_low": "detail low for large images",
        "new_session": "a new session",
    }
    return ways_to_fit(values["ways"], words)


def _no_engine(values: Mapping[str, Any]) -> str:
    return f"No engine can answer.{absent(values)}"


def _other_engine(values: Mapping[str, Any]) -> str:
    """Suggest an alternative to installing the missing engine."""
    if "ollama" in values.get("silent", ()):
        return "Install it, or start Ollama (`ollama serve`)."
    return "Install it, or get Ollama (https://ollama.com/download) and start the gateway with --engine auto."


def _no_default(values: Mapping[str, Any]) -> str:
    asked_for = f" {values['model']} was asked for, but no engine has it." if "model" in values else ""
    return f"No model answers by default.{asked_for or absent(values)}"


_AN_IMAGE_IS = (
    'Send the image itself, as base64 or as {{"data": base64}}, or {{"image_id": …}} with the id that POST /images returned, or'
    ' {{"image_url": …}} with its address. Files go into a form (curl -F image=@photo.jpg).'
)
_AS_PNG = "Export it as PNG, or send a screenshot of it."
_AS_PNG_OR_JPEG = "Export it as PNG or JPEG."
_SCREENSHOT = "Send an image of it, such as a screenshot."
_ELSEWHERE = (
    "Add the page's address to {setting=allowed_origins} in the settings, or put both behind one reverse proxy that passes on the Host"
    " header."
)
_ACCEPTED = (
    "JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIC, JPEG 2000, PSD, ICO, TGA, PPM, SVG, the previews in camera raw files, PDF, and videos as"
    " MP4, WebM or AVI"
)
_VIDEO_READERS = "Install ffmpeg on the gateway's machine, or `pip install 'llava-gateway[video]'`. Or send a screenshot."
_SMALLER = "Make the image smaller, or send part of it."
_SMALLER_OR_SET = "Make the image smaller, send part of it, or raise {setting=image_max_pixels} in the settings."
_NAMES_FILES = "FROM must be the name of a model here. To use files of this machine, run `llava-gateway models create NAME -f MODELFILE`."


def _page_damaged(values: Mapping[str, Any]) -> str:
    if "page" not in values:
        return "A page of the document can't be read."
    return f"Page {values['page']} can't be read. The file says that it has {values['count']} pages."


ERRORS: dict[str, ErrorText] = {
    "internal_error": (
        "Internal error.",
        "Try again. If it happens again, open an issue in the project's repository, with the request id and the log lines that contain it.",
    ),
    **REQUESTS,
    # Parts of a request.
    "options_not_json": (_why, 'Send a JSON object such as {{"temperature": 0.2}}, or each option as a field of its own.'),
    "preset_wrong": (lambda values: f"The preset {values['preset']} of the settings: {_why(values)}", _why_hint),
    # Images.
    "invalid_image": ("The image can't be used.", "Open the file in an image viewer. If it shows there, export it again as PNG or JPEG."),
    "image_parse_error": ("The image is damaged.", "The file is cut off or corrupt. Export it again, or send a screenshot of it."),
    "image_cut_off": ("This file is cut off.", None),
    "image_cut_off_at": ("This file is cut off at {percent} %.", None),
    "image_cut_off_about": ("This file is cut off at about {percent} %.", None),
    "image_not_read": ("The engine can't read the image.", None),
    "decoder_crashed": ("The image crashed its decoder.", None),
    "decoder_crashed_before": ("This file crashed its decoder a few minutes ago, so it is rejected for some minutes.", None),
    "decoder_slow": ("Reading the image took longer than {seconds:g} s.", "Make the image smaller."),
    "invalid_base64_image": (
        "The image is not valid base64.",
        "Send standard or URL-safe base64, with or without a data: prefix. Line breaks and missing padding are fine.",
    ),
    "data_url_not_base64": ("The data: URL is not base64. It must look like data:image/...;base64,...", None),
    "image_is_link": ("{field} is a link or a path, not base64.", _AN_IMAGE_IS),
    "image_address_wrong": (
        "{field} is neither an image in base64 nor an http or https address.",
        "Send the image itself, as base64 or as a data: URL (data:image/png;base64,...).",
    ),
    "image_both": ("{field} has more than one of data, image_id and image_url.", _AN_IMAGE_IS),
    "image_neither": ("{field} has neither data nor image_id nor image_url.", _AN_IMAGE_IS),
    "failed_to_download_image": (
        "The image at this address could not be fetched.",
        "If a private window of a browser shows it, save it there and send the file. Only public addresses are fetched, within 5 s.",
    ),
    "fetching_off": (
        "This gateway fetches no images from addresses.",
        "Send the image itself. Or set fetch to on, or to a list of hosts, in the gateway's settings: LLAVA_GATEWAY_FETCH=on.",
    ),
    "fetching_host": (
        "This gateway fetches no images from this host.",
        "Send the image itself. Or add the host to fetch in the gateway's settings.",
    ),
    "fetched_full": (
        "The fetched images of all requests together have reached the limit of {most_bytes:,} bytes.",
        "Try again in a moment, or raise bodies_max_bytes in the settings.",
    ),
    "image_none": ("{field} is not an image.", _AN_IMAGE_IS),
    "image_id_wrong": (
        "{field} is not an image id.",
        "Send the id that POST /images or an earlier answer returned: 64 characters, 0 to 9 and a to f.",
    ),
    "image_file_too_large": ("The image file is too large.", "Send a smaller file, or raise image_max_bytes in the settings."),
    "image_bytes": ("The image file has {bytes:,} bytes. The limit is {most_bytes:,}.", None),
    "image_more_bytes": ("The image file is larger than the limit of {most_bytes:,} bytes.", None),
    "empty_image_file": ("The image is empty.", "Send the bytes of an image file."),
    "image_too_small": ("The image is too small.", "Send a larger image."),
    "image_short_side": ("The image has {width}x{height} pixels. The short side needs at least {least}.", "Send a larger image."),
    "image_too_large": ("The image is too large.", _SMALLER),
    "image_long_side": ("The image has {width}x{height} pixels. The long side can have at most {most}.", _SMALLER_OR_SET),
    "image_megapixels": ("The image has {width}x{height} pixels. The limit for {format} is {most:g} megapixels.", _SMALLER_OR_SET),
    "image_megapixels_progressive": (
        "The image has {width}x{height} pixels. This kind of progressive JPEG can have at most {most:g} megapixels.",
        "Save it as a baseline JPEG, make it smaller, or raise {setting} and image_worker_memory in the settings.",
    ),
    "image_aspect": (
        "The image has {width}x{height} pixels. The long side can be at most {most:g} times the short side.",
        "Send it in parts, or raise {setting=image_max_aspect} in the settings.",
    ),
    "image_memory": (
        "Decoding the image needs more memory than a worker may use.",
        "Make the image smaller, save it as JPEG, or raise image_worker_memory in the settings.",
    ),
    "invalid_image_format": ("Images of this format are not accepted here.", None),
    "image_format_off": ("{format} files are not accepted here.", "Accepted: {accepted:, }."),
    "unsupported_image_media_type": (
        "This file is not in a supported image format.",
        f"Accepted: {_ACCEPTED}.",
    ),
    "document_too_large": ("The document is too large.", "Send a part of it, or raise document_max_bytes in the settings."),
    "document_bytes": ("The document has {bytes:,} bytes. The limit is {most_bytes:,}.", None),
    "raw_bytes": ("The camera raw file has {bytes:,} bytes. The limit is {most_bytes:,}.", "Raise document_max_bytes in the settings."),
    "video_too_large": ("The video is too large.", "Send a part of it, or raise video_max_bytes in the settings."),
    "video_bytes": ("The video has {bytes:,} bytes. The limit is {most_bytes:,}.", None),
    "video_damaged": ("The video is damaged.", "Play it in a video player. If it plays there, save it as MP4 with H.264."),
    "video_not_read": ("Videos can't be read here.", _VIDEO_READERS),
    "video_without_reader": ("Videos can't be read here: the gateway has neither OpenCV nor ffmpeg.", _VIDEO_READERS),
    "frame_damaged": ("Frame {frame} can't be read.", "Ask about other frames."),
    "pdf_encrypted": ("The PDF is protected by a password.", "Save a copy without a password."),
    "pdf_damaged": ("The PDF is damaged.", "Open it in a PDF viewer. If it shows there, print it into a new PDF."),
    "pdf_empty": ("The PDF has no pages.", None),
    "page_damaged": (_page_damaged, "Ask about other pages, or print the document into a new PDF."),
    "page_not_found": ("The file has no such page or frame.", None),
    "page_beyond": ("There is no page {page}. The document has {count:page|pages}.", "Pages count from 1."),
    "frame_beyond": (
        lambda values: (
            f"There is no frame {values['frame']}. "
            + ("The file is a single image." if values["count"] == 1 else f"The file has {values['count']} frames.")
        ),
        lambda values: "Leave the choice of frames out." if values["count"] == 1 else "Frames count from 0.",
    ),
    "too_many_pages": ("One question can have at most {most} pages and frames.", "Ask about some of them first, then about the others."),
    "pages_wrong": ("{field} must list pages, such as 1-3,7.", "Pages count from 1."),
    "frames_wrong": ("{field} must list frames, such as 0,5, or be scenes:6.", "Frames count from 0."),
    "selections_wrong": (
        "There are {count} values of {field} for {files:file|files}.",
        "Send one for all files, or one for each file in order. An empty one stands for the default.",
    ),
    "image_kind": ("This kind of {format} can't be read: {kind}.", _AS_PNG_OR_JPEG),
    "svg_nested": ("The SVG has more than {most} elements within each other.", _AS_PNG),
    "svg_too_long": ("The SVG has more than {most} million characters.", _AS_PNG),
    "file_web_page": ("This is a web page, not an image.", "Open it in a browser and save the image itself."),
    "file_video": ("This is a video in a container that is not supported.", "Save it as MP4, WebM or AVI."),
    "file_zip": ("This is a zip file or a document, not an image.", "Take the image out of it, or export a page as PNG."),
    "file_jpeg_xl": ("This is a JPEG XL image. JPEG XL is not supported.", _AS_PNG_OR_JPEG),
    "file_image": ("This is a file in the format {name}, which is not supported.", _AS_PNG_OR_JPEG),
    "file_sound": ("This is a sound file, not an image.", "Send an image."),
    "file_document": ("This is a document in the format {name}, not an image.", "Export the page as PNG, or send a screenshot of it."),
    "file_archive": ("This is an archive in the format {name}, not an image.", "Take the image out of it."),
    "file_raw": ("This is a camera raw file of a kind that can't be read.", "Send the JPEG next to it, or export it as JPEG."),
    "raw_without_preview": (
        "This camera raw file contains no preview of at least {least:,} pixels.",
        "Send the JPEG next to it, or export it as JPEG.",
    ),
    "file_base64": (
        "This is the base64 text of an image, not the image itself.",
        "In a form, send the image file itself. In JSON, send base64, encoded once.",
    ),
    "too_many_images": (
        "There are too many images in one question.",
        "Ask about some of them first, then about the others. A session remembers all of them.",
    ),
    "images_of_turn": (
        "There are {count} images in one question. The limit is {most}.",
        "Ask about some of them first, then about the others. A session remembers all of them.",
    ),
    "images_of_form": (
        "There are at least {count} images in one question. The limit is {most}.",
        "Ask about some of them first, then about the others. A session remembers all of them.",
    ),
    "image_file_not_found": ("There is no such image.", "Images are deleted when nothing uses them. Upload it again."),
    "file_unknown": (
        "{field} names no file.",
        "There is no Files API. Send the file itself as base64, or the id of an image from POST /images.",
    ),
    "session_without_image": ("The session has no such image.", None),
    "piece_beyond": (_piece, "GET /images/{{id}}/view shows what is sent."),
    # Models.
    "model_not_found": (
        "No engine has this model.",
        "GET /models lists the installed models. `ollama pull llava:7b` downloads a larger one.",
    ),
    "model_not_found_named": ("No engine has the model {model!r}.", _installed),
    "session_model_gone": ("{model}, which this session uses, is no longer available.", _gone),
    "no_default_model": (_no_default, None),
    "cloud_model": ("Cloud models are not used: they would send the images off this machine.", None),
    "model_not_in_library": ("There is no such model.", "Check the spelling. https://ollama.com/search lists models."),
    "model_of_other_engine": (
        "{model} is not a model of Ollama, so it can't be changed here.",
        "GET /models names the engine of each model.",
    ),
    "model_withheld": ("The registry does not provide this model.", "It may be private, or of a kind that Ollama can't run."),
    "model_lacks_vision": ("This model can't see images.", "Choose a model with vision. GET /models shows which models have it."),
    "model_lacks_vision_named": ("{model} can't see images.", _other_model),
    "model_lacks_tools": (
        "This model can't call tools.",
        "Send no `tools`, force one of them with `tool_choice`, or choose a model that supports them (`ollama show NAME` tells).",
    ),
    "model_lacks_embeddings": (
        "This model can't turn text into vectors.",
        "Choose an embedding model. `ollama pull nomic-embed-text` downloads one.",
    ),
    "model_lacks_thinking": ("This model can't think before it answers.", "Leave out `think`."),
    "template_roles": (
        "The model's chat template does not accept messages with these roles in this order.",
        "Alternate user and assistant messages, and put a system message first or leave it out.",
    ),
    "template_lost_image": (
        "The model's chat template drops an image of the conversation.",
        "Put images into user messages.",
    ),
    "tool_calls_last": ("The conversation ends with tool calls.", "After them, send a message with the result of each call."),
    "model_cannot_chat": ("This model can't chat.", "Choose another model. GET /models lists them."),
    "invalid_model_name": ("This is not a valid model name.", "Names look like llava:7b."),
    "cloud_model_refused": (
        "Cloud models are not used: they would send the images off this machine.",
        "Use the name without `cloud`. That model is downloaded and runs here.",
    ),
    "model_exists": ("A model with this name already exists.", "Choose another name, or send `replace: true`."),
    "model_busy": ("This model is being downloaded or created.", "Wait until that ends, or stop it."),
    "models_coming_in": ("{count} models are already being downloaded or created.", None),
    "ollama_not_used": (
        "The gateway runs without Ollama, which manages the models.",
        "Start it with --engine auto or --engine ollama.",
    ),
    "context_length_exceeded": (
        "The conversation does not fit the model's context.",
        "Ask for a larger num_ctx (this reloads the model), fork the session at an earlier turn, or start a new one.",
    ),
    "text_beyond_context": ("A text does not fit the model's context.", "Split it into shorter texts."),
    "prompt_too_long": (
        "The prompt has {n_prompt_tokens} tokens and {room} are reserved for the answer, but the model's context has only {n_ctx}.",
        _ways,
    ),
    # Modelfiles.
    "invalid_modelfile": (
        "The Modelfile can't be used.",
        "It must begin with a line such as `FROM llava:7b`. GET /models/examples has some to start from.",
    ),
    "modelfile_no_from": ("There is no FROM, which names the model or its files.", None),
    "modelfile_role": ("Line {line}: the role of a MESSAGE must be system, user or assistant, not {role!r}.", None),
    "modelfile_name_and_value": ("Line {line}: {instruction} needs a name and a value.", None),
    "modelfile_quote": ("Line {line}: the quote that starts here is never closed.", None),
    "modelfile_from": ("Line {line}: FROM needs the name of a model or a file.", None),
    "modelfile_instructions": ("Line {line}: there are more than {most:,} instructions.", None),
    "modelfile_instruction": ("Line {line}: {word!r} is not an instruction. Known instructions: {known:, }.", None),
    "modelfile_value": ("Line {line}: {instruction} needs a value after a space.", None),
    "modelfile_whole_number": ("Line {line}: {name} must be a whole number, not {value!r}.", None),
    "modelfile_number": ("Line {line}: {name} must be a number, not {value!r}.", None),
    "modelfile_boolean": ("Line {line}: {name} must be true or false, not {value!r}.", None),
    "modelfile_parameter": ("Line {line}: there is no parameter {name!r}. Known parameters: {known:, }.", None),
    "modelfile_from_missing": ("FROM names {files:, }, but there is no such file.", None),
    "modelfile_adapter_missing": ("ADAPTER names {file}, but there is no such file.", None),
    "modelfile_not_taken": ("Ollama rejects this Modelfile.", None),
    "modelfile_template": ("Ollama rejects this Modelfile because its TEMPLATE can't be read.", None),
    "modelfile_names_files": ("A Modelfile sent over HTTP can't refer to files.", _NAMES_FILES),
    "modelfile_sent_adapter": ("ADAPTER needs a file, and a Modelfile sent over HTTP can't refer to files.", None),
    "modelfile_sent_sources": ("FROM appears more than once, which is only possible with files.", None),
    "modelfile_sent_name": ("FROM must be the name of a model, such as llava:7b.", None),
    "modelfile_sent_file": ("FROM refers to a file.", None),
    # Access and limits.
    "forbidden": ("This request is not allowed.", None),
    "invalid_api_key": ("The API key is missing or wrong.", "Send it as `Authorization: Bearer KEY`."),
    "host_not_allowed": (
        "This Host is not allowed.",
        "Use http://127.0.0.1, or add the name (Host, and X-Forwarded-Host of a trusted proxy) to allowed_hosts in the settings.",
    ),
    "origin_not_allowed": (
        "Requests from this web page are not allowed.",
        _ELSEWHERE,
    ),
    "proxy_without_scheme": (
        "The page was opened with https, but the proxy in front of the gateway does not say so.",
        "Let the proxy send X-Forwarded-Proto (nginx: `proxy_set_header X-Forwarded-Proto $scheme;`).",
    ),
    "proxy_not_trusted": (
        "The proxy in front of the gateway is not trusted, so its X-Forwarded headers were ignored.",
        "Add the address of the proxy to trusted_proxies in the settings.",
    ),
    "proxy_without_host": (
        "The name or port in the page's address differs from the Host that the proxy in front of the gateway passed on.",
        "Let the proxy pass on Host unchanged, with its port (nginx: `proxy_set_header Host $http_host;`).",
    ),
    "local_only": (
        "Models can only be changed on the machine that the gateway runs on, or with its API key.",
        "Open http://127.0.0.1 (with the gateway's port) in a browser there, use `llava-gateway models` in its shell, or set api_key.",
    ),
    "registry_not_allowed": ("Models are not pulled from this registry.", "To allow it, add it to pull_registries in the settings."),
    "registry_not_listed": ("Models are not pulled from {registry}.", None),
    "asks_itself": (
        "The address of Ollama in the settings is that of the gateway itself.",
        "Set ollama_host to the address of Ollama, usually 127.0.0.1:11434.",
    ),
    "push_refused": ("The gateway publishes no models.", "Use `ollama push` with the address of Ollama itself."),
    "overloaded": ("Too many requests are waiting.", "Try again after the time in the Retry-After header."),
    "queue_full": ("{active} requests are being answered and {waiting} are waiting.", None),
    "queue_slow": ("No slot became free within {seconds:g} s.", None),
    "bodies_full": (
        "The bodies of all requests together have reached the limit of {most_bytes:,} bytes.",
        "Try again in a moment, or raise bodies_max_bytes in the settings.",
    ),
    "out_of_files": (
        "The gateway has as many connections and files open as the system allows.",
        "Try again in a moment, or raise the limit (`ulimit -n`, or LimitNOFILE of a systemd unit).",
    ),
    "memory_low": ("{percent} % of the gateway's memory is used. New images have to wait.", None),
    "memory_full": ("{percent} % of the gateway's memory is used. New questions have to wait.", None),
    "images_waiting": ("Too many images are waiting to be read.", None),
    "images_paused": ("Images are paused for a moment because several recent images crashed their worker.", None),
    "images_stopping": ("The server is stopping and reads no more images.", None),
    "images_not_started": ("The process that reads images does not start.", None),
    "ollama_loading": ("Ollama is busy loading models.", None),
    "engine_busy": ("The engine is busy.", None),
    "shutting_down": ("The server is stopping.", "Ask again when it is back."),
    "pull_shut_down": ("The server is stopping.", "Ask again when it is back. The download resumes where it stopped."),
    # Engines.
    "upstream_error": ("The engine could not answer.", "Check the engine's log. `llava-gateway doctor` checks what the engine can do."),
    "request_refused": ("The engine refused the request.", None),
    "key_refused": ("The engine rejects the gateway's key.", "Set openai_api_key in the settings to the key of that server."),
    "prompt_cache_broken": ("The engine's prompt cache is broken.", "Unload the model (`ollama stop NAME`) and ask again."),
    "model_process_ended": ("The model's process ended unexpectedly.", None),
    "ollama_failed": ("Ollama could not do this.", None),
    "pull_still_stopping": ("Ollama is still stopping the previous download.", "Ask again in a moment."),
    "model_out_of_memory": ("The engine does not have enough memory for this model.", "Choose a smaller model or a smaller num_ctx."),
    "model_load_failed": (
        "The engine could not load the model.",
        "The file may be damaged, or of a kind that this engine does not know. Check the engine's log.",
    ),
    "model_file_unread": ("The model's file can't be read.", "Check the paths given as gguf and mmproj."),
    "gguf_none": ("The file is not a GGUF file.", None),
    "gguf_damaged": ("The GGUF file is cut off or damaged.", None),
    "gguf_version": ("The GGUF file has version {version}. Versions 2 and 3 are supported.", None),
    "gguf_type": ("The GGUF file has a value of unknown type {kind}.", None),
    "gguf_is_projector": ("The file given as gguf is a projector. Give it as mmproj, and the text model as gguf.", None),
    "gguf_no_projector": ("The file given as mmproj is not a projector.", None),
    "upstream_disconnected": (
        "The engine disconnected in the middle of the answer.",
        "Ask again. The embedded engine restarts automatically.",
    ),
    "ollama_went_away": ("Ollama stopped in the middle of the work.", "Start it and ask again."),
    "upstream_incomplete": (
        "The engine ended the answer without marking it as complete.",
        "This often happens when the model repeats itself. Raise repeat_penalty or ask differently.",
    ),
    "tool_call_unread": (
        "The model wrote a tool call that can't be read.",
        "Ask again, or give the model fewer and simpler tools.",
    ),
    "answer_repeats": ("The engine stopped the answer because it repeated itself.", None),
    "upstream_protocol_error": ("The engine sent something that does not follow its protocol.", None),
    "upstream_unavailable": ("The engine can't be reached.", "Start it (`ollama serve`), or run with --engine embedded."),
    "no_engine": (_no_engine, None),
    "engine_not_installed": (_no_engine, _other_engine),
    "engine_keeps_ending": (
        "The embedded engine keeps stopping unexpectedly.",
        "Choose a smaller num_ctx or another model, or check the gateway's log.",
    ),
    "embedded_not_installed": ("The embedded engine is not installed.", f"Install it with `{INSTALL_EMBEDDED}`."),
    "upstream_timeout": (
        "The engine took too long to answer.",
        "A large image takes minutes on a slow machine. Raise first_token_timeout in the settings, or use a smaller model.",
    ),
    "load_timeout": ("The model took too long to load.", "Raise load_timeout in the settings."),
    "registry_unavailable": (
        "Ollama can't reach the server that the model comes from.",
        "Check the network (and Ollama's HTTPS_PROXY), then ask again. The download resumes where it stopped.",
    ),
    "download_damaged": ("A file of the model was damaged during the download.", "Ask again. That file is downloaded again."),
    "ollama_outdated": ("This model needs a newer Ollama.", "Install the newest version from https://ollama.com/download, then ask again."),
    "disk_full": (
        "The disk where Ollama keeps its models is full.",
        "Delete models you no longer need or free some space, then ask again. What was downloaded is kept.",
    ),
}
