"""The engine that speaks to an OpenAI-compatible server: vLLM, SGLang, llama-server, LM Studio.

One request is one POST {base_url}/chat/completions, streamed. What a server takes beyond OpenAI's own fields is its `Dialect`
(`openai_prompt.py`), learned from `owned_by` in GET {base_url}/models.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from llava_gateway.chat import (
    JSON,
    Embeddings,
    EmbedRequest,
    EngineEvent,
    EngineRequest,
    Loading,
    Message,
    TextPart,
    Think,
    TokenCount,
)
from llava_gateway.engines import upstream
from llava_gateway.engines.base import EngineName, Health, ModelInfo
from llava_gateway.engines.embedding import in_batches
from llava_gateway.engines.openai_answer import read_embeddings, read_events
from llava_gateway.engines.openai_counting import LlamaCounter, count_on_vllm
from llava_gateway.engines.openai_errors import cache_is_broken, chat_error, embed_error, server_is_loading
from llava_gateway.engines.openai_prompt import BY_OWNER, LLAMA_CPP, PLAIN, VLLM, Dialect, chat_body, with_one_beginning
from llava_gateway.engines.placing import image_comes_first, samples
from llava_gateway.engines.tools import for_a_model_without_tools
from llava_gateway.errors import (
    GatewayError,
    ModelNotFound,
    Overloaded,
    UpstreamDisconnected,
    UpstreamProtocolError,
)
from llava_gateway.options import Options
from llava_gateway.settings import Settings

log = logging.getLogger(__name__)

BUSY_PAUSE = 0.5
"""Seconds before a request is sent again to a server that is busy (once) or still loads its model (until it has)."""

WITHOUT_CACHE = b'{"cache_prompt":false,'


class OpenAIEngine:
    """Args:
    base_url: with /v1, as OpenAI clients are given it.
    api_key: sent as a Bearer token.
    slots: how many requests are given to the server at once.
    connect_timeout: seconds.
    dialect: what the server is known to be; None: learned from it.
    """

    name: EngineName = "openai"

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        slots: int = 8,
        connect_timeout: float = 2,
        dialect: Dialect | None = None,
    ) -> None:
        self.slots = slots
        self._base = base_url.rstrip("/")
        self._dialect = dialect
        self._connect_timeout = connect_timeout
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
        # More than there are slots: health and models are asked, and prompts counted, while every slot is taken.
        self._client = upstream.new_client(connect_timeout=connect_timeout, max_connections=slots + 4, headers=headers)
        self._names: frozenset[str] = frozenset()
        self._contexts: dict[str, int] = {}  # by model
        self._counter = LlamaCounter(self._ask)
        self._images_first: dict[str, bool] = {}  # by model
        self._thinks: dict[tuple[str, bool], bool] = {}  # by model, and whether it is only whether to think
        self._tools = True  # whether llama-server's template has tools
        self.lost = False
        """Whether the server has ever hung up in the middle of an answer."""

    @classmethod
    def from_settings(cls, settings: Settings) -> OpenAIEngine:
        """The engine that `openai_base_url` (which must be set) names."""
        if settings.openai_base_url is None:
            raise ValueError("openai_base_url is not set")
        key = settings.openai_api_key
        return cls(
            settings.openai_base_url,
            api_key=key.get_secret_value() if key else None,
            slots=settings.openai_slots,
            connect_timeout=settings.connect_timeout,
        )

    @property
    def reports_progress(self) -> bool:
        return self._dialect is not None and self._dialect.progress

    async def start(self) -> None:
        """Nothing to start: the server is somebody else's."""

    async def aclose(self) -> None:
        await self._client.aclose()

    async def health(self) -> Health:
        try:
            await self.models()
        except GatewayError as error:
            return Health(False, detail=error.message)
        return Health(True, version=self._dialect.title if self._dialect else "")

    async def models(self) -> tuple[ModelInfo, ...]:
        """What GET /models lists. Whether a model can see is told by llama-server alone; elsewhere vision is assumed."""
        found = _Listing.parse(await self._get(f"{self._base}/models"))
        self._names = found.names
        if self._dialect is None:
            self._dialect = BY_OWNER.get(found.owner, PLAIN)
        models = found.models
        if found.owner == "llamacpp":
            props = await self._ask("/props", None)
            models, self._tools = found.with_props(props), _has_tools(props)
        self._contexts = {model.name: context for model in models if (context := model.loaded_context or model.context_length)}
        return models

    async def _get(self, url: str) -> Any:
        return await upstream.get_json(self._client, "GET", url, within=self._connect_timeout + 1)

    async def loading(self, request: EngineRequest) -> Loading | None:
        """None: when such a server loads a model it keeps that to itself; `chat` waits for it."""
        return None

    def last_load_ms(self, model: str) -> float | None:
        return None  # no such server tells

    def unloads_after(self, request: EngineRequest) -> bool:
        return False

    async def load_model(self, request: EngineRequest) -> None:
        """Nothing: what such a server serves it has loaded, or loads with the first question."""

    async def images_first(self, request: EngineRequest) -> bool:
        """llama-server shows what it makes of a question; elsewhere parts keep their order, as far as we know."""
        if await self._learn(request.model) is not LLAMA_CPP:
            return True
        if request.model not in self._images_first:
            try:
                with_image, bare = [await self._rendered(sample) for sample in samples(request)]
            except GatewayError:  # not every server that calls itself llama.cpp has the whole API
                return True
            self._images_first[request.model] = image_comes_first(with_image, bare)
        return self._images_first[request.model]

    async def _rendered(self, request: EngineRequest) -> str:
        """The prompt as the chat template writes it, with placeholders for images."""
        return _prompt(await self._ask("/apply-template", chat_body(self._suited(request, LLAMA_CPP), LLAMA_CPP)))

    def ignored_options(self, options: Options) -> tuple[str, ...]:
        """Which of the options that are set this server has no name for; known for sure after its first answer."""
        known = (self._dialect or PLAIN).options
        return tuple(name for name in options.given() if name not in known)

    def ignored_fields(self, request: EngineRequest) -> tuple[str, ...]:
        dialect = self._dialect or PLAIN
        ignored = []
        if isinstance(request.think, bool) and not dialect.template_arguments:
            ignored.append("think")
        if dialect is LLAMA_CPP:
            if request.think and not self._thinks.get((request.model, isinstance(request.think, bool)), True):
                ignored.append("think")
            if request.tools and request.logprobs is not None:
                ignored.append("logprobs")
        return tuple(ignored)

    def _suited(self, request: EngineRequest, dialect: Dialect) -> EngineRequest:
        """The request without what the server would refuse. Raises ModelLacksTools."""
        request = with_one_beginning(request)
        if dialect is not LLAMA_CPP:
            return request
        if not self._tools:
            request = for_a_model_without_tools(request)
        # Refused: "logprobs is not supported with tools + stream" (seen with b11063).
        return replace(request, logprobs=None) if request.tools and request.logprobs is not None else request

    async def _learn_to_think(self, request: EngineRequest) -> None:
        """Learns once for each model whether its template heeds `think`: the prompt is another one then."""
        pair: tuple[Think, Think] = (True, False) if request.think is True else ("low", "high")
        key = (request.model, request.think is True)
        if key not in self._thinks:
            question = EngineRequest(request.model, (Message("user", (TextPart("Hello"),)),))
            try:
                one, other = [await self._rendered(replace(question, think=think)) for think in pair]
            except GatewayError:  # not every server that calls itself llama.cpp has the whole API
                return
            self._thinks[key] = one != other

    async def context_length(self, request: EngineRequest) -> int | None:
        """What llama-server gives each of its slots; elsewhere what the list of models says: vLLM and SGLang tell what they run with."""
        try:
            dialect = await self._learn(request.model)
            if request.model not in self._contexts:
                await self.models()
        except GatewayError:
            return None
        if dialect is LLAMA_CPP:  # which serves one model, by any of its names
            return next(iter(self._contexts.values()), None)
        return self._contexts.get(request.model)

    async def count(self, request: EngineRequest) -> TokenCount | None:
        """Known of llama-server and vLLM; SGLang and LM Studio count no messages."""
        try:
            dialect = await self._learn(request.model)
            request = self._suited(request, dialect)
            if dialect is LLAMA_CPP:
                return await self._counter.count(request)
            return await count_on_vllm(request, self._ask) if dialect is VLLM else None
        except GatewayError as error:
            log.debug("the server did not count a prompt: %s", error.code)
            return None

    async def embed(self, request: EmbedRequest) -> Embeddings:
        await self._learn(request.model)

        async def some(texts: Sequence[str]) -> Embeddings:
            body = {"model": request.model, "input": list(texts), "encoding_format": "float"}
            answer = await upstream.post_json(self._client, f"{self._base}/embeddings", body, refused=embed_error)
            return read_embeddings(answer, len(texts))

        return await in_batches(request.texts, some)

    async def _ask(self, path: str, body: bytes | None) -> Any:
        """What the server says outside of OpenAI's own API."""
        url = self._base.removesuffix("/v1") + path
        return await upstream.get_json(self._client, "POST" if body else "GET", url, within=self._connect_timeout + 1, content=body)

    @asynccontextmanager
    async def chat(self, request: EngineRequest, *, load_ms: float | None = None) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        """As `Engine.chat`; `load_ms` goes into the timings of the Finish."""
        dialect = await self._learn(request.model)
        request = self._suited(request, dialect)
        if request.think and dialect is LLAMA_CPP:
            await self._learn_to_think(request)
        body = chat_body(request, dialect)
        async with AsyncExitStack() as stack:
            try:
                response = await self._send(stack, body, request)
            except GatewayError as error:
                self._note(error)
                raise
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise UpstreamProtocolError
            lines = await stack.enter_async_context(aclosing(upstream.lines(response)))
            events = read_events(lines, load_ms=load_ms, failed=self._note, request=request, echoes=dialect is LLAMA_CPP)
            yield await stack.enter_async_context(aclosing(events))

    def _note(self, error: GatewayError) -> None:
        self.lost = self.lost or isinstance(error, UpstreamDisconnected)

    async def _learn(self, model: str) -> Dialect:
        """The server's dialect. A llama-server answers with what it has, whatever name is asked for: so the name is checked here."""
        if self._dialect is None:
            await self.models()
        dialect = self._dialect or PLAIN
        if dialect is LLAMA_CPP and model not in self._names:
            await self.models()
            if model not in self._names:
                raise ModelNotFound().at("model")
        return dialect

    async def _send(self, stack: AsyncExitStack, body: bytes, request: EngineRequest) -> httpx2.Response:
        """The response once the server accepted the request; `stack` closes it. Raises what `chat_error` says."""
        tries = 0
        while True:
            attempt = AsyncExitStack()
            async with attempt:
                response = await attempt.enter_async_context(
                    upstream.stream(
                        self._client,
                        "POST",
                        f"{self._base}/chat/completions",
                        content=body,
                        headers={"Content-Type": "application/json"},
                    )
                )
                if response.status_code == 200:
                    stack.push_async_exit(attempt.pop_all())
                    return response
                text = await upstream.error_body(response)
            log.warning("the server refused a request with %d: %.200r", response.status_code, text)
            if cache_is_broken(text) and not body.startswith(WITHOUT_CACHE):
                body = WITHOUT_CACHE + body[1:]
                continue
            error = chat_error(response.status_code, text, request)
            tries += not server_is_loading(response.status_code, text)
            if not isinstance(error, Overloaded) or tries > 1:
                raise error
            await asyncio.sleep(BUSY_PAUSE)


def _has_tools(props: JSON) -> bool:
    """Whether the chat template has tools; an older server does not tell."""
    return (props.get("chat_template_caps") or {}).get("supports_tools") is not False


def _prompt(answer: Any) -> str:
    """What /apply-template answers."""
    prompt = answer.get("prompt") if isinstance(answer, dict) else None
    if not isinstance(prompt, str):
        raise UpstreamProtocolError
    return prompt


@dataclass(frozen=True, slots=True)
class _Listing:
    """GET /models: https://platform.openai.com/docs/api-reference/models/list, with what each server adds."""

    owner: str
    names: frozenset[str]
    models: tuple[ModelInfo, ...]

    @classmethod
    def parse(cls, listing: Any) -> _Listing:
        try:
            rows = listing["data"]
            names = {row["id"] for row in rows} | {alias for row in rows for alias in row.get("aliases") or ()}
            models = tuple(_model(row) for row in rows)
            return cls(str(rows[0].get("owned_by") or "") if rows else "", frozenset(names), models)
        except (TypeError, KeyError, AttributeError) as error:
            raise UpstreamProtocolError from error

    def with_props(self, props: Any) -> tuple[ModelInfo, ...]:
        """What llama-server's GET /props adds: whether its model can see, and the context it runs with."""
        try:
            vision = bool(props["modalities"]["vision"])
            context = props["default_generation_settings"]["n_ctx"]
        except (TypeError, KeyError) as error:
            raise UpstreamProtocolError from error
        return tuple(replace(model, vision=vision, loaded=True, loaded_context=context) for model in self.models)


def _model(row: JSON) -> ModelInfo:
    meta = row.get("meta") or {}
    return ModelInfo(
        name=str(row["id"]),
        engine="openai",
        vision=True,
        # vLLM and SGLang tell the context they run with, llama-server the trained one.
        context_length=row.get("max_model_len") or meta.get("n_ctx_train"),
        size_bytes=meta.get("size"),
        quantization=str(meta.get("ftype") or ""),
    )
