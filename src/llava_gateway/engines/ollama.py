"""The Ollama engine: talks to Ollama's native API over HTTP.

The modules beside it share the work: `ollama_models.py` reads facts about models, `ollama_errors.py` reads errors,
`ollama_prompt.py` writes the request, `ollama_counting.py` counts its tokens, `ollama_library.py` pulls, creates and deletes models.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

from llava_gateway.chat import (
    JSON,
    CompletionRequest,
    Embeddings,
    EmbedRequest,
    EngineEvent,
    EngineRequest,
    Finish,
    FinishReason,
    Loading,
    ReasoningDelta,
    TextDelta,
    Timings,
    TokenCount,
    ToolCall,
    Usage,
)
from llava_gateway.engines.base import EngineName, Health, ModelInfo, same_name
from llava_gateway.engines.counting import without_pixels
from llava_gateway.engines.embedding import in_batches, read_vectors
from llava_gateway.engines.http import Response
from llava_gateway.engines.image_order import BEGUN, image_comes_first, samples
from llava_gateway.engines.logprobs import read_logprobs
from llava_gateway.engines.ollama_counting import OllamaCounter
from llava_gateway.engines.ollama_errors import error_from
from llava_gateway.engines.ollama_models import Details, has_pinpoints, model_info, read_details, rows_of, running, whole
from llava_gateway.engines.ollama_names import is_cloud
from llava_gateway.engines.ollama_prompt import chat_body, embed_fields, generate_body, unloads_at_once, wants_placement
from llava_gateway.engines.stops import ended_at
from llava_gateway.engines.tools import has_tool_parts
from llava_gateway.engines.upstream import FROM_US, error_body, get_json, json_object, lines, new_client, post_json, stream
from llava_gateway.errors import GatewayError, ModelNotFound, Overloaded, UpstreamError, UpstreamIncomplete, UpstreamProtocolError
from llava_gateway.images.facts import VisionFacts
from llava_gateway.notes import Note, note
from llava_gateway.options import Options
from llava_gateway.settings import Settings

log = logging.getLogger(__name__)

REAL_LOAD_MS = 50.0
"""A load_duration above this was a load. A model that is already loaded reports 1 to 6 ms."""
SHOWS_AT_ONCE = 8
BUSY_PAUSE = (0.2, 1.0)
"""The least and the most seconds before a request to a busy Ollama is sent again."""


def _old(value: Any) -> dict[str, int]:
    """Return the old value of an option for a note; nothing if Ollama did not report it."""
    return {"old": value} if isinstance(value, int) else {}


class OllamaEngine:
    """A running Ollama at `settings.ollama_url`."""

    name: EngineName = "ollama"
    reports_progress = False

    def __init__(self, settings: Settings) -> None:
        self.slots = settings.ollama_slots
        self._url = settings.ollama_url
        self._within = settings.connect_timeout + 1
        self._fresh_for = settings.engine_poll_interval + 1
        self._client = new_client(connect_timeout=settings.connect_timeout, max_connections=self.slots + SHOWS_AT_ONCE + 8, headers=FROM_US)
        self._details: dict[str, Details] = {}  # by digest
        self._digests: dict[str, str] = {}  # by name
        # Runner options of the last request that Ollama accepted for a model, by name. /api/ps reports neither num_gpu nor num_thread, nor
        # whether a request set the num_ctx.
        self._runners: dict[str, Options] = {}
        self._load_ms: dict[str, float] = {}  # by name
        self._images_first: dict[Details, bool] = {}
        self._continues: dict[Details, bool] = {}
        self._counter = OllamaCounter()
        self._shows_prompts = True  # False once an Ollama has answered with a word instead of the prompt
        self._loaded: list[dict[str, Any]] = []  # rows of /api/ps when `models` last asked
        self._loaded_at = -math.inf

    async def start(self) -> None:
        """Do nothing: the user starts Ollama."""

    async def aclose(self) -> None:
        await self._counter.aclose()
        await self._client.aclose()

    async def health(self) -> Health:
        try:
            answer = await self._get("/api/version")
        except Overloaded:
            raise
        except GatewayError:
            return Health(False, detail="Ollama does not answer.")
        version = answer.get("version")
        return Health(True, version[:40] if isinstance(version, str) else "", "Ollama answers.")

    async def models(self) -> tuple[ModelInfo, ...]:
        """List the installed models in Ollama's order, newest first.

        Asks for details once per digest, so polling costs two small requests. Leaves out cloud models: a question to one would send
        the images off this machine.
        """
        tags, ps = await asyncio.gather(self._get("/api/tags"), self._get("/api/ps"))
        rows = [row for row in rows_of(tags) if not row.get("remote_host") and not is_cloud(row["name"])]
        self._digests = {row["name"]: str(row.get("digest", "")) for row in rows}
        gate = asyncio.Semaphore(SHOWS_AT_ONCE)
        details = await asyncio.gather(*(self._show(row, gate) for row in rows))
        self._details = {digest: self._details[digest] for digest in self._digests.values() if digest in self._details}
        self._loaded, self._loaded_at = rows_of(ps), time.monotonic()
        loaded = {row["name"]: row for row in self._loaded}
        return tuple(model_info(row, known, loaded.get(row["name"])) for row, known in zip(rows, details, strict=True))

    async def loading(self, request: EngineRequest) -> Loading | None:
        """Ask Ollama, unless `models` saw a moment ago that the model is loaded: another request would delay the question."""
        if time.monotonic() - self._loaded_at < self._fresh_for and not self._reload_reason(request, self._loaded):
            return None
        try:
            rows = rows_of(await self._get("/api/ps"))
        except GatewayError:
            return None
        if reason := self._reload_reason(request, rows):
            self._loaded_at = -math.inf  # the last known state is about to change
            return Loading(request.model, reason, self._load_ms.get(request.model))
        return None

    def last_load_ms(self, model: str) -> float | None:
        return self._load_ms.get(model)

    def _reload_reason(self, request: EngineRequest, rows: list[dict[str, Any]]) -> Note | None:
        """Return why Ollama would load the model (again) for this request, given the rows of /api/ps; None if it would not
        (server/sched.go, `needsReload`)."""
        loaded = running(rows, request.model)
        if loaded is None:
            return note("model_not_loaded", model=request.model)
        last = self._runners.get(request.model)
        known = self._details.get(str(loaded.get("digest")))
        wanted, now = request.options.num_ctx, loaded.get("context_length")
        if wanted is not None:
            wanted = known.clamped(wanted) if known else wanted
            if wanted != now:
                return note("option_changed", option="num_ctx", **_old(now), new=wanted)
        elif last and last.num_ctx is not None:
            return note("num_ctx_released", **_old(now))
        layers = request.options.num_gpu
        if layers is not None and layers >= 0 and last and layers != last.num_gpu:
            return note("option_changed", option="num_gpu", **_old(last.num_gpu), new=layers)
        own = (known.num_thread or 0) if known else None
        old, new = (own if given is None else given for given in (last.num_thread if last else None, request.options.num_thread))
        changes = last is not None and old is not None and new is not None and old != new
        return note("option_changed", option="num_thread", **_old(old), new=new or 0) if changes else None

    def unloads_after(self, request: EngineRequest) -> bool:
        return unloads_at_once(request.keep_alive)

    async def load_model(self, request: EngineRequest) -> None:
        """Load the model with a request without messages (server/routes.go, `ChatHandler`).

        Drops a keep_alive of zero, since such a request would only unload the model. Ollama stops the load if this is cancelled.
        """
        keep_alive = None if self.unloads_after(request) else request.keep_alive
        async with self.chat(replace(request, messages=(), renditions={}, keep_alive=keep_alive)) as events:
            async for _ in events:
                pass

    async def unload_model(self, model: str) -> None:
        """Unload the model with a request without a prompt (server/routes.go, `GenerateHandler`)."""
        _check_local(model)
        await post_json(self._client, f"{self._url}/api/generate", {"model": model, "keep_alive": 0, "stream": False}, refused=error_from)

    async def images_first(self, request: EngineRequest) -> bool:
        """Return whether an image stays before the words that follow it.

        If Ollama fills in the template itself, images come before the words of their message, or where we mark their place. If
        llama.cpp fills it in, Ollama shows the prompt of a sample question, which may put the words first.
        """
        known = await self._find_details(request.model)
        if known.places_images:
            return True
        if known not in self._images_first:
            try:
                with_image, bare = [await self._rendered(sample) for sample in samples(request)]
            except GatewayError:
                return False
            self._images_first[known] = image_comes_first(with_image, bare)
        return self._images_first[known]

    async def continues(self, request: EngineRequest) -> bool:
        """Return whether the model's template leaves a last message by the assistant open. Ollama shows the prompt of a sample."""
        try:
            known = await self._find_details(request.model)
            if known not in self._continues:
                sample, placed = await self._suited(replace(request, messages=BEGUN, renditions={}, tools=(), format=None))
                prompt = await self._rendered(sample, placed=placed)
                self._continues[known] = prompt.endswith(BEGUN[-1].text)
        except GatewayError:
            return False
        return self._continues[known]

    async def _rendered(self, request: EngineRequest, *, placed: bool = False) -> str:
        """Return the prompt without answering it (api/types.go, `DebugRenderOnly`); "" from an old Ollama, which answers with one word
        instead."""
        body = json.loads(chat_body(replace(request, options=replace(request.options, num_predict=1)), placed=placed))
        asked = body | {"stream": False, "_debug_render_only": True}
        answer = await get_json(self._client, "POST", f"{self._url}/api/chat", within=self._within, json=asked)
        shown = answer.get("_debug_info") if isinstance(answer, dict) else None
        prompt = shown.get("rendered_template") if isinstance(shown, dict) else None
        self._shows_prompts = isinstance(prompt, str)
        return prompt if isinstance(prompt, str) else ""

    def ignored_options(self, options: Options) -> tuple[str, ...]:
        return ()

    def ignored_fields(self, request: EngineRequest) -> tuple[str, ...]:
        """Return the ignored fields. Ollama has no tool_choice, but for `none` we leave the tools out."""
        known = self._known_details(request.model)
        thought = ("think",) if request.think and known is not None and known.thinking is False else ()
        return (*thought, "tool_choice") if request.tools and request.tool_choice not in ("auto", "none") else thought

    async def context_length(self, request: EngineRequest) -> int | None:
        """Return the num_ctx of the request, else that of the Modelfile, else the one the model is loaded with, unless a request had
        set that.

        Returns None if Ollama will choose (by OLLAMA_CONTEXT_LENGTH or the GPU's memory). It reports its choice only for loaded
        models.
        """
        try:
            known = await self._find_details(request.model)
            if wanted := request.options.num_ctx or known.num_ctx:
                return known.clamped(wanted)
            last = self._runners.get(request.model)
            if last and last.num_ctx is not None:
                return None
            fresh = time.monotonic() - self._loaded_at < self._fresh_for
            row = running(self._loaded if fresh else rows_of(await self._get("/api/ps")), request.model)
        except GatewayError:
            return None
        return whole(row, "context_length") if row else None

    async def count(self, request: EngineRequest) -> TokenCount | None:
        """Count exactly for a loaded model. For a model that would have to be loaded, estimates with its vocabulary."""
        try:
            return await self._count(request)
        except GatewayError as error:
            log.debug("a prompt for %r can't be counted: %s", request.model, error.code)
            return None

    async def _count(self, request: EngineRequest) -> TokenCount | None:
        digest, known = await self._digest(request.model), await self._find_details(request.model)
        request = known.suited(request)
        vocabulary = await self._counter.vocabulary(digest, lambda: self._show_all(request.model))
        if vocabulary is None:
            return None
        row = running(rows_of(await self._get("/api/ps")), request.model)
        if row is None or str(row.get("digest")) != digest or not self._shows_prompts:
            return await self._counter.roughly(digest, vocabulary, request, known.before(request))
        # Send the options it runs with, so that Ollama does not reload the model to show a prompt, and no keep_alive, so that it stays
        # loaded as long as before.
        last = self._runners.get(request.model)
        options = Options(num_ctx=whole(row, "context_length"), num_gpu=-1, num_thread=last.num_thread if last else None)
        asked = replace(without_pixels(request), options=options, keep_alive=None)
        rendered = await self._rendered(asked, placed=wants_placement(request) and known.places_images)
        if not rendered:
            return await self._counter.roughly(digest, vocabulary, request, known.before(request))
        return await self._counter.exactly(digest, vocabulary, request, rendered, known.before(request))

    async def embed(self, request: EmbedRequest) -> Embeddings:
        _check_local(request.model)
        fields = embed_fields(request)

        async def some(texts: Sequence[str]) -> Embeddings:
            body = fields | {"input": list(texts)}
            answer = await post_json(self._client, f"{self._url}/api/embed", body, refused=error_from)
            self._runners[request.model] = request.options.runner
            return Embeddings(read_vectors(answer.get("embeddings"), len(texts)), whole(answer, "prompt_eval_count"))

        return await in_batches(request.texts, some)

    async def _digest(self, model: str) -> str:
        """Return the digest of a model. Raises ModelNotFound."""
        for last_try in (False, True):
            if digest := next((digest for name, digest in self._digests.items() if same_name(name, model)), ""):
                return digest
            if not last_try:
                await self.models()
        raise ModelNotFound().at("model")

    async def _show_all(self, model: str) -> JSON:
        """Return the complete answer of /api/show, with its long lists. Takes a second for a large vocabulary."""
        asked = {"model": model, "verbose": True}
        answer = await get_json(self._client, "POST", f"{self._url}/api/show", within=self._within + 10, json=asked)
        if not isinstance(answer, dict):
            raise UpstreamProtocolError
        return answer

    @asynccontextmanager
    async def chat(self, request: EngineRequest) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        """Answer the request. Entering returns with Ollama's first token, because Ollama sends no headers before it.

        Retries once if Ollama is busy loading other models.
        """
        _check_local(request.model)
        request, placed = await self._suited(request)
        stops = request.options.stop if request.names_stop else None  # Ollama never tells which one ended an answer
        body = chat_body(replace(request, options=replace(request.options, stop=None)) if stops else request, placed=placed)
        for last_try in (False, True):
            async with stream(
                self._client, "POST", f"{self._url}/api/chat", content=body, headers={"Content-Type": "application/json"}
            ) as response:
                error = await _refusal(response)
                if error is None:
                    self._runners[request.model] = request.options.runner
                    events = self._events(response, request)
                    async with aclosing(self._ended_at(events, request, stops) if stops else events) as answer:
                        yield answer
                    return
            if last_try or not isinstance(error, Overloaded):
                raise error
            await asyncio.sleep(random.uniform(*BUSY_PAUSE))  # noqa: S311 (spreads retries, guards nothing)

    async def _ended_at(
        self, events: AsyncGenerator[EngineEvent], request: EngineRequest, stops: Sequence[str]
    ) -> AsyncGenerator[EngineEvent]:
        """Forward the events up to a stop text. An answer that ended there has the prompt's tokens by our own count."""
        async with aclosing(ended_at(events, stops)) as ended:
            async for event in ended:
                if isinstance(event, Finish) and event.stop is not None and (count := await self.count(request)):
                    event = replace(event, usage=replace(event.usage, prompt_tokens=count.total))
                yield event

    @asynccontextmanager
    async def complete(self, request: CompletionRequest) -> AsyncIterator[AsyncIterator[EngineEvent]]:
        _check_local(request.model)
        url, headers = f"{self._url}/api/generate", {"Content-Type": "application/json"}
        async with stream(self._client, "POST", url, content=generate_body(request), headers=headers) as response:
            if error := await _refusal(response):
                raise error
            self._runners[request.model] = request.options.runner
            async with aclosing(self._events(response, request)) as events:
                yield events

    async def _suited(self, request: EngineRequest) -> tuple[EngineRequest, bool]:
        """Return the request without what its model can't take, and whether to mark the places of its images. Raises ModelLacksTools."""
        wants = wants_placement(request)
        special = bool(request.tools or request.think) or has_tool_parts(request)
        if not (wants or special):
            return request, False
        if special:
            await self._digest(request.model)  # so that `ignored_fields` knows the model
        known = await self._find_details(request.model)
        return known.suited(request), wants and known.places_images

    async def _events(self, response: Response, request: EngineRequest | CompletionRequest) -> AsyncGenerator[EngineEvent, None]:
        """Yield the events of the answer. The loop runs for every token, so it parses each line only once and without pydantic models."""
        called = False
        async with aclosing(lines(response)) as answer:
            async for line in answer:
                chunk = json_object(line)
                if "error" in chunk:
                    raise error_from(None, chunk["error"])
                message = {**chunk, "content": chunk["response"]} if "response" in chunk else chunk.get("message")
                if isinstance(message, dict):
                    if thinking := message.get("thinking"):
                        yield ReasoningDelta(_text(thinking))
                    if content := message.get("content"):
                        yield TextDelta(_text(content), read_logprobs(chunk.get("logprobs"), request.logprobs))
                    if calls := message.get("tool_calls"):
                        called = True
                        for call in _tool_calls(calls):
                            yield call
                if chunk.get("done"):
                    yield self._finish(chunk, request.model, called=called)
                    return
        raise UpstreamIncomplete

    def _finish(self, chunk: JSON, model: str, *, called: bool) -> Finish:
        timings = Timings(
            load_ms=_ms(chunk, "load_duration"),
            prompt_ms=_ms(chunk, "prompt_eval_duration"),
            generation_ms=_ms(chunk, "eval_duration"),
        )
        if timings.load_ms is not None and timings.load_ms > REAL_LOAD_MS:
            self._load_ms[model] = timings.load_ms
        usage = Usage(whole(chunk, "prompt_eval_count"), whole(chunk, "eval_count"), whole(chunk, "prompt_eval_cached_count"))
        reason: FinishReason = "length" if chunk.get("done_reason") == "length" else "tool_calls" if called else "stop"
        return Finish(reason, usage, timings)

    async def _find_details(self, model: str) -> Details:
        """Return the details of a model by any of its names. Asks for them if they are unknown."""
        return self._known_details(model) or await self._ask(model)

    def _known_details(self, model: str) -> Details | None:
        return self._details.get(next((digest for name, digest in self._digests.items() if same_name(name, model)), ""))

    async def _show(self, row: Mapping[str, Any], gate: asyncio.Semaphore) -> Details:
        """Return the details for one row of /api/tags.

        A model that Ollama can't describe (a broken file) must not hide the others. Asks for it again next time.
        """
        digest = str(row.get("digest", ""))
        if known := self._details.get(digest):
            return known
        async with gate:
            try:
                known = await self._ask(row["name"])
            except (UpstreamError, ModelNotFound) as error:  # not found: its file is missing, or it was just deleted
                log.warning("Ollama can't describe %r: %s", row["name"], error.code)
                return Details("vision" in (row.get("capabilities") or ()), VisionFacts(), None, False)
        self._details[digest] = known
        return known

    async def _ask(self, model: str) -> Details:
        try:
            answer = await get_json(self._client, "POST", f"{self._url}/api/show", within=self._within, json={"model": model})
            known = read_details(answer)
            if known.facts.pinpoints or not has_pinpoints(answer):
                return known
            return read_details(await self._show_all(model))
        except UpstreamError as error:
            raise (ModelNotFound().at("model") if error.status == 404 else error) from error

    async def _get(self, path: str) -> JSON:
        answer = await get_json(self._client, "GET", self._url + path, within=self._within)
        if not isinstance(answer, dict):
            raise UpstreamProtocolError
        return answer


def _check_local(model: str) -> None:
    """Raise ModelNotFound for a cloud model."""
    if is_cloud(model):
        raise ModelNotFound("cloud_model").at("model")


async def _refusal(response: Response) -> GatewayError | None:
    """Return the error if Ollama rejected the request, else None."""
    if response.status_code != 200:
        return error_from(response.status_code, await error_body(response))
    if "json" not in response.headers.get("content-type", ""):
        return UpstreamProtocolError()
    return None


def _tool_calls(calls: Any) -> list[ToolCall]:
    """Read tool calls. Ollama sends the arguments as an object; ours are JSON text."""
    try:
        return [
            ToolCall(str(call.get("id", "")), str(call["function"]["name"]), json.dumps(call["function"].get("arguments") or {}))
            for call in calls
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise UpstreamProtocolError from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UpstreamProtocolError
    return value


def _ms(values: Mapping[str, Any], key: str) -> float | None:
    """Convert Ollama's nanoseconds to milliseconds."""
    value = whole(values, key)
    return None if value is None else value / 1e6
