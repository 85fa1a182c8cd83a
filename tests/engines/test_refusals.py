"""Rejections by llama.cpp, its chat templates, Ollama and vLLM, in words captured from them."""

from __future__ import annotations

import json

import pytest

from llava_gateway.engines.ollama_errors import error_from
from llava_gateway.engines.openai_errors import chat_error
from llava_gateway.errors import GatewayError, InvalidRequest, ModelLacksEmbeddings, ModelLacksTools, UpstreamIncomplete
from tests.sample_images import ask, shape

ALTERNATE = "Jinja Exception: Conversation roles must alternate user/assistant/user/assistant/..."
VLLM_TOOLS = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'


@pytest.mark.parametrize(
    ("said", "error", "param"),
    [
        ("registry.ollama.ai/library/demo:latest does not support tools", ModelLacksTools, "tools"),
        (VLLM_TOOLS, ModelLacksTools, "tools"),
        ("This server does not support embeddings. Start it with `--embeddings`", ModelLacksEmbeddings, "model"),
        (ALTERNATE, InvalidRequest, "messages"),
        ("System role not supported", InvalidRequest, "messages"),
        ("Failed to tokenize prompt", InvalidRequest, "messages"),
        ("Cannot continue an assistant message that contains tool calls.", InvalidRequest, "messages"),
        ("The model produced output that does not match the expected peg-native format", UpstreamIncomplete, None),
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_both_kinds_of_engines_read_the_same_words(status: int, said: str, error: type[GatewayError], param: str | None) -> None:
    body = json.dumps({"error": {"code": status, "message": said}}).encode()
    through_ollama = json.dumps({"error": f"llama-server chat error: map[code:{status} message:{said}]"}).encode()
    for found in (chat_error(status, body, ask("Hello", shape("circle", "red"))), error_from(status, through_ollama)):
        assert (type(found), found.place) == (error, (param,) if param else ())


def test_ollama_says_which_model_can_not_think() -> None:
    """Only an old Ollama, which does not list what its models can do, is asked to let such a model think."""
    found = error_from(400, json.dumps({"error": '"demo" does not support thinking'}).encode())
    assert (type(found), found.place) == (InvalidRequest, ("think",))
