"""Reads ahead: while nobody asks an engine anything, it may read what the next question will begin with, images above all.

The question is not known yet, so the engine gets the conversation and the images with some other words after them, and is to answer
one token (0 means no limit to Ollama). Its prompt cache then holds everything up to the last image's end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from llava_gateway.chat import EngineRequest, Finish, ImagePart, Part, PromptProgress, Usage
from llava_gateway.engines.base import Engine, EngineName
from llava_gateway.errors import GatewayError, SessionDeleted, ShuttingDown, UpstreamIncomplete, UpstreamTimeout
from llava_gateway.gateway.calibration import Calibration
from llava_gateway.gateway.prompt import Prompt, PromptBuilder
from llava_gateway.gateway.queue import EngineQueue
from llava_gateway.notes import note
from llava_gateway.options import Options
from llava_gateway.settings import Settings
from llava_gateway.telemetry import Telemetry

LAST_WORD_LIMIT = 1.0
"""Seconds that a shutdown waits for the end of a one-word answer."""
Status: TypeAlias = Literal["reading", "read", "skipped", "busy", "preempted"]
"""reading: it has begun; read: the next question finds it read; skipped: there would be no gain; busy: there was no time for it;
preempted: it had to end, and what was read until then is kept by the engine."""


@dataclass(frozen=True, slots=True)
class ReadAheadResult:
    """What came of reading ahead.

    Attributes:
        reason: why it was not read, as a code; "" where it was.
        usage: tokens as the engine counted them, those of the words in place of the question included.
        ms: how long it took.
    """

    status: Status
    reason: str = ""
    model: str = ""
    engine: str = ""
    usage: Usage = Usage()
    ms: float | None = None

    @property
    def message(self) -> str:
        """The reason as a sentence; "" where there is none."""
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
    """One that is under way.

    Attributes:
        anew: prepares it once more. key: names the prompt; the same twice is read once.
        sessions: who it is for; None for whoever has no session.
        ending: why it is being ended, once it is.
        answered: the engine has begun to answer.
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

    async def prepare_anew(self) -> None:
        """With what is known of the model since it is loaded: its context, and whether it is on a GPU."""
        self.prompt = await self.anew()
        self.__post_init__()

    def end(self, ending: ReadAheadResult | GatewayError) -> None:
        """Ends it, unless only the end of its one-word answer is outstanding: that takes no time, and an Ollama whose client leaves
        between two words may lose its slot."""
        if self.task is not None and self.ending is None and not self.answered:
            self.ending = ending
            # Not at once: a task that is cancelled before its first step ends without a word.
            asyncio.get_running_loop().call_soon(self.task.cancel)


class ReadAhead:
    """What is read ahead, at most one prompt for each engine at a time; the newest wins.

    Args:
        settings: read_ahead, limits. prompt_builder: writes the prompts. calibration: learns from what the engine counted.
        queues: real questions go first. telemetry: figures.
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
        """Reads what was prepared, or joins in where that is being done; without `wait` it only begins.

        Args:
            anew: prepares it once more, where the model must be loaded first.

        Raises what the engine raises, SessionDeleted, ShuttingDown.
        """
        if self._closed:
            raise ShuttingDown
        wanted = _Reading(prompt, anew)
        request, name = wanted.request, prompt.model.engine
        if len(request.messages) == 1 and not request.renditions:
            return self.told(NOTHING, prompt)
        if self._prompt_builder.pool.engine(name).unloads_after(request):
            return self.told(UNLOADED, prompt)
        reading = self._newest.get(name)
        if reading is None and self._queues[name].active:
            return self.told(ANSWERING, prompt)
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

    def told(self, result: ReadAheadResult, prompt: Prompt | None = None) -> ReadAheadResult:
        """Counts what was not even begun."""
        told = self._of(result, prompt) if prompt else result
        self._telemetry.read_ahead(told.engine, told.reason)
        return told

    def end_session(self, session_id: str) -> None:
        """Ends what is read for a session that is deleted, unless it is read for others too."""
        for reading in self._newest.values():
            if session_id in reading.sessions:
                reading.sessions.discard(session_id)
                if not reading.sessions:
                    reading.end(SessionDeleted())

    async def aclose(self) -> None:
        """Ends everything; nothing begins any more."""
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
        """Loads the model where that must be done first, which takes no slot: a question for it would have to wait for the same."""
        pool = self._prompt_builder.pool
        engine = pool.engine(reading.prompt.model.engine)
        if await engine.loading(reading.request):
            await self._load(engine, reading.request)
            await pool.refresh()
            await reading.prepare_anew()
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
        """The end of the engine's answer."""
        async with engine.chat(reading.request) as events:
            async for event in events:
                if isinstance(event, Finish):
                    return event
                reading.answered = reading.answered or not isinstance(event, PromptProgress)
        raise UpstreamIncomplete

    async def _load(self, engine: Engine, request: EngineRequest) -> None:
        """A load that has begun goes on, whatever becomes of who began it: Ollama would give it up and begin again for the question."""
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
    """A failure that nobody waits for must not be told of by asyncio."""
    if not task.cancelled():
        task.exception()


def read_ahead_request(request: EngineRequest) -> EngineRequest:
    """The request that reads ahead of this one: the same prompt and the same runner, but one token of an answer of any kind."""
    options = Options(num_predict=1, num_ctx=request.options.num_ctx, num_gpu=request.options.num_gpu)
    return replace(request, options=options, format=None)


def prompt_key(request: EngineRequest) -> Hashable:
    """Equal for requests with the same prompt for the same model, whatever their images are called."""

    def content(part: Part) -> Hashable:
        return tuple(piece.data for piece in request.renditions[part].pieces) if isinstance(part, ImagePart) else part

    messages = tuple((message.role, tuple(content(part) for part in message.parts)) for message in request.messages)
    return request.model, request.options, messages
