"""The protocol that every engine follows, and the facts it reports about its models.

`ollama.py`, `openai.py` and `embedded.py` are the engines; `pool.py` chooses among them; `upstream.py` is the HTTP client they
share.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from llava_gateway.chat import CompletionRequest, Embeddings, EmbedRequest, EngineEvent, EngineRequest, Loading, TextDelta, TokenCount
from llava_gateway.engines.ollama_names import name_key
from llava_gateway.images.facts import VisionFacts
from llava_gateway.options import Options

EngineName: TypeAlias = Literal["ollama", "embedded", "openai"]
ModelKey: TypeAlias = tuple[EngineName, str]
"""An engine, and the name of a model in it."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as an engine lists it. Each field that may be None is None if the engine does not report it.

    Attributes:
        context_length: the trained context, in tokens.
        loaded_context: the context it runs with now; None also if it is not loaded.
        own_context: the context that the model's own configuration asks for.
        memory_bytes: memory it takes while it is loaded. gpu_bytes: the part of that in GPU memory.
        cache_bytes_per_token: memory that a token of context takes in all slots together.
        prompt_cache_bytes: the most main memory that the engine uses for other conversations, besides the context.
        tools, embeds: whether it is known to call tools, and to be made for embeddings. Ollama's models are never asked for this.
        modified: when its file was last changed, in seconds since 1970.
    """

    name: str
    engine: EngineName
    vision: bool
    facts: VisionFacts = VisionFacts()
    context_length: int | None = None
    loaded: bool = False
    loaded_context: int | None = None
    size_bytes: int | None = None
    family: str = ""
    parameters: str = ""
    quantization: str = ""
    own_context: int | None = None
    memory_bytes: int | None = None
    gpu_bytes: int | None = None
    cache_bytes_per_token: int | None = None
    prompt_cache_bytes: int = 0
    tools: bool = False
    embeds: bool = False
    modified: float | None = None

    @property
    def key(self) -> ModelKey:
        """Identifies the model: two engines may have a model of the same name."""
        return self.engine, self.name


def same_name(one: str, other: str) -> bool:
    """Return whether two names mean the same model to Ollama: it ignores case, and knows `llava` as `library/llava:latest` too."""
    return one == other or name_key(one) == name_key(other)


@dataclass(frozen=True, slots=True)
class Health:
    """Whether an engine answers. `detail` is a sentence for people, without addresses or paths. `installed` is
    False if the engine's package is missing."""

    ok: bool
    version: str = ""
    detail: str = ""
    installed: bool = True


class Engine(Protocol):
    """One model server. All methods raise only `errors.GatewayError`s (and are cancellable at any await)."""

    @property
    def name(self) -> EngineName: ...

    @property
    def slots(self) -> int:
        """How many requests the engine works on at once. The rest wait in our queue."""

    @property
    def reports_progress(self) -> bool:
        """Whether PromptProgress events come while the engine reads the prompt (then the first-token timer is shorter)."""

    async def start(self) -> None:
        """Start what must run before the first request, if anything."""

    async def aclose(self) -> None:
        """End every request and everything that was started. Safe to call twice."""

    async def health(self) -> Health:
        """Check whether the engine answers now. Never takes longer than the connect limit plus a second. Raises only Overloaded, if this
        process can open no connection to ask.
        """

    async def models(self) -> tuple[ModelInfo, ...]:
        """List all installed models. Raises UpstreamUnavailable."""

    async def loading(self, request: EngineRequest) -> Loading | None:
        """Return Loading if this request makes the engine load the model (again). May guess; never raises."""

    def last_load_ms(self, model: str) -> float | None:
        """Return how long the last load of the model took, in milliseconds; None if unknown."""

    def unloads_after(self, request: EngineRequest) -> bool:
        """Return whether the engine unloads the model right after this request, so that reading ahead would be wasted."""

    async def load_model(self, request: EngineRequest) -> None:
        """Load the model as this request needs it and keep it loaded for a while. Does nothing if it is loaded, or if the engine has no
        way to load it in advance."""

    async def unload_model(self, model: str) -> None:
        """Free the model's memory once its running answers have ended. Does nothing if it is not loaded, or if the engine has no way to do
        that."""

    async def images_first(self, request: EngineRequest) -> bool:
        """Return whether this model's prompts keep an image before the words that follow it in its message.

        Learned once for each model, from the prompt that the engine makes with one of the request's images. The request must have an
        image; the model should be loaded.
        """

    async def continues(self, request: EngineRequest) -> bool:
        """Return whether the model's words go on right behind a last message by the assistant (a prefill).

        Otherwise the prompt's template closes that message. The model should be loaded. Never raises.
        """

    def ignored_options(self, options: Options) -> tuple[str, ...]:
        """Return the names of the set options that the engine ignores, as far as it knows its server by now."""

    async def context_length(self, request: EngineRequest) -> int | None:
        """Return the context in tokens that this request will have; None if the engine does not report it."""

    def ignored_fields(self, request: EngineRequest) -> tuple[str, ...]:
        """Return which of `think`, `tool_choice` and `logprobs` the engine or the model ignores. Call it after the engine accepted the
        request."""

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Return a vector for each text. Raises ModelLacksEmbeddings, ContextLengthExceeded for a text that is too long, and what
        `chat` raises."""

    async def count(self, request: EngineRequest) -> TokenCount | None:
        """Count the tokens of the prompt as the engine would (its answer's `prompt_tokens`), without running the model.

        Returns None if the engine can't count. Never raises.
        """

    def chat(self, request: EngineRequest) -> AbstractAsyncContextManager[AsyncIterator[EngineEvent]]:
        """Answer the request.

        Entering returns when the engine has accepted the request, and raises a GatewayError when it has rejected it. The iterator
        ends with exactly one Finish, or raises a GatewayError. Leaving closes the connection to the server at once.
        """


@runtime_checkable
class Completing(Protocol):
    """An engine that also takes prompts outside of conversations."""

    def complete(self, request: CompletionRequest) -> AbstractAsyncContextManager[AsyncIterator[EngineEvent]]:
        """Continue a prompt. Behaves like `chat`."""


async def answer_text(engine: Engine, request: EngineRequest) -> str:
    """Return the complete text of an answer, for callers that need no events. Raises what `chat` and its iterator raise."""
    async with engine.chat(request) as events:
        return "".join([event.text async for event in events if isinstance(event, TextDelta)]).strip()
