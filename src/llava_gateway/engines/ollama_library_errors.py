"""Reads Ollama's messages about downloads: the steps of a pull, and why one failed (pure)."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from llava_gateway.errors import (
    DiskFull,
    DownloadDamaged,
    GatewayError,
    InvalidModelfile,
    InvalidModelName,
    ModelNotFound,
    OllamaOutdated,
    RegistryUnavailable,
    UpstreamError,
)

Step: TypeAlias = Literal["manifest", "download", "verify", "build", "write", "success"]
_STEPS: tuple[tuple[str, Step], ...] = (
    ("pulling manifest", "manifest"),
    ("pulling ", "download"),
    ("verifying ", "verify"),
    ("writing manifest", "write"),
    ("removing ", "write"),
    ("success", "success"),
)
_DISK_FULL = ("no space left on device", "not enough space on the disk", "disk quota exceeded")
# Go says `Get "https://...": why` about a request without an answer.
_NO_NETWORK = (
    'get "http',
    'head "http',
    "max retries exceeded",
    "deadline exceeded",
    "connection reset",
    "unexpected eof",
    "unexpected status",
)


class StillStopping(UpstreamError):
    """The earlier pull of the same file is still being stopped, which ends the new pull too (server/download.go)."""


def step_of(status: str) -> Step:
    """Return the step that a status means."""
    return next((step for words, step in _STEPS if status.startswith(words)), "build")


def error_from(status: int, said: str, *, making: bool) -> GatewayError:
    """Return the error that a rejection means. The registry's own rejections come as an error line with a status in it: `... 412: ...`."""
    words = said.lower()
    if any(needle in words for needle in _DISK_FULL):
        return DiskFull()
    if "newer version of ollama" in words or "requires a newer version" in words:
        return OllamaOutdated()
    if "context canceled" in words:
        return StillStopping("pull_still_stopping", retryable=True)
    if "digest mismatch" in words:
        return DownloadDamaged()
    if "invalid model name" in words:
        return InvalidModelName().at("model")
    if any(needle in words for needle in _NO_NETWORK):
        return RegistryUnavailable()
    if status == 404 or "file does not exist" in words or "not found" in words:
        return ModelNotFound("model_not_in_library").at("model")
    if refused := re.search(r"pull model manifest: (\d)\d\d: |(unauthorized)", words):
        if refused[1] == "5":
            return RegistryUnavailable()
        return ModelNotFound("model_withheld").at("model")
    if making and status == 400:
        return InvalidModelfile("modelfile_template" if "template" in words else "modelfile_not_taken").at("modelfile")
    return UpstreamError("ollama_failed")
