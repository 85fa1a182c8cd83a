"""Every error a client can see, with its status, stable code and hint.

    GatewayError
    +- InvalidRequest            422
    |  +- InvalidJSON            400
    |  +- InvalidOption          422
    |  +- InvalidFormat          400
    |  +- InvalidRegion          400
    |  +- ConflictingFields      400
    |  +- InvalidEncoding        400
    |  +- ContextLengthExceeded  400
    |  +- ModelLacksVision       422
    |  +- ModelLacksTools        422
    |  +- ModelLacksEmbeddings   422
    |  +- InvalidModelName       422
    |  +- CloudModelRefused      422
    |  +- InvalidArchive         422
    |  |  +- ArchiveTooLarge     413
    |  +- InvalidModelfile       422
    |     +- ModelfileNamesFiles 422
    +- BodyTooLarge              413
    +- HeadersTooLarge           431
    +- BodyTimeout               408
    +- UnsupportedBody           415
    +- ImageError                422
    |  +- ImageParseError        422
    |  +- InvalidBase64Image     400
    |  +- ImageFileTooLarge      413
    |  +- UnsupportedImageType   415
    +- NotFound                  404
    |  +- ModelNotFound          404
    |  +- SessionNotFound        404
    |  +- TurnNotFound           404
    |  +- ImageNotFound          404
    +- SessionBusy               409
    +- SessionFull               413
    +- StorageFull               507
    +- ModelExists               409
    +- ModelBusy                 409
    +- OllamaNotUsed             409
    +- Refused                   403
    |  +- InvalidApiKey          401
    |  +- HostNotAllowed         403
    |  +- OriginNotAllowed       403
    |  +- LocalOnly              403
    +- Overloaded                503
    +- ShuttingDown              503
    +- SessionDeleted            409
    +- UpstreamError             502
       +- ModelOutOfMemory       502
       +- ModelLoadFailed        502
       +- UpstreamDisconnected   502
       +- UpstreamIncomplete     502
       +- UpstreamProtocolError  502
       +- UpstreamUnavailable    503
       +- UpstreamTimeout        504
       +- RegistryUnavailable    502
       +- DownloadDamaged        502
       +- OllamaOutdated         502
       +- DiskFull               507

A dialect renders an error in one place (`api/errors.py`). `message` never carries text from the engine, a path or an address.
"""

from __future__ import annotations

from collections.abc import Mapping


class GatewayError(Exception):
    """An error a client can act on.

    Args:
        message: one sentence saying what was wrong, safe to show to anyone.
        code: stable machine-readable code; each class has its own default.
        hint: what to do about it.
        param: the request field at fault, if one is.
        retry_after: seconds after which the same request may succeed.
        extra: further members of the error object (`n_ctx` and `n_prompt_tokens` where the engine tells them, the `line` of a file, ...).
    """

    status: int = 500
    code: str = "internal_error"
    title: str = "Internal error"
    hint: str = "Try again; if it happens again, report it with the request id."
    retryable: bool = False

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        hint: str | None = None,
        param: str | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        extra: Mapping[str, int | float | str | list[str]] | None = None,
    ) -> None:
        self.message = message or self.title
        super().__init__(self.message)
        self.code = code or type(self).code
        self.hint = hint or type(self).hint
        self.status = status or type(self).status
        self.retryable = type(self).retryable if retryable is None else retryable
        self.param = param
        self.retry_after = retry_after
        self.extra = dict(extra or {})


class InvalidRequest(GatewayError):
    status = 422
    code = "invalid_request"
    title = "The request can't be understood"
    hint = "See /docs for the fields this route takes."


class InvalidJSON(InvalidRequest):
    status = 400
    code = "invalid_json"
    title = "The body is not valid JSON"
    hint = "Send UTF-8 JSON with finite numbers, without NUL characters, nested at most 64 deep, with at most 50,000 values."


class InvalidOption(InvalidRequest):
    code = "invalid_option"
    title = "An option is not valid"


class InvalidFormat(InvalidRequest):
    status = 400
    code = "invalid_format"
    title = "The format is not a valid JSON schema"
    hint = "Send 'json', or a JSON schema (draft 2020-12, or another that its $schema names)."


class InvalidRegion(InvalidRequest):
    status = 400
    code = "invalid_region"
    title = "The region is not a part of the image"
    hint = "Send [x, y, width, height] in fractions of the upright image: [0.5, 0, 0.5, 0.5] is its top right quarter."


class ConflictingFields(InvalidRequest):
    status = 400
    code = "conflicting_fields"
    title = "Two fields say different things"
    hint = "Send one of them."


class InvalidEncoding(InvalidRequest):
    status = 400
    code = "invalid_encoding"
    title = "A text is not in UTF-8, nor in the charset that is named for it"
    # What is typed behind curl.exe comes in the code page of Windows; chcp changes nothing about that.
    hint = (
        'Name its charset: with curl -F "prompt=…;type=text/plain;charset=gbk" (gbk on a Chinese Windows, windows-1252 on a western one).'
        ' Or save it as UTF-8 in a file and send that: -F "prompt=<prompt.txt".'
    )


class BodyTooLarge(GatewayError):
    status = 413
    code = "request_too_large"
    title = "The request body is too large"
    hint = "Send fewer or smaller images, or refer to images by image_id."


class HeadersTooLarge(GatewayError):
    status = 431
    code = "headers_too_large"
    title = "The headers or the address of the request are too long"
    hint = "Send at most 64 KiB and 200 headers. Cookies of other programs on this machine may be among them: delete those."


class BodyTimeout(GatewayError):
    status = 408
    code = "request_timeout"
    title = "The request body did not arrive in time"
    hint = "Send the body without long pauses."
    retryable = True


class UnsupportedBody(GatewayError):
    status = 415
    code = "unsupported_media_type"
    title = "This route does not take such a body"
    hint = "Send application/json or multipart/form-data."


class ContextLengthExceeded(InvalidRequest):
    status = 400
    code = "context_length_exceeded"
    title = "The conversation does not fit the model's context"
    hint = "Ask for a larger num_ctx (this reloads the model), fork the session at an earlier turn, or start a new one."


class ImageError(GatewayError):
    status = 422
    code = "invalid_image"  # this and those below are of OpenAI's ResponseErrorCode
    title = "The image can't be used"
    hint = "Open the file in an image viewer; if it shows there, export it again as PNG or JPEG."


class ImageParseError(ImageError):
    code = "image_parse_error"
    title = "The image is damaged"
    hint = "The file is cut off or corrupt. Export it again, or take a screenshot of it."


class InvalidBase64Image(ImageError):
    status = 400
    code = "invalid_base64_image"
    title = "The image is not valid base64"
    hint = "Send standard or URL-safe base64, with or without a data: prefix; line breaks and missing padding are fine."


class ImageFileTooLarge(ImageError):
    status = 413
    code = "image_file_too_large"
    title = "The image file is too large"
    hint = "Send a smaller file, or raise image_max_bytes in the settings."


class UnsupportedImageType(ImageError):
    status = 415
    code = "unsupported_image_media_type"
    title = "This is not an image format we read"
    hint = "Accepted: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIC."


class NotFound(GatewayError):
    status = 404
    code = "not_found"
    title = "There is no such thing"
    hint = "Check the address; /docs lists every route."


class ModelNotFound(NotFound):
    code = "model_not_found"
    title = "No engine has this model"
    hint = "GET /models lists what is installed; `ollama pull llava:7b` gets a larger one."


class SessionNotFound(NotFound):
    code = "session_not_found"
    title = "There is no such session"
    hint = "Sessions live in memory and end with the server; start a new one with POST /sessions."


class TurnNotFound(NotFound):
    code = "turn_not_found"
    title = "The session has no such turn"
    hint = "GET /sessions/{id} lists the turns with their ids, and beside each the ids of those in its place."


class ImageNotFound(NotFound):
    code = "image_file_not_found"
    title = "There is no such image"
    hint = "Images are dropped when nothing uses them; upload it again."


class SessionBusy(GatewayError):
    status = 409
    code = "session_busy"
    title = "The session is answering another turn"
    hint = "Wait for the running answer to end, or stop it."
    retryable = True


class SessionFull(GatewayError):
    status = 413
    code = "session_full"
    title = "The session holds all that it may"
    hint = "Start a new session, or fork this one at an earlier turn."


class StorageFull(GatewayError):
    status = 507
    code = "storage_full"
    title = "There is no room left for images and sessions"
    hint = "Delete sessions that are no longer needed, or raise store_max_bytes in the settings."


class ModelLacksVision(InvalidRequest):
    code = "model_lacks_vision"
    title = "This model can't see images"
    hint = "Choose a model with vision; GET /models tells which."


class ModelLacksTools(InvalidRequest):
    code = "model_lacks_tools"
    title = "This model can't call tools"
    hint = "Send the request without `tools`, or choose a model whose template has them; `ollama show NAME` lists what a model can do."


class ModelLacksEmbeddings(InvalidRequest):
    code = "model_lacks_embeddings"
    title = "This model can't turn text into vectors"
    hint = "Choose a model that is made for it; `ollama pull nomic-embed-text` gets one."


class InvalidModelName(InvalidRequest):
    code = "invalid_model_name"
    title = "This is not a name for a model"
    hint = "Names are like llava:7b."


class CloudModelRefused(InvalidRequest):
    code = "cloud_model_refused"
    title = "Cloud models are not used: they would send the images off this machine"
    hint = "Take the model's name without `cloud`, which is downloaded and runs here."


class InvalidArchive(InvalidRequest):
    code = "invalid_archive"
    title = "This is not a session as it was exported"
    hint = "Send what GET /sessions/{id}/export gave as json or zip, unchanged."


class ArchiveTooLarge(InvalidArchive):
    status = 413
    code = "archive_too_large"
    title = "The exported session holds more than is taken"
    hint = "Raise body_max_bytes, session_max_bytes or session_max_turns in the settings to what the error names."


class InvalidModelfile(InvalidRequest):
    code = "invalid_modelfile"
    title = "The Modelfile can't be used"
    hint = "It begins with a line `FROM llava:7b`; GET /models/examples has some to start from."


class ModelfileNamesFiles(InvalidModelfile):
    code = "modelfile_names_files"
    title = "A Modelfile that is sent can't name files"
    hint = "FROM takes the name of a model here. From files of this machine, `llava-gateway models create NAME -f MODELFILE` makes it."


class ModelExists(GatewayError):
    status = 409
    code = "model_exists"
    title = "There is a model of this name already"
    hint = "Choose another name, or send `replace: true`."


class ModelBusy(GatewayError):
    status = 409
    code = "model_busy"
    title = "This model is being brought in"
    hint = "Wait for that to end, or stop it."
    retryable = True


class OllamaNotUsed(GatewayError):
    status = 409
    code = "ollama_not_used"
    title = "The gateway runs without Ollama, which is where models are kept"
    hint = "Start it with --engine auto or --engine ollama."


class Refused(GatewayError):
    status = 403
    code = "forbidden"
    title = "Refused"


class InvalidApiKey(Refused):
    status = 401
    code = "invalid_api_key"
    title = "The API key is missing or wrong"
    hint = "Send it as `Authorization: Bearer KEY`."


class HostNotAllowed(Refused):
    code = "host_not_allowed"
    title = "This Host is not allowed"
    hint = "Use http://127.0.0.1, or add the name to allowed_hosts in the settings."


class OriginNotAllowed(Refused):
    code = "origin_not_allowed"
    title = "Requests from this web page are not allowed"
    hint = (
        "No setting lets another page in yet. Call the gateway from a program, or from your page's own server: a proxy there that passes"
        " the Host header on makes both one origin."
    )


class LocalOnly(Refused):
    code = "local_only"
    title = "Models can only be changed on the machine that the gateway runs on"
    hint = "Open http://127.0.0.1 (with the gateway's port) in a browser there, or use `llava-gateway models` in its shell."


class Overloaded(GatewayError):
    status = 503
    code = "overloaded"
    title = "Too many requests are waiting"
    hint = "Try again after the time in Retry-After."
    retryable = True


class ShuttingDown(GatewayError):
    status = 503
    code = "shutting_down"
    title = "The server is stopping"
    hint = "Ask again when it is back."
    retryable = True


class SessionDeleted(GatewayError):
    status = 409
    code = "session_deleted"
    title = "The session was deleted while it was answering"
    hint = "Start a new session."


class UpstreamError(GatewayError):
    status = 502
    code = "upstream_error"
    title = "The engine could not answer"
    hint = "Look into the engine's log; `llava-gateway doctor` checks what it can do."


class ModelOutOfMemory(UpstreamError):
    code = "model_out_of_memory"
    title = "The engine has not enough memory for this model"
    hint = "Choose a smaller model, or a smaller num_ctx."


class ModelLoadFailed(UpstreamError):
    code = "model_load_failed"
    title = "The engine could not load the model"
    hint = "The file may be damaged, or of a kind this engine does not know; look into the engine's log."


class UpstreamDisconnected(UpstreamError):
    code = "upstream_disconnected"
    title = "The engine went away in the middle of the answer"
    hint = "Ask again; the engine is started again if it is ours."
    retryable = True


class UpstreamIncomplete(UpstreamError):
    code = "upstream_incomplete"
    title = "The engine ended the answer without saying that it was whole"
    hint = "It often does so when it repeats itself: raise repeat_penalty or ask differently."


class UpstreamProtocolError(UpstreamError):
    code = "upstream_protocol_error"
    title = "The engine sent something that is not of its protocol"


class UpstreamUnavailable(UpstreamError):
    status = 503
    code = "upstream_unavailable"
    title = "The engine can't be reached"
    hint = "Start it (`ollama serve`), or run with --engine embedded."
    retryable = True

    def __init__(self, message: str | None = None, *, retry_after: float | None = 2.0, hint: str | None = None) -> None:
        super().__init__(message, retry_after=retry_after, hint=hint)


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"
    title = "The engine took too long"
    hint = "A large image on a slow machine takes minutes: raise first_token_timeout in the settings, or use a smaller model."
    retryable = True


class RegistryUnavailable(UpstreamError):
    code = "registry_unavailable"
    title = "Ollama can't reach the place that the model comes from"
    hint = "Look at the network (and HTTPS_PROXY of Ollama), then ask again: it goes on where it was."
    retryable = True


class DownloadDamaged(UpstreamError):
    code = "download_damaged"
    title = "A file of the model was damaged on its way"
    hint = "Ask again: that file is downloaded anew."
    retryable = True


class OllamaOutdated(UpstreamError):
    code = "ollama_outdated"
    title = "This model needs a newer Ollama"
    hint = "Install the newest one from https://ollama.com/download, then ask again."


class DiskFull(UpstreamError):
    status = 507
    code = "disk_full"
    title = "The disk that Ollama keeps its models on is full"
    hint = "Delete models that are no longer needed or make room, then ask again: what is here already is kept."
