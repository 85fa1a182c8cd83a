"""Turns the errors of OpenAI-compatible servers into ours.

Their bodies differ (llama-server: {"error": {"code", "message", "type", ...}}; vLLM before 0.9: {"object": "error", "message",
...}), and so do their words. All known ones are listed here once. Their words go no further.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from llava_gateway.chat import EngineRequest
from llava_gateway.engines.llama_errors import refusal, text_too_long
from llava_gateway.errors import (
    ContextLengthExceeded,
    GatewayError,
    ImageParseError,
    InvalidOption,
    ModelLacksEmbeddings,
    ModelLacksVision,
    ModelNotFound,
    ModelOutOfMemory,
    Overloaded,
    UpstreamError,
    UpstreamTimeout,
)

# All are searched in lower-case text.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|insufficient memory|failed to allocate|unable to fit|bad_alloc|outofdevicememory|more system memory"
)
_TOO_LONG = re.compile(
    r"is too large to process|context (length|size|window)|context the overflows|maximum (prompt|input) length|too many tokens"
)
_TOO_LONG_KINDS = ("exceed_context_size_error", "context_length_exceeded")
_N_CTX = re.compile(r"(?:context (?:length|size|window)(?: is| of)?|maximum)\D{0,3}(\d+)")
_N_PROMPT = re.compile(r"(?:input|request|prompt|resulted in|contains at least|requested)\s*\(?([1-9]\d*)")
_NO_VISION = re.compile(r"image input is not supported|not (a )?multimodal|at most 0 image|does not support (image|multimodal|vision)")
_BAD_IMAGE = re.compile(r"(fail|unable|cannot|could not|error|invalid).{0,40}\bimage|\bimage.{0,40}(invalid|corrupt|truncated)")
_NO_MODEL = re.compile(r"\bmodel\b.{0,200}(not found|does not exist|not exist)", re.DOTALL)


def out_of_memory(text: str) -> bool:
    """Return whether llama.cpp, CUDA, Vulkan or the C++ runtime says in `text` that memory ran out."""
    return _OUT_OF_MEMORY.search(text.lower()) is not None


def server_is_loading(status: int, body: bytes) -> bool:
    """Return whether llama-server says that it is still loading its model."""
    return status == 503 and b"loading model" in body.lower()


def cache_is_broken(body: bytes) -> bool:
    """Return whether llama-server says that it can't continue its cached prompt.

    It says so if a prompt differs from the previous one between two adjacent images, and then for every such prompt until one is
    read without the cache (tools/server/server-common.cpp, `keep_first`; seen with b11063).
    """
    return b"Chunk not found" in body


def chat_error(status: int, body: bytes, request: EngineRequest | None) -> GatewayError:
    """Return the error for a rejected request, or (`request` None) for an answer that broke off."""
    said = _ErrorBody.parse(body)
    text = said.message.lower()
    if said.kind in _TOO_LONG_KINDS or (status in (400, 413, 422, 500) and _TOO_LONG.search(text)):
        return ContextLengthExceeded(values=said.figures())
    if out_of_memory(text):
        return ModelOutOfMemory()
    if _NO_VISION.search(text):
        return ModelLacksVision().at("model")
    if refused := refusal(text):
        return refused
    if status == 404 or _NO_MODEL.search(text):
        return ModelNotFound().at("model")
    if status in (401, 403):
        return UpstreamError("key_refused")
    if status in (429, 503):
        return Overloaded("engine_busy", retry_after=5)
    if status in (408, 504):
        return UpstreamTimeout()
    if status in (400, 422) and request is not None:
        return _refused(text, request)
    return UpstreamError()


def embed_error(status: int, body: bytes) -> GatewayError:
    """Return the error for texts that could not be embedded."""
    text = _ErrorBody.parse(body).message.lower()
    if status == 501 or (status in (404, 405) and not _NO_MODEL.search(text)):
        return ModelLacksEmbeddings().at("model")
    error = chat_error(status, body, None)
    if isinstance(error, ContextLengthExceeded):
        return text_too_long(error.values)
    return error


def _refused(text: str, request: EngineRequest) -> GatewayError:
    """Return the error for a request that the server calls invalid, although it passed our own checks."""
    if request.renditions and _BAD_IMAGE.search(text):
        return ImageParseError("image_not_read")
    if isinstance(request.format, dict):
        return InvalidOption("schema_not_followed").at("format")
    return UpstreamError("request_refused")


@dataclass(frozen=True, slots=True)
class _ErrorBody:
    """An error's body: its message, its kind, and the token counts if the context was exceeded."""

    message: str = ""
    kind: str = ""
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None

    @classmethod
    def parse(cls, body: bytes) -> _ErrorBody:
        try:
            found = json.loads(body)
        except ValueError:
            return cls(body.decode("utf-8", "replace"))
        error = found.get("error", found) if isinstance(found, dict) else found
        if not isinstance(error, dict):
            return cls(str(error))
        kind = error.get("code") if isinstance(error.get("code"), str) else error.get("type")
        return cls(str(error.get("message") or ""), str(kind or ""), _whole(error.get("n_prompt_tokens")), _whole(error.get("n_ctx")))

    def figures(self) -> dict[str, int]:
        """Return n_prompt_tokens and n_ctx, if the server reports them."""
        prompt = self.n_prompt_tokens or _figure(_N_PROMPT, self.message.lower())
        context = self.n_ctx or _figure(_N_CTX, self.message.lower())
        return {name: value for name, value in (("n_prompt_tokens", prompt), ("n_ctx", context)) if value}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _figure(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return int(match[1]) if match else None
