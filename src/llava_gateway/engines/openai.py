"""The engine for OpenAI-compatible servers: vLLM, SGLang, llama-server, LM Studio.

Each question is one streamed POST {base_url}/chat/completions. What a server accepts beyond OpenAI's own fields is its `Dialect`
(`openai_prompt.py`), recognised by `owned_by` in GET {base_url}/models.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from llava_gateway.chat import JSON, Embeddings, EmbedRequest, EngineEvent, EngineRequest, Loading, Message, Think, TokenCount
from llava_gateway.engines import upstream
from llava_gateway.engines.base import EngineName, Health, ModelInfo
from llava_gateway.engines.embedding import in_batches
from llava_gateway.engines.http import Response
from llava_gateway.engines.image_order import image_comes_first, samples
from llava_gateway.engines.openai_answer import read_embeddings, read_events
from llava_gateway.engines.openai_counting import LlamaCounter, count_on_vllm
from llava_gateway.engines.openai_errors import cache_is_broken, chat_error, embed_error, server_is_loading
from llava_gateway.engines.openai_prompt import BY_OWNER, LLAMA_CPP, PLAIN, VLLM, Dialect, chat_body, with_one_beginning
from llava_gateway.engines.tools import for_a_model_without_tools
from llava_gateway.errors import (
    GatewayError,
    ModelNotFound,
    Overloaded,
    UpstreamDisconnected,
    UpstreamProtocolError,
)
from llava_gateway.options import Options
from llava_gateway.parts import TextPart
from llava_gateway.settings import Settings

log = logging.getLogger(__name__)

BUSY_PAUSE = 0.5
"""Seconds before a request is sent again to a server that is busy (once) or is still loading its model (until it is loaded)."""

WITHOUT_CACHE = b'{"cache_prompt":false,'


class OpenAIEngine:
    """An OpenAI-compatible server.

    Args:
        base_url: with /v1, as for OpenAI clients.
        api_key: sent as a Bearer token.
        slots: how many requests the server gets at once.
        connect_timeout: in seconds.
        dialect: the dialect of a known server; None detects it.
        fresh_for: seconds for which the list of models is used without asking the server again. The pool asks more often than that.
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
        fresh_for: float = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots = slots
        self._base = base_url.rstrip("/")
        self._given = self._dialect = dialect
        self._connect_timeout = connect_timeout
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
        # More than the slots, for the liveness probe, the list of models and token counts while every slot is in use.
        self._client = upstream.new_client(connect_timeout=connect_timeout, max_connections=slots + 4, headers=headers)
        self._names: frozenset[str] = frozenset()
        self._contexts: dict[str, int | None] = {}  # by model; None if the server does not report it
        self._listed: tuple[ModelInfo, ...] | None = None
        self._listed_at = -math.inf, 0  # time, and number of failures before it
        self._failures = 0
        self._fresh_for = fresh_for
        self._clock = clock
        self._counter = LlamaCounter(self._ask)
        self._images_first: dict[str, bool] = {}  # by model
        self._thinks: dict[tuple[str, bool], bool] = {}  # by model, and by kind of `think`: a boolean or a level
        self._tools = True  # whether llama-server's template has tools
        self.lost = False
        """Whether the server has ever dropped the connection in the middle of an answer."""

    @classmethod
    def from_settings(cls, settings: Settings) -> OpenAIEngine:
        """Make the engine for the setting `openai_base_url`, which must be set."""
        if settings.openai_base_url is None:
            raise ValueError("openai_base_url is not set")
        key = settings.openai_api_key
        return cls(
            settings.openai_base_url,
            api_key=key.get_secret_value() if key else None,
            slots=settings.openai_slots,
            connect_timeout=settings.connect_timeout,
            fresh_for=settings.engine_poll_interval + 1,
        )

    @property
    def reports_progress(self) -> bool:
        return self._dialect is not None and self._dialect.progress

    async def start(self) -> None:
        """Do nothing: someone else runs the server."""

    async def aclose(self) -> None:
        await self._client.aclose()

    async def health(self) -> Health:
        try:
            await self.models()
        except Overloaded:
            raise
        except GatewayError as error:
            return Health(False, detail=error.message)
        return Health(True, version=self._dialect.title if self._dialect else "")

    async def models(self) -> tuple[ModelInfo, ...]:
        """List the models of GET /models. Only llama-server reports whether a model can see; for other servers vision is assumed."""
        asked_at = self._clock(), self._failures
        try:
            found = _Listing.parse(await self._get(f"{self._base}/models"))
            props = await self._ask("/props", None) if found.owner == "llamacpp" else None
            models = found.models if props is None else found.with_props(props)
        except GatewayError:
            self._forget()
            raise
        self._tools = props is None or _has_tools(props)
        if found.models != self._listed:
            self._start_over(found)
        self._contexts = {model.name: model.loaded_context or model.context_length for model in models}
        self._listed_at = asked_at
        return models

    def _start_over(self, found: _Listing) -> None:
        """Drop all that was learned about the previous server: this is another one, or one with other models."""
        self._names, self._listed = found.names, found.models
        if self._given is None and (found.models or self._dialect is None):
            self._dialect = BY_OWNER.get(found.owner, PLAIN)
        self._counter = LlamaCounter(self._ask)
        self._images_first.clear()
        self._thinks.clear()

    def _forget(self) -> None:
        """Mark the list of models as outdated: the server failed or rejected a request, and may have been replaced."""
        self._failures += 1

    @property
    def _fresh(self) -> bool:
        """Whether the list of models is recent enough."""
        when, failures = self._listed_at
        return failures == self._failures and self._clock() - when < self._fresh_for

    async def _get(self, url: str) -> Any:
        return await upstream.get_json(self._client, "GET", url, within=self._connect_timeout + 1)

    async def loading(self, request: EngineRequest) -> Loading | None:
        """Return None: these servers do not report loads, and `chat` waits for them."""
        return None

    def last_load_ms(self, model: str) -> float | None:
        return None  # these servers do not report it

    def unloads_after(self, request: EngineRequest) -> bool:
        return False

    async def load_model(self, request: EngineRequest) -> None:
        """Do nothing: these servers have loaded their model, or load it with the first question."""

    async def unload_model(self, model: str) -> None:
        """Do nothing: these servers have no way to do that."""

    async def images_first(self, request: EngineRequest) -> bool:
        """Return whether an image stays before the words that follow it. llama-server shows the prompt; other servers keep the order,
        as far as we know.
        """
        if await self._learn(request.model) is not LLAMA_CPP:
            return True
        if request.model not in self._images_first:
            try:
                with_image, bare = [await self._rendered(sample) for sample in samples(request)]
            except GatewayError:  # a server may claim to be llama.cpp without its whole API
                return True
            self._images_first[request.model] = image_comes_first(with_image, bare)
        return self._images_first[request.model]

    async def continues(self, request: EngineRequest) -> bool:
        """Return whether the server goes on behind a last message by the assistant: llama-server always does, vLLM and SGLang on request.
        Of the others nothing is known.
        """
        try:
            dialect = await self._learn(request.model)
        except GatewayError:
            return False
        return dialect is LLAMA_CPP or bool(dialect.continues)

    async def _rendered(self, request: EngineRequest) -> str:
        """Return the prompt that the chat template writes, with placeholders for images."""
        return _prompt(await self._ask("/apply-template", chat_body(self._suited(request, LLAMA_CPP), LLAMA_CPP)))

    def ignored_options(self, options: Options) -> tuple[str, ...]:
        """Return the set options that this server has no name for. Certain only after its first answer."""
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
        """Return the request without what the server would reject. Raises ModelLacksTools."""
        request = with_one_beginning(request)
        if dialect is not LLAMA_CPP:
            return request
        if not self._tools:
            request = for_a_model_without_tools(request)
        # llama-server answers "logprobs is not supported with tools + stream" (seen with b11063).
        return replace(request, logprobs=None) if request.tools and request.logprobs is not None else request

    async def _learn_to_think(self, request: EngineRequest) -> None:
        """Learn once for each model whether its template uses `think`: then the prompt changes with it."""
        pair: tuple[Think, Think] = (True, False) if request.think is True else ("low", "high")
        key = (request.model, request.think is True)
        if key not in self._thinks:
            question = EngineRequest(request.model, (Message("user", (TextPart("Hello"),)),))
            try:
                one, other = [await self._rendered(replace(question, think=think)) for think in pair]
            except GatewayError:  # a server may claim to be llama.cpp without its whole API
                return
            self._thinks[key] = one != other

    async def context_length(self, request: EngineRequest) -> int | None:
        """Return the context of a slot of llama-server; for other servers, the one in the list of models: vLLM and SGLang report the
        running context.

        Lists the models again if the list is old or the server failed or rejected a request since: its address may belong to another server
        now. Looks for an unknown model once per list.
        """
        try:
            if not self._fresh:
                await self.models()
            dialect = await self._learn(request.model)
            if dialect is not LLAMA_CPP and request.model not in self._contexts:
                await self.models()
                self._contexts.setdefault(request.model, None)
        except GatewayError:
            return None
        if dialect is LLAMA_CPP:  # it serves one model, under all its names
            return next(iter(self._contexts.values()), None)
        return self._contexts[request.model]

    async def count(self, request: EngineRequest) -> TokenCount | None:
        """Count on llama-server and vLLM. SGLang and LM Studio can't count messages."""
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
        """Call a route outside of OpenAI's own API and return its JSON."""
        url = self._base.removesuffix("/v1") + path
        return await upstream.get_json(self._client, "POST" if body else "GET", url, within=self._connect_timeout + 1, content=body)

    @asynccontextmanager
    async def chat(self, request: EngineRequest, *, load_ms: float | None = None) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        """Answer as `Engine.chat` does; `load_ms` goes into the timings of the Finish."""
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
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise UpstreamProtocolError
            lines = await stack.enter_async_context(aclosing(upstream.lines(response)))
            events = read_events(lines, load_ms=load_ms, failed=self._note, request=request, echoes=dialect is LLAMA_CPP)
            yield await stack.enter_async_context(aclosing(events))

    def _note(self, error: GatewayError) -> None:
        """Record that a chat failed."""
        self._forget()
        self.lost = self.lost or isinstance(error, UpstreamDisconnected)

    async def _learn(self, model: str) -> Dialect:
        """Return the server's dialect. Checks the model's name for llama-server, which would answer with its own model under any name."""
        if self._dialect is None:
            await self.models()
        dialect = self._dialect or PLAIN
        if dialect is LLAMA_CPP and model not in self._names:
            await self.models()
            if model not in self._names:
                raise ModelNotFound().at("model")
        return dialect

    async def _send(self, stack: AsyncExitStack, body: bytes, request: EngineRequest) -> Response:
        """Send the request. Returns the response once the server accepted it; `stack` closes it. Raises the error of `chat_error`."""
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
            self._forget()
            if cache_is_broken(text) and not body.startswith(WITHOUT_CACHE):
                body = WITHOUT_CACHE + body[1:]
                continue
            error = chat_error(response.status_code, text, request)
            tries += not server_is_loading(response.status_code, text)
            if not isinstance(error, Overloaded) or tries > 1:
                raise error
            await asyncio.sleep(BUSY_PAUSE)


def _has_tools(props: JSON) -> bool:
    """Return whether the chat template supports tools. True for an older server, which does not report it."""
    return (props.get("chat_template_caps") or {}).get("supports_tools") is not False


def _prompt(answer: Any) -> str:
    """Return the prompt in the answer of /apply-template."""
    prompt = answer.get("prompt") if isinstance(answer, dict) else None
    if not isinstance(prompt, str):
        raise UpstreamProtocolError
    return prompt


@dataclass(frozen=True, slots=True)
class _Listing:
    """The answer of GET /models (https://platform.openai.com/docs/api-reference/models/list), with what each server adds."""

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
        """Return the models with the facts of llama-server's GET /props: whether its model can see, and its running context."""
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
        # vLLM and SGLang report the running context, llama-server the trained one.
        context_length=row.get("max_model_len") or meta.get("n_ctx_train"),
        size_bytes=meta.get("size"),
        quantization=str(meta.get("ftype") or ""),
    )
