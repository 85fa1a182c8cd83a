"""Recognises rejections by llama.cpp and its chat templates. Ollama and OpenAI-compatible servers pass on the same words (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from llava_gateway.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    ModelLacksEmbeddings,
    ModelLacksTools,
    UpstreamIncomplete,
)
from llava_gateway.notes import Value

# All are searched in lower-case text.
_NO_EMBEDDINGS = re.compile(r"does not support embedding|not an embedding model|pooling type 'none'")
_NO_TOOLS = re.compile(r"does not support (tool|function)|tool choice requires --enable-auto-tool-choice")  # Ollama's words, and vLLM's
_LOST_IMAGE = "failed to tokenize prompt"
_CALLS_LAST = "cannot continue an assistant message that contains tool calls"
_ODD_CALL = "output that does not match the expected"
# Templates raise these words themselves.
_ROLES = re.compile(r"roles must alternate|system role not supported|only user\b[^.]{0,60}roles are supported")


def refusal(text: str) -> GatewayError | None:
    """Return the error that a server's words (in lower case) mean, whatever the HTTP status; None if the words are unknown."""
    if _NO_EMBEDDINGS.search(text):
        return ModelLacksEmbeddings().at("model")
    if _NO_TOOLS.search(text):
        return ModelLacksTools().at("tools")
    if _ROLES.search(text):
        return InvalidRequest("template_roles").at("messages")
    if _LOST_IMAGE in text:  # the prompt had no marker for it
        return InvalidRequest("template_lost_image").at("messages")
    if _ODD_CALL in text:
        return UpstreamIncomplete("tool_call_unread")
    if _CALLS_LAST in text:
        return InvalidRequest("tool_calls_last").at("messages")
    return None


def text_too_long(figures: Mapping[str, Value]) -> ContextLengthExceeded:
    """Return the error for a text that is too long to embed."""
    return ContextLengthExceeded("text_beyond_context", values=figures).at("input")
