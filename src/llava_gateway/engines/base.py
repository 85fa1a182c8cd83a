"""The protocol every engine follows, and what it tells of its models.

`ollama.py`, `openai.py` and `embedded.py` are the engines; `pool.py` chooses among them; `upstream.py` is the HTTP they share.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from llava_gateway.chat import Embeddings, EmbedRequest, EngineEvent, EngineRequest, Loading, TextDelta, TokenCount
from llava_gateway.engines.ollama_names import tagged
from llava_gateway.images.facts import VisionFacts
from llava_gateway.options import Options

EngineName: TypeAlias = Literal["ollama", "embedded", "openai"]
ModelKey: TypeAlias = tuple[EngineName, str]
"""An engine, and the name of a model in it."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as an engine lists it. `context_length` is the trained one, `loaded_context` the one it runs with now (None: not loaded).

    `own_context` is the one it asks for itself, `memory_bytes` what it takes while it is loaded, `gpu_bytes` how much of that is in GPU
    memory, `cache_bytes_per_token` what a token of context takes in all slots; all None where the engine doesn't tell.
    `prompt_cache_bytes` is the most that the engine keeps of other conversations in main memory, beside the context.
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

    @property
    def key(self) -> ModelKey:
        """Two engines may have a model of the same name."""
        return self.engine, self.name


def same_name(one: str, other: str) -> bool:
    """Whether two names mean one model: a name without a tag means `:latest`."""
    return tagged(one) == tagged(other)


@dataclass(frozen=True, slots=True)
class Health:
    """`detail` is a sentence for people; it carries no address or path."""

    ok: bool
    version: str = ""
    detail: str = ""


class Engine(Protocol):
    """One model server. All methods raise only `errors.GatewayError`s (and are cancellable at any await)."""

    @property
    def name(self) -> EngineName: ...

    @property
    def slots(self) -> int:
        """How many requests it works on at once; the rest wait in our queue."""

    @property
    def reports_progress(self) -> bool:
        """Whether PromptProgress events come while the prompt is read (the first-token timer is shorter then)."""

    async def start(self) -> None:
        """Make ready what must run before the first request; cheap where nothing must."""

    async def aclose(self) -> None:
        """End every request and whatever was started; safe to call twice."""

    async def health(self) -> Health:
        """Whether it answers now. Never raises, never takes longer than the connect limit plus a second."""

    async def models(self) -> tuple[ModelInfo, ...]:
        """All installed models. Raises UpstreamUnavailable."""

    async def loading(self, request: EngineRequest) -> Loading | None:
        """Loading when this request makes the engine load (or load again) the model; a guess is allowed, an error is not."""

    def last_load_ms(self, model: str) -> float | None:
        """How long the model took to load when it was loaded last; None where that is not known."""

    def unloads_after(self, request: EngineRequest) -> bool:
        """Whether it unloads the model as soon as this request is answered, so that nothing read now is of use later."""

    async def load_model(self, request: EngineRequest) -> None:
        """Load the model as this request needs it, to stay for a while; nothing where it is loaded, or where the engine can't be told
        to."""

    async def images_first(self, request: EngineRequest) -> bool:
        """Whether this model's prompts keep an image before the words that follow it in its message. Learned once for each model, from
        what the engine makes of one of the request's images (it must have one); the model should be loaded."""

    def ignored_options(self, options: Options) -> tuple[str, ...]:
        """Which of the options that are set mean nothing to it, as far as it knows its server by now."""

    async def context_length(self, request: EngineRequest) -> int | None:
        """Tokens of context that this request will have; None where the engine doesn't tell."""

    def ignored_fields(self, request: EngineRequest) -> tuple[str, ...]:
        """Which of `think`, `tool_choice` and `logprobs` mean nothing to it or to this model. Known once it has accepted the request."""

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """A vector for each text. Raises ModelLacksEmbeddings, ContextLengthExceeded where a text is too long, and what `chat` raises."""

    async def count(self, request: EngineRequest) -> TokenCount | None:
        """The tokens of the prompt as the engine itself would count them (its answer's `prompt_tokens`), without any model at work.
        None where it can't be known; an error is not allowed."""

    def chat(self, request: EngineRequest) -> AbstractAsyncContextManager[AsyncIterator[EngineEvent]]:
        """Answer. Entering returns when the engine accepted the request and raises a GatewayError when it did not;
        the iterator ends with exactly one Finish, or raises a GatewayError; leaving closes the upstream at once."""


async def answer_text(engine: Engine, request: EngineRequest) -> str:
    """The whole answer, for questions that nobody watches being answered. Raises what `chat` raises, and what an answer failed of."""
    async with engine.chat(request) as events:
        return "".join([event.text async for event in events if isinstance(event, TextDelta)]).strip()
