"""Reads ahead: an idle engine may already read the beginning of the next prompt, above all its images.

The question is not known yet, so the engine gets the conversation and the images with other words after them, and answers with one
token (0 would mean no limit to Ollama). Its prompt cache then holds everything up to the end of the last image.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from llava_gateway.chat import EngineRequest, Finish, PromptProgress, Usage
from llava_gateway.engines.base import Engine, EngineName
from llava_gateway.errors import GatewayError, SessionDeleted, ShuttingDown, UpstreamIncomplete, UpstreamTimeout
from llava_gateway.gateway.calibration import Calibration
from llava_gateway.gateway.prompt import Prompt, PromptBuilder
from llava_gateway.gateway.queue import EngineQueue
from llava_gateway.notes import note
from llava_gateway.parts import ImagePart, Part
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry

LAST_WORD_LIMIT = 1.0
"""Seconds that a shutdown waits for the end of a one-token answer."""
Status: TypeAlias = Literal["reading", "read", "skipped", "busy", "preempted"]
"""reading: it has begun; read: the engine has read the prompt; skipped: there would be no gain; busy: the engine had no time;
preempted: it was stopped, and the engine keeps what it had read until then."""


@dataclass(frozen=True, slots=True)
class ReadAheadResult:
    """The outcome of reading ahead.

    Attributes:
        reason: a code that says why nothing was read; "" if it was read.
        usage: tokens as the engine counted them, including the words in place of the question.
        ms: how long it took, in milliseconds.
    """

    status: Status
    reason: str = ""
    model: str = ""
    engine: str = ""
    usage: Usage = Usage()
    ms: float | None = None

    @property
    def message(self) -> str:
        """The reason as a sentence; "" if there is none."""
        return note(f"read_ahead_{self.reason}").text if self.reason else ""


OFF = ReadAheadResult("skipped", "off")
NOTHING = ReadAheadResult("skipped", "nothing_to_read")
TEXT_FIRST = ReadAheadResult("skipped", "text_first")
UNLOADED = ReadAheadResult("skipped", "unloaded")
SESSION_BUSY = ReadAheadResult("busy", "session_busy")
ANSWERING = ReadAheadResult("busy", "answering")
QUESTION = ReadAheadResult("preempted", "question")
NEWER = ReadAheadResult("preempted", "newer")


@dataclass(slots=True, eq=False)
class _Reading:
    """A read-ahead in progress.

    Attributes:
        anew: builds the prompt again.
        key: identifies the prompt, so that two requests for the same prompt share one read-ahead.
        sessions: the ids of the sessions that it serves; None stands for clients without a session.
        ending: why it was stopped, or None.
        answered: whether the engine has begun to answer.
    """

    prompt: Prompt
    anew: Callable[[], Awaitable[Prompt]]
    request: EngineRequest = field(init=False)
    key: Hashable = field(init=False)
    sessions: set[str | None] = field(default_factory=set)
    task: asyncio.Task[ReadAheadResult] | None = None
    ending: ReadAheadResult | GatewayError | None = None
    answered: bool = False

    def __post_init__(self) -> None:
        self.request = read_ahead_request(self.prompt.engine_request)
        self.key = prompt_key(self.request)

    async def prepare_again(self) -> None:
        """Build the prompt again, with what is known now that the model is loaded: its context, and whether it is on a GPU."""
        self.prompt = await self.anew()
        self.__post_init__()

    def end(self, ending: ReadAheadResult | GatewayError) -> None:
        """Stop it, unless only the end of its one-token answer is missing.

        That end takes no time, and Ollama may lose a slot if its client disconnects between two tokens.
        """
        if self.task is not None and self.ending is None and not self.answered:
            self.ending = ending
            # Not at once: a task that is cancelled before its first step never runs its error handlers.
            asyncio.get_running_loop().call_soon(self.task.cancel)


class ReadAhead:
    """Runs read-aheads, at most one prompt per engine at a time. A newer prompt stops an older one.

    Args:
        settings: read_ahead, limits.
        prompt_builder: builds the prompts.
        calibration: learns from what the engine counted.
        queues: give questions priority.
        telemetry: the metrics.
    """

    def __init__(
        self,
        settings: Settings,
        prompt_builder: PromptBuilder,
        calibration: Calibration,
        queues: dict[EngineName, EngineQueue],
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._prompt_builder = prompt_builder
        self._calibration = calibration
        self._queues = queues
        self._telemetry = telemetry
        self._newest: dict[EngineName, _Reading] = {}
        self._locks: dict[EngineName, asyncio.Lock] = {name: asyncio.Lock() for name in queues}
        self._loads: dict[Hashable, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[ReadAheadResult]] = set()
        self._closed = False

    async def read(self, prompt: Prompt, session_id: str | None, anew: Callable[[], Awaitable[Prompt]], *, wait: bool) -> ReadAheadResult:
        """Read the prompt ahead, or join a read-ahead of the same prompt. Without `wait`, returns when it has begun.

        Args:
            anew: builds the prompt again if the model must be loaded first.

        Raises what the engine raises, SessionDeleted, ShuttingDown.
        """
        if self._closed:
            raise ShuttingDown
        wanted = _Reading(prompt, anew)
        request, name = wanted.request, prompt.model.engine
        if len(request.messages) == 1 and not request.renditions:
            return self.not_started(NOTHING, prompt)
        if self._prompt_builder.pool.engine(name).unloads_after(request):
            return self.not_started(UNLOADED, prompt)
        reading = self._newest.get(name)
        if reading is None and self._queues[name].active:
            return self.not_started(ANSWERING, prompt)
        if reading is None or reading.key != wanted.key or reading.ending is not None:
            if reading is not None:
                reading.end(NEWER)
            reading = self._newest[name] = wanted
            reading.task = asyncio.create_task(self._run(reading))
            self._tasks.add(reading.task)
            reading.task.add_done_callback(self._tasks.discard)
            reading.task.add_done_callback(_no_news)
        reading.sessions.add(session_id)
        if not wait or reading.task is None:
            return self._of(ReadAheadResult("reading"), prompt)
        return await asyncio.shield(reading.task)

    def not_started(self, result: ReadAheadResult, prompt: Prompt | None = None) -> ReadAheadResult:
        """Count a read-ahead that did not begin. Returns the result with its model and engine."""
        result = self._of(result, prompt) if prompt else result
        self._telemetry.read_ahead(result.engine, result.reason)
        return result

    def end_session(self, session_id: str) -> None:
        """Stop the read-ahead of a deleted session, unless it serves other sessions too."""
        for reading in self._newest.values():
            if session_id in reading.sessions:
                reading.sessions.discard(session_id)
                if not reading.sessions:
                    reading.end(SessionDeleted())

    async def aclose(self) -> None:
        """Stop everything and start nothing any more."""
        self._closed = True
        for reading in self._newest.values():
            reading.end(ShuttingDown())
        for load in self._loads.values():
            load.cancel()
        tasks = [*self._tasks, *self._loads.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORD_LIMIT)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, reading: _Reading) -> ReadAheadResult:
        name = reading.prompt.model.engine
        began = time.monotonic()
        try:
            async with self._locks[name]:
                result = await self._read(reading)
        except asyncio.CancelledError:
            if reading.ending is None:
                raise
            if isinstance(reading.ending, GatewayError):
                self._telemetry.read_ahead(name, reading.ending.code)
                raise reading.ending from None
            result = reading.ending
        except GatewayError as error:
            self._telemetry.read_ahead(name, error.code)
            raise
        finally:
            if self._newest.get(name) is reading:
                del self._newest[name]
        self._telemetry.read_ahead(name, result.reason or result.status)
        return self._of(replace(result, ms=round((time.monotonic() - began) * 1000, 3)), reading.prompt)

    async def _read(self, reading: _Reading) -> ReadAheadResult:
        """Load the model if necessary, then let the engine read. Loading takes no slot: a question would have to wait for the same
        load."""
        pool = self._prompt_builder.pool
        engine = pool.engine(reading.prompt.model.engine)
        if await engine.loading(reading.request):
            await self._load(engine, reading.request)
            await pool.refresh()
            await reading.prepare_again()
        request = reading.request
        if request.messages[-1].images and not await engine.images_first(request):
            return TEXT_FIRST
        with self._queues[engine.name].background(lambda: reading.end(QUESTION)) as free:
            if not free:
                return ANSWERING
            try:
                async with asyncio.timeout(self._settings.first_token_timeout):
                    finish = await self._answer(reading, engine)
            except TimeoutError:
                raise UpstreamTimeout from None
        await self._calibration.learn(reading.prompt, finish)
        return ReadAheadResult("read", usage=finish.usage)

    @staticmethod
    async def _answer(reading: _Reading, engine: Engine) -> Finish:
        """Return the end of the engine's answer."""
        async with engine.chat(reading.request) as events:
            async for event in events:
                if isinstance(event, Finish):
                    return event
                reading.answered = reading.answered or not isinstance(event, PromptProgress)
        raise UpstreamIncomplete

    async def _load(self, engine: Engine, request: EngineRequest) -> None:
        """Load the model. A load continues even if its caller is gone: Ollama would give up and start again for the question."""
        key = (engine.name, request.model, request.options)
        load = self._loads.get(key)
        if load is None:
            load = self._loads[key] = asyncio.create_task(engine.load_model(request))
            load.add_done_callback(lambda _: self._loads.pop(key))
            load.add_done_callback(_no_news)
        try:
            async with asyncio.timeout(self._settings.load_timeout):
                await asyncio.shield(load)
        except TimeoutError:
            raise UpstreamTimeout from None

    @staticmethod
    def _of(result: ReadAheadResult, prompt: Prompt) -> ReadAheadResult:
        return replace(result, model=prompt.model.name, engine=prompt.model.engine)


def _no_news(task: asyncio.Task[Any]) -> None:
    """Retrieve the error of a task that nobody awaits, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()


def read_ahead_request(request: EngineRequest) -> EngineRequest:
    """Return the request that reads ahead: the same prompt and runner options, but a free-form answer of one token."""
    options = replace(request.options.runner, num_predict=1)
    return replace(request, options=options, format=None)


def prompt_key(request: EngineRequest) -> Hashable:
    """Return a key that is equal for requests with the same prompt and model, whatever the ids of their images."""

    def content(part: Part) -> Hashable:
        return tuple(piece.data for piece in request.renditions[part].pieces) if isinstance(part, ImagePart) else part

    messages = tuple((message.role, tuple(content(part) for part in message.parts)) for message in request.messages)
    return request.model, request.options, messages
