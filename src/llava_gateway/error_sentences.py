"""The English sentences of every error: what went wrong, and what to do about it. They are written here and in `request_sentences.py`.

A reason is a code of an error (then the sentences need no values), or one of the several that such a code may have. `{field}` in a
sentence is the field at fault, without the `options.` that it may stand in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llava_gateway.notes import Told, absent, worded
from llava_gateway.request_sentences import REQUESTS


def message_of(reason: str, values: Mapping[str, Any]) -> str:
    """What went wrong; the reason itself where there is no sentence for it."""
    return worded(ERRORS[reason][0], values) if reason in ERRORS else reason


def hint_of(reason: str, values: Mapping[str, Any]) -> str:
    """What to do about it; "" where that is for the error's class to say."""
    hint = ERRORS[reason][1] if reason in ERRORS else None
    return worded(hint, values) if hint else ""


def _why(values: Mapping[str, Any]) -> str:
    """What is wrong with something inside of what an error is about."""
    return message_of(values["why"], values)


def _why_hint(values: Mapping[str, Any]) -> str:
    return hint_of(values["why"], values)


def _piece(values: Mapping[str, Any]) -> str:
    count = values["count"]
    return f"This image is sent as {f'{count} files, pieces 0 to {count - 1}' if count != 1 else 'one file, piece 0'}."


def _installed(values: Mapping[str, Any]) -> str:
    """Which models there are that could be named instead, if that was looked for and there are any."""
    return f"Installed with vision: {', '.join(values['installed'])}." if values.get("installed") else ""


def _other_model(values: Mapping[str, Any]) -> str:
    return _installed(values) or ("Get one with `ollama pull llava:7b`." if "installed" in values else "")


def _gone(values: Mapping[str, Any]) -> str:
    return f"Bring it back, or name another model in the request. {_installed(values) or hint_of('model_not_found', {})}"


def _ways(values: Mapping[str, Any]) -> str:
    """What would make a prompt fit."""
    words = {
        "num_ctx": f"num_ctx {values.get('num_ctx')} (loads the model again)",
        "pin_images": "the policy pin_images, which drops old text and keeps images",
        "detail_low": "detail low for large images",
        "new_session": "a new session",
    }
    ways = ", or ".join(words.get(way, way) for way in values["ways"])
    return f"Try {ways}." if ways else "Ask in fewer words, or choose a model with a larger context."


def _no_engine(values: Mapping[str, Any]) -> str:
    return f"No engine can answer.{absent(values)}"


def _no_default(values: Mapping[str, Any]) -> str:
    asked_for = f" {values['model']} was asked for, but no engine has it." if "model" in values else ""
    return f"No model answers by default.{asked_for or absent(values)}"


_AN_IMAGE_IS = (
    'Send the image itself as base64 or as {{"data": base64}}, or {{"image_id": …}} of one that POST /images took; files go into a form'
    " (curl -F image=@photo.jpg)."
)
_AS_PNG = "Export it as PNG, or take a screenshot of it, and send that."
_AS_PNG_OR_JPEG = "Export it as PNG or JPEG."
_SCREENSHOT = "Send an image of it, such as a screenshot."
_ELSEWHERE = (
    "No setting lets another page in yet. Call the gateway from a program, or from your page's own server: a proxy there that passes"
    " the Host header on makes both one origin."
)
_SMALLER = "Make the image smaller, or send a part of it."
_NAMES_FILES = "FROM takes the name of a model here. From files of this machine, `llava-gateway models create NAME -f MODELFILE` makes it."

ERRORS: dict[str, Told] = {
    "internal_error": ("Internal error.", "Try again; if it happens again, report it with the request id."),
    **REQUESTS,
    # Something inside of what was sent.
    "options_not_json": (_why, 'Send a JSON object such as {{"temperature": 0.2}}, or each option as a field of its own.'),
    "preset_wrong": (lambda values: f"The preset {values['preset']} of the settings: {_why(values)}", _why_hint),
    # Images.
    "invalid_image": ("The image can't be used.", "Open the file in an image viewer; if it shows there, export it again as PNG or JPEG."),
    "image_parse_error": ("The image is damaged.", "The file is cut off or corrupt. Export it again, or take a screenshot of it."),
    "image_cut_off": ("This file is cut off.", None),
    "image_cut_off_at": ("This file is cut off at {percent} %.", None),
    "image_not_read": ("The engine can't read the image.", None),
    "decoder_crashed": ("The image brought its decoder down.", None),
    "decoder_crashed_before": ("This file brought its decoder down a few minutes ago; it is not tried again so soon.", None),
    "decoder_slow": ("The image took longer than {seconds:g} s to read.", "Make the image smaller."),
    "invalid_base64_image": (
        "The image is not valid base64.",
        "Send standard or URL-safe base64, with or without a data: prefix; line breaks and missing padding are fine.",
    ),
    "data_url_not_base64": ("The data: URL is not base64; it must read data:image/...;base64,...", None),
    "image_is_link": ("{field} is a link or a path, and those are not fetched.", _AN_IMAGE_IS),
    "image_both": ("{field} has both data and image_id.", _AN_IMAGE_IS),
    "image_neither": ("{field} has neither data nor image_id.", _AN_IMAGE_IS),
    "image_none": ("{field} is no image.", _AN_IMAGE_IS),
    "image_id_wrong": (
        "{field} is not the id of an image.",
        "Send the id that POST /images or an earlier answer gave: 64 characters from 0 to 9 and a to f.",
    ),
    "image_file_too_large": ("The image file is too large.", "Send a smaller file, or raise image_max_bytes in the settings."),
    "image_bytes": ("The image file has {bytes:,} bytes; at most {most_bytes:,} are taken.", None),
    "image_more_bytes": ("The image file has more than {most_bytes:,} bytes.", None),
    "empty_image_file": ("The image is empty.", "Send the bytes of an image file."),
    "image_too_small": ("The image is too small.", "Send a larger image."),
    "image_short_side": ("The image has {width}x{height} pixels; {least} on the short side is the least.", "Send a larger image."),
    "image_too_large": ("The image is too large.", _SMALLER),
    "image_long_side": ("The image has {width}x{height} pixels; {most} on the long side is the most.", _SMALLER),
    "image_megapixels": ("The image has {width}x{height} pixels; {most:g} megapixels is the most for {format}.", _SMALLER),
    "image_aspect": (
        "The image has {width}x{height} pixels; the long side may be {most:g} times the short one at most.",
        "Send it in parts.",
    ),
    "image_memory": ("The image takes more memory to decode than a worker may use.", "Make the image smaller, or save it as JPEG."),
    "invalid_image_format": ("Images of this format are not accepted here.", None),
    "image_format_off": ("{format} images are not accepted here.", "Accepted: {accepted:, }."),
    "unsupported_image_media_type": ("This is not an image format we read.", "Accepted: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIC."),
    "file_pdf": ("This is a PDF, and PDFs are not read yet.", "Export the page as PNG, or take a screenshot of it, and send that."),
    "file_svg": ("This is an SVG drawing, and those are not read.", _AS_PNG),
    "file_web_page": ("This is a web page, not an image.", "Open it in a browser and save the image itself."),
    "file_video": ("This is a video, and videos are not read.", _SCREENSHOT),
    "file_zip": ("This is a zip or a document, not an image.", "Take the image out of it; a page is exported as PNG."),
    "file_jpeg_xl": ("This is JPEG XL, which is not read.", _AS_PNG_OR_JPEG),
    "file_jpeg_2000": ("This is JPEG 2000, which is not read.", _AS_PNG_OR_JPEG),
    "file_photoshop": ("This is a Photoshop file, which is not read.", _AS_PNG_OR_JPEG),
    "file_icon": ("This is an icon file, which is not read.", "Export it as PNG."),
    "file_raw": ("This is a camera's raw file, which is not read.", "Send the JPEG beside it, or export it as JPEG."),
    "file_base64": (
        "This is the base64 of an image, not the image.",
        "In a form, send the image file itself; in JSON it is base64, encoded once.",
    ),
    "too_many_images": (
        "There are more images in one turn than are taken.",
        "Ask about some of them, then about the others: a session remembers all.",
    ),
    "images_of_turn": (
        "{count} images in one turn; at most {most} are taken.",
        "Ask about some of them, then about the others: a session remembers all.",
    ),
    "image_file_not_found": ("There is no such image.", "Images are dropped when nothing uses them; upload it again."),
    "session_without_image": ("The session has no such image.", None),
    "piece_beyond": (_piece, "GET /images/{{id}}/view tells what is sent."),
    # Models.
    "model_not_found": ("No engine has this model.", "GET /models lists what is installed; `ollama pull llava:7b` gets a larger one."),
    "model_not_found_named": ("No engine has the model {model!r}.", _installed),
    "session_model_gone": ("{model}, which this session talks with, is gone.", _gone),
    "no_default_model": (_no_default, None),
    "cloud_model": ("Cloud models are not used: they would send the images off this machine.", None),
    "model_not_in_library": ("There is no such model.", "Look at its spelling; https://ollama.com/search lists models."),
    "model_withheld": ("The registry does not give this model out.", "It may be private, or of a kind that Ollama can't run."),
    "model_lacks_vision": ("This model can't see images.", "Choose a model with vision; GET /models tells which."),
    "model_lacks_vision_named": ("{model} can't see images.", _other_model),
    "model_lacks_tools": (
        "This model can't call tools.",
        "Send the request without `tools`, or choose a model whose template has them; `ollama show NAME` lists what a model can do.",
    ),
    "model_lacks_embeddings": (
        "This model can't turn text into vectors.",
        "Choose a model that is made for it; `ollama pull nomic-embed-text` gets one.",
    ),
    "model_lacks_thinking": ("This model can't think before it answers.", "Leave out `think`."),
    "template_roles": (
        "The model's chat template does not take messages with these roles in this order.",
        "Let messages by the user and by the assistant alternate, and put a system message first or leave it out.",
    ),
    "template_lost_image": (
        "The model's chat template leaves out an image of the conversation.",
        "Put images into messages by the user.",
    ),
    "tool_calls_last": ("The conversation ends with calls of tools.", "Send a message with the result of each call after them."),
    "model_cannot_chat": ("This model can't chat.", "Choose another model; GET /models lists them."),
    "invalid_model_name": ("This is not a name for a model.", "Names are like llava:7b."),
    "cloud_model_refused": (
        "Cloud models are not used: they would send the images off this machine.",
        "Take the model's name without `cloud`, which is downloaded and runs here.",
    ),
    "model_exists": ("There is a model of this name already.", "Choose another name, or send `replace: true`."),
    "model_busy": ("This model is being brought in.", "Wait for that to end, or stop it."),
    "models_coming_in": ("{count} models are being brought in already.", None),
    "ollama_not_used": (
        "The gateway runs without Ollama, which is where models are kept.",
        "Start it with --engine auto or --engine ollama.",
    ),
    "context_length_exceeded": (
        "The conversation does not fit the model's context.",
        "Ask for a larger num_ctx (this reloads the model), fork the session at an earlier turn, or start a new one.",
    ),
    "text_beyond_context": ("A text does not fit the model's context.", "Split it into shorter ones."),
    "prompt_too_long": (
        "The prompt takes {n_prompt_tokens} tokens and {room} are kept for the answer, but the model's context has {n_ctx}.",
        _ways,
    ),
    # Modelfiles.
    "invalid_modelfile": (
        "The Modelfile can't be used.",
        "It begins with a line `FROM llava:7b`; GET /models/examples has some to start from.",
    ),
    "modelfile_no_from": ("There is no FROM: it names the model, or its files.", None),
    "modelfile_role": ("Line {line}: a MESSAGE is by system, user or assistant, not by {role!r}.", None),
    "modelfile_name_and_value": ("Line {line}: {instruction} takes a name and a value.", None),
    "modelfile_quote": ("Line {line}: the quote that opens here is never closed.", None),
    "modelfile_from": ("Line {line}: FROM takes the name of a model or a file.", None),
    "modelfile_instructions": ("Line {line}: there are more than {most:,} instructions.", None),
    "modelfile_instruction": ("Line {line}: {word!r} is no instruction; known are {known:, }.", None),
    "modelfile_value": ("Line {line}: {instruction} takes a value, after a space.", None),
    "modelfile_whole_number": ("Line {line}: {name} takes a whole number, not {value!r}.", None),
    "modelfile_number": ("Line {line}: {name} takes a number, not {value!r}.", None),
    "modelfile_boolean": ("Line {line}: {name} takes true or false, not {value!r}.", None),
    "modelfile_parameter": ("Line {line}: there is no parameter {name!r}; known are {known:, }.", None),
    "modelfile_from_missing": ("FROM names {files:, }, but there is no such file.", None),
    "modelfile_adapter_missing": ("ADAPTER names {file}, but there is no such file.", None),
    "modelfile_not_taken": ("Ollama does not take this Modelfile.", None),
    "modelfile_template": ("Ollama does not take this Modelfile. Its TEMPLATE can't be read.", None),
    "modelfile_names_files": ("A Modelfile that is sent can't name files.", _NAMES_FILES),
    "modelfile_sent_adapter": ("ADAPTER takes a file, and a Modelfile that is sent can't name files.", None),
    "modelfile_sent_sources": ("FROM stands more than once, as it does for files only.", None),
    "modelfile_sent_name": ("FROM takes the name of a model, like llava:7b.", None),
    "modelfile_sent_file": ("FROM names a file.", None),
    # Who may ask, and when.
    "forbidden": ("Refused.", None),
    "invalid_api_key": ("The API key is missing or wrong.", "Send it as `Authorization: Bearer KEY`."),
    "host_not_allowed": ("This Host is not allowed.", "Use http://127.0.0.1, or add the name to allowed_hosts in the settings."),
    "origin_not_allowed": (
        "Requests from this web page are not allowed.",
        _ELSEWHERE,
    ),
    "local_only": (
        "Models can only be changed on the machine that the gateway runs on.",
        "Open http://127.0.0.1 (with the gateway's port) in a browser there, or use `llava-gateway models` in its shell.",
    ),
    "overloaded": ("Too many requests are waiting.", "Try again after the time in Retry-After."),
    "queue_full": ("{active} requests are being answered and {waiting} wait already.", None),
    "queue_slow": ("No slot became free within {seconds:g} s.", None),
    "images_waiting": ("Too many images are waiting to be read.", None),
    "images_paused": ("Images are paused for a moment: several of the last ones brought their worker down.", None),
    "images_stopping": ("Images are not read any more: the server is stopping.", None),
    "images_not_started": ("The process that reads images does not start.", None),
    "ollama_loading": ("Ollama is busy loading models.", None),
    "engine_busy": ("The engine is busy.", None),
    "shutting_down": ("The server is stopping.", "Ask again when it is back."),
    "pull_shut_down": ("The server is stopping.", "Ask again when it is back: a pull goes on where it was."),
    # Engines.
    "upstream_error": ("The engine could not answer.", "Look into the engine's log; `llava-gateway doctor` checks what it can do."),
    "request_refused": ("The engine refused the request.", None),
    "key_refused": ("The engine refuses the gateway's key.", "Set openai_api_key in the settings to the key of that server."),
    "prompt_cache_broken": ("The engine's prompt cache is broken.", "Unload the model (`ollama stop NAME`) and ask again."),
    "model_process_ended": ("The model's process ended in the middle of its work.", None),
    "ollama_failed": ("Ollama could not do it.", None),
    "pull_still_stopping": ("Ollama is still stopping the pull of a moment ago.", "Ask again in a moment."),
    "model_out_of_memory": ("The engine has not enough memory for this model.", "Choose a smaller model, or a smaller num_ctx."),
    "model_load_failed": (
        "The engine could not load the model.",
        "The file may be damaged, or of a kind this engine does not know; look into the engine's log.",
    ),
    "model_file_unread": ("The model's file can't be read.", "Check the paths given as gguf and mmproj."),
    "gguf_none": ("The file is not a GGUF.", None),
    "gguf_damaged": ("The GGUF file is cut off or damaged.", None),
    "gguf_version": ("The GGUF file is of version {version}; known are 2 and 3.", None),
    "gguf_type": ("The GGUF file has a value of unknown type {kind}.", None),
    "gguf_is_projector": ("The file given as gguf is a projector; give it as mmproj, and the text model as gguf.", None),
    "gguf_no_projector": ("The file given as mmproj is not a projector.", None),
    "upstream_disconnected": ("The engine went away in the middle of the answer.", "Ask again; the engine is started again if it is ours."),
    "ollama_went_away": ("Ollama went away in the middle of the work.", "Start it and ask again."),
    "upstream_incomplete": (
        "The engine ended the answer without saying that it was whole.",
        "It often does so when it repeats itself: raise repeat_penalty or ask differently.",
    ),
    "tool_call_unread": (
        "The model wrote a call of a tool that can't be read.",
        "Ask again, or give it fewer and simpler tools.",
    ),
    "answer_repeats": ("The engine ended the answer because it repeated itself.", None),
    "upstream_protocol_error": ("The engine sent something that is not of its protocol.", None),
    "upstream_unavailable": ("The engine can't be reached.", "Start it (`ollama serve`), or run with --engine embedded."),
    "no_engine": (_no_engine, None),
    "engine_keeps_ending": (
        "The embedded engine keeps ending.",
        "Choose a smaller num_ctx or another model, or look into the gateway's log.",
    ),
    "embedded_not_installed": ("The embedded engine is not installed.", "Install it with `pip install 'llava-gateway[embedded]'`."),
    "upstream_timeout": (
        "The engine took too long.",
        "A large image on a slow machine takes minutes: raise first_token_timeout in the settings, or use a smaller model.",
    ),
    "load_timeout": ("The model took too long to load.", "Raise load_timeout in the settings."),
    "registry_unavailable": (
        "Ollama can't reach the place that the model comes from.",
        "Look at the network (and HTTPS_PROXY of Ollama), then ask again: it goes on where it was.",
    ),
    "download_damaged": ("A file of the model was damaged on its way.", "Ask again: that file is downloaded anew."),
    "ollama_outdated": ("This model needs a newer Ollama.", "Install the newest one from https://ollama.com/download, then ask again."),
    "disk_full": (
        "The disk that Ollama keeps its models on is full.",
        "Delete models that are no longer needed or make room, then ask again: what is here already is kept.",
    ),
}
