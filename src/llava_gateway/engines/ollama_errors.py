"""Reads Ollama's errors: JSON, JSON inside JSON from the llama.cpp server behind it, or plain text (pure)."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from llava_gateway.engines.llama_errors import refusal, text_too_long
from llava_gateway.errors import (
    ContextLengthExceeded,
    GatewayError,
    ImageParseError,
    InvalidOption,
    InvalidRequest,
    ModelLacksVision,
    ModelLoadFailed,
    ModelNotFound,
    ModelOutOfMemory,
    Overloaded,
    UpstreamError,
    UpstreamIncomplete,
    UpstreamProtocolError,
)

log = logging.getLogger(__name__)

# These words are Ollama's own (llm/status.go, `outOfMemorySubstrings`), plus the rejection by its scheduler.
_OUT_OF_MEMORY = (
    "requires more system memory",
    "out of memory",
    "out of device memory",
    "cudamalloc failed",
    "hipmalloc failed",
    "failed to allocate",
    "allocation failed",
    "not enough memory",
    "insufficient memory",
    "vk_error_out_of_device_memory",
    "erroroutofmemory",
)
_NO_VISION = ("does not support multimodal", "image input is not supported")
_TEXT_TOO_LONG = ("input length exceeds the context length", "exceeds maximum context length", "is too large to process")
_BAD_IMAGE = ("failed to load image", "decode webp image", "unable to load image")
_BAD_FORMAT = ("json schema conversion failed", "failed to parse grammar", "invalid format:")
_LOAD_FAILED = ("llama-server process has terminated", "llama runner process has terminated", "error loading model", "unable to load model")
_CRASHED = ("model runner has unexpectedly stopped", "error was encountered while running the model")
BUSY_RETRY_AFTER = 5.0


def error_from(status: int | None, body: bytes | Any) -> GatewayError:
    """Return the error that Ollama's answer means. Ollama's words go to the log and no further.

    Args:
        status: HTTP status; None for an error line in the middle of a stream, whose status is 200.
        body: the answer's body, or the value of "error" in an error line.
    """
    if isinstance(body, bytes):
        # Not from Ollama: a proxy's page, or another server on its port.
        if status is None or status < 400 or (said := _error_member(body)) is None:
            log.warning("not a response of Ollama: status %s, %.200r", status, body[:200])
            return UpstreamProtocolError()
    else:
        said = body
    inner = _error_member(said) if isinstance(said, str) else None
    detail = inner if isinstance(inner, dict) else said if isinstance(said, dict) else {}
    words = said if isinstance(said, str) else json.dumps(said)
    log.warning("Ollama rejected a request: status %s, %.500r", status, words)
    return _meaning(status, detail, words.lower())


def _meaning(status: int | None, detail: dict[str, Any], words: str) -> GatewayError:
    if detail.get("type") == "exceed_context_size_error":
        counts = {key: detail[key] for key in ("n_prompt_tokens", "n_ctx") if isinstance(detail.get(key), int)}
        return ContextLengthExceeded(values=counts)
    if status == 503:
        return Overloaded("ollama_loading", retry_after=BUSY_RETRY_AFTER)
    if _any_of(_OUT_OF_MEMORY, words):
        return ModelOutOfMemory()
    if _any_of(_NO_VISION, words):
        return ModelLacksVision().at("model")
    if _any_of(_TEXT_TOO_LONG, words):
        return text_too_long({})
    if refused := refusal(words):
        return refused
    if "does not support insert" in words:
        return InvalidRequest("model_lacks_insert").at("suffix")
    if gone := re.match(r"(\w+) is no longer supported", words):
        return InvalidOption("option_gone", values={"option": gone[1]}).at("options", gone[1])
    if "does not support thinking" in words:
        return InvalidRequest("model_lacks_thinking").at("think")
    if _any_of(_BAD_IMAGE, words):
        return ImageParseError("image_not_read")
    if _any_of(_BAD_FORMAT, words):
        return InvalidRequest("format_not_followed").at("format")
    if "does not support chat" in words:
        return InvalidRequest("model_cannot_chat").at("model")
    if "token repeat limit" in words:
        return UpstreamIncomplete("answer_repeats")
    if _any_of(_LOAD_FAILED, words):
        return ModelLoadFailed()
    if "chunk not found" in words:  # see ollama_prompt.py
        return UpstreamError("prompt_cache_broken")
    if _any_of(_CRASHED, words):
        return UpstreamError("model_process_ended")
    if status == 404 or (status == 400 and "invalid model name" in words):
        return ModelNotFound().at("model")
    return UpstreamError()


def _any_of(needles: tuple[str, ...], words: str) -> bool:
    return any(needle in words for needle in needles)


def _error_member(text: bytes | str) -> Any:
    """Return the value of "error" in a JSON object; None if `text` is no JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value.get("error") if isinstance(value, dict) else None
