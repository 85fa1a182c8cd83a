"""Why a case of a suite fails without a fault of the gateway: {(suite, pattern in the case's name and its failure): reason}."""

from __future__ import annotations

_MADE_UP = "the case names something that does not exist, which a mock does not check"
_CONTRADICTS = "the case sets every field of the API at once; no server has them all"
REASONS: dict[tuple[str, str], str] = {
    ("openai", "There is no such response"): _MADE_UP,
    ("openai", "nothing to stream"): "a stored response is complete, so it is not streamed again",
    ("openai", "input must be"): "the case asks nothing",
    ("openai", "conversation is not supported"): _CONTRADICTS,
    ("openai", "max_completion_tokens must not be 0"): "0 tokens are no answer",
    ("openai", "dimensions is fixed by the model"): "the model decides how many dimensions a vector has",
    ("openai", r"Embeddings\.test_"): "the client asks for base64, and its strict mode then expects numbers",
    ("openai", r"Completions\.test_\w+_(retrieve|update|list|delete)"): "stored chat completions are not supported; responses are",
    ("openai", r"Models\.test_\w+_delete"): "models are deleted with DELETE /api/delete or /models/{name}",
    ("openai", r"_cancel\["): "there are no responses in the background that could be cancelled",
    ("openai", r"_compact(_with_all_params)?\["): "conversations are not compacted by the server",
    ("anthropic", "container is not supported"): _CONTRADICTS,
    ("anthropic", "claude-mythos-preview"): _MADE_UP,
    ("anthropic", "after_id: No engine has this model"): _MADE_UP,
    ("ollama", "details.format empty"): "the engine of the suites speaks OpenAI's API, which does not tell the format of a model",
    ("ollama", "missing license"): "the engine of the suites speaks OpenAI's API, which does not tell a model's license and template",
    ("ollama", r"^TestVision/.* found in \"There is an image: .* atmosphere\.\""): "the engine of the suites knows nothing about photos",
    ("ollama", "num_ctx must be a whole number from 256"): "128 tokens are no context for images; docs/compatibility.md says so",
}
