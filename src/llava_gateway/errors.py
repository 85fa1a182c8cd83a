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
    |  +- DownloadFailed         422
    +- NotFound                  404
    |  +- ModelNotFound          404
    |  +- SessionNotFound        404
    |  +- TurnNotFound           404
    |  +- ImageNotFound          404
    +- SessionBusy               409
    +- AnswerCancelled           409
    +- SessionFull               413
    +- StorageFull               507
    +- StorageFailed             500
    +- ModelExists               409
    +- ModelBusy                 409
    +- OllamaNotUsed             409
    +- Refused                   403
    |  +- InvalidApiKey          401
    |  +- HostNotAllowed         403
    |  +- OriginNotAllowed       403
    |  +- LocalOnly              403
    |  +- RegistryNotAllowed     403
    |  +- FetchingOff            403
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

A dialect renders an error in one place (`api/errors.py`). Errors carry a reason and values; the sentences for them are in
`error_sentences.py`. No value is a text from the engine, a path or an address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self, TypeAlias

from llava_gateway.error_sentences import hint_of, message_of
from llava_gateway.notes import Value

Place: TypeAlias = tuple[str | int, ...]
"""A part of a request: its kind, and its index if there are several."""


class GatewayError(Exception):
    """An error that a client can act on.

    Args:
        reason: stable and machine-readable, a key of the table of sentences. Finer than the code, and equal to it by default.
        values: the numbers and names in its sentences, safe to show to anyone (`n_ctx` and `n_prompt_tokens` if the engine reports
            them, the `line` of a file, ...).
        code: stable and machine-readable; each class has its own default.
        param: the field at fault, if there is one, as the request's API spells it. The core calls `at` instead.
        retry_after: seconds after which the same request may succeed.
    """

    status: int = 500
    code: str = "internal_error"
    retryable: bool = False

    def __init__(
        self,
        reason: str | None = None,
        *,
        values: Mapping[str, Value] | None = None,
        code: str | None = None,
        param: str | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.code = code or type(self).code
        self.reason = reason or self.code
        super().__init__(self.reason)
        self.values = dict(values or {})
        self.status = status or type(self).status
        self.retryable = type(self).retryable if retryable is None else retryable
        self.param = param
        self.place: Place = ()
        self.retry_after = retry_after

    def at(self, *place: str | int) -> Self:
        """Say which part of a request is at fault, in terms of no particular API: ("model",), ("image", 1). Each API has its own
        spelling.

        Returns the error itself, to be raised.
        """
        self.place = place
        return self

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """The English message."""
        return message_of(self.reason, self._known_values)

    @property
    def hint(self) -> str:
        """The English hint: what to do about the error."""
        return hint_of(self.reason, self._known_values) or self.usual_hint()

    @property
    def title(self) -> str:
        """What all errors of this code have in common."""
        return message_of(self.code, {})

    @property
    def _known_values(self) -> Mapping[str, Value]:
        field = self.param or ".".join(map(str, self.place))
        return {"field": field.removeprefix("options."), **self.values} if field else self.values

    @classmethod
    def usual_hint(cls) -> str:
        """Return the hint for a reason without its own: that of the class, else of the nearest base class with one."""
        codes = (kind.code for kind in cls.__mro__ if issubclass(kind, GatewayError))
        return next(hint for code in codes if (hint := hint_of(code, {})))

    @classmethod
    def of(cls, error: GatewayError, param: str | None) -> Self:
        """Return the same fault as an error of this class."""
        return cls(error.reason, values=error.values, param=param)


class FileFault(ValueError):
    """A fault in a file that the user chose: the reason and values of the `GatewayError` that it becomes."""

    def __init__(self, reason: str, **values: Value) -> None:
        super().__init__(reason)
        self.reason = reason
        self.values = values

    def __str__(self) -> str:
        return message_of(self.reason, self.values)


class InvalidRequest(GatewayError):
    status = 422
    code = "invalid_request"


class InvalidJSON(InvalidRequest):
    status = 400
    code = "invalid_json"


class InvalidOption(InvalidRequest):
    code = "invalid_option"


class InvalidFormat(InvalidRequest):
    status = 400
    code = "invalid_format"


class InvalidRegion(InvalidRequest):
    status = 400
    code = "invalid_region"


class ConflictingFields(InvalidRequest):
    status = 400
    code = "conflicting_fields"


class InvalidEncoding(InvalidRequest):
    status = 400
    code = "invalid_encoding"


class BodyTooLarge(GatewayError):
    status = 413
    code = "request_too_large"


class HeadersTooLarge(GatewayError):
    status = 431
    code = "headers_too_large"


class BodyTimeout(GatewayError):
    status = 408
    code = "request_timeout"
    retryable = True


class UnsupportedBody(GatewayError):
    status = 415
    code = "unsupported_media_type"


class ContextLengthExceeded(InvalidRequest):
    status = 400
    code = "context_length_exceeded"


class ImageError(GatewayError):
    status = 422
    code = "invalid_image"  # this code and those below come from OpenAI's ResponseErrorCode


class ImageParseError(ImageError):
    code = "image_parse_error"


class InvalidBase64Image(ImageError):
    status = 400
    code = "invalid_base64_image"


class ImageFileTooLarge(ImageError):
    status = 413
    code = "image_file_too_large"


class UnsupportedImageType(ImageError):
    status = 415
    code = "unsupported_image_media_type"


class DownloadFailed(ImageError):
    """The reason is only in the log: it would show clients what is in this network."""

    code = "failed_to_download_image"


class NotFound(GatewayError):
    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class SessionNotFound(NotFound):
    code = "session_not_found"


class TurnNotFound(NotFound):
    code = "turn_not_found"


class ImageNotFound(NotFound):
    code = "image_file_not_found"


class SessionBusy(GatewayError):
    status = 409
    code = "session_busy"
    retryable = True


class AnswerCancelled(GatewayError):
    """The reason says why: `answer_cancelled` (a client stopped it), `client_left` or `answer_abandoned`."""

    status = 409
    code = "answer_cancelled"


class SessionFull(GatewayError):
    status = 413
    code = "session_full"


class StorageFull(GatewayError):
    status = 507
    code = "storage_full"


class StorageFailed(GatewayError):
    status = 500
    code = "storage_failed"


class ModelLacksVision(InvalidRequest):
    code = "model_lacks_vision"


class ModelLacksTools(InvalidRequest):
    code = "model_lacks_tools"


class ModelLacksEmbeddings(InvalidRequest):
    code = "model_lacks_embeddings"


class InvalidModelName(InvalidRequest):
    code = "invalid_model_name"


class CloudModelRefused(InvalidRequest):
    code = "cloud_model_refused"


class InvalidArchive(InvalidRequest):
    code = "invalid_archive"


class ArchiveTooLarge(InvalidArchive):
    status = 413
    code = "archive_too_large"


class InvalidModelfile(InvalidRequest):
    code = "invalid_modelfile"


class ModelfileNamesFiles(InvalidModelfile):
    code = "modelfile_names_files"


class ModelExists(GatewayError):
    status = 409
    code = "model_exists"


class ModelBusy(GatewayError):
    status = 409
    code = "model_busy"
    retryable = True


class OllamaNotUsed(GatewayError):
    status = 409
    code = "ollama_not_used"


class Refused(GatewayError):
    status = 403
    code = "forbidden"


class InvalidApiKey(Refused):
    status = 401
    code = "invalid_api_key"


class HostNotAllowed(Refused):
    code = "host_not_allowed"


class OriginNotAllowed(Refused):
    code = "origin_not_allowed"


class LocalOnly(Refused):
    code = "local_only"


class RegistryNotAllowed(Refused):
    code = "registry_not_allowed"


class FetchingOff(Refused):
    code = "fetching_off"


class Overloaded(GatewayError):
    status = 503
    code = "overloaded"
    retryable = True


class ShuttingDown(GatewayError):
    status = 503
    code = "shutting_down"
    retryable = True


class SessionDeleted(GatewayError):
    status = 409
    code = "session_deleted"


class UpstreamError(GatewayError):
    status = 502
    code = "upstream_error"


class ModelOutOfMemory(UpstreamError):
    code = "model_out_of_memory"


class ModelLoadFailed(UpstreamError):
    code = "model_load_failed"


class UpstreamDisconnected(UpstreamError):
    code = "upstream_disconnected"
    retryable = True


class UpstreamIncomplete(UpstreamError):
    code = "upstream_incomplete"


class UpstreamProtocolError(UpstreamError):
    code = "upstream_protocol_error"


class UpstreamUnavailable(UpstreamError):
    status = 503
    code = "upstream_unavailable"
    retryable = True

    def __init__(self, reason: str | None = None, *, values: Mapping[str, Value] | None = None, retry_after: float | None = 2.0) -> None:
        super().__init__(reason, values=values, retry_after=retry_after)


class UpstreamTimeout(UpstreamError):
    status = 504
    code = "upstream_timeout"
    retryable = True


class RegistryUnavailable(UpstreamError):
    code = "registry_unavailable"
    retryable = True


class DownloadDamaged(UpstreamError):
    code = "download_damaged"
    retryable = True


class OllamaOutdated(UpstreamError):
    code = "ollama_outdated"


class DiskFull(UpstreamError):
    status = 507
    code = "disk_full"
