"""What an engine does besides answering questions: it turns texts into vectors, loads models, and continues prompts that are no
conversations. This goes through the same queue as questions and is interruptible in the same ways.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from llava_gateway.answers import Answer, AnswerEvent, Done
from llava_gateway.chat import CompletionRequest, Embeddings, EmbedRequest, EngineRequest, Finish, ReasoningDelta, TextDelta
from llava_gateway.engines.base import Completing, EngineName, ModelInfo
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import GatewayError, InvalidRequest, UpstreamIncomplete
from llava_gateway.gateway.interrupt import Interrupt
from llava_gateway.gateway.prompt import PromptBuilder
from llava_gateway.gateway.queue import EngineQueue
from llava_gateway.options import Options
from llava_gateway.sessions.session import new_id
from llava_gateway.settings import Settings


class EngineRequests:
    """Requests to engines without a conversation: they embed texts, load models and continue prompts.

    Args:
        prompt_builder: knows the pinned options.
        queues: the queue before each engine.
    """

    def __init__(
        self, settings: Settings, pool: EnginePool, prompt_builder: PromptBuilder, queues: Mapping[EngineName, EngineQueue]
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._prompt_builder = prompt_builder
        self._queues = queues
        self._running: set[Interrupt] = set()

    async def embed(self, texts: tuple[str, ...], model: str | None, keep_alive: str | int | None) -> tuple[ModelInfo, Embeddings]:
        """Embed the texts with `model` (None: the default). Returns the model and one vector for each text.

        Raises ModelNotFound, ModelLacksEmbeddings, ContextLengthExceeded, Overloaded, UpstreamError.
        """
        info = await self._pool.resolve(model)
        request = EmbedRequest(
            info.name, texts, self._prompt_builder.pins(info.name), self._settings.keep_alive if keep_alive is None else keep_alive
        )
        limit = self._settings.load_timeout + self._settings.answer_timeout
        async with self._slot(info.engine) as interrupt:
            return info, await interrupt.wait(self._pool.engine(info.engine).embed(request), limit)

    async def load(self, model: str, options: Options, keep_alive: str | int | None) -> None:
        """Load a model as a question with these options needs it, and keep it loaded for `keep_alive`.

        Raises ModelNotFound, ModelLoadFailed, Overloaded, UpstreamError.
        """
        info = await self._pool.resolve(model)
        request = EngineRequest(
            info.name,
            (),
            options.over(self._prompt_builder.pins(info.name)),
            keep_alive=self._settings.keep_alive if keep_alive is None else keep_alive,
        )
        async with self._slot(info.engine) as interrupt:
            await interrupt.wait(self._pool.engine(info.engine).load_model(request), self._settings.load_timeout)

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[AnswerEvent]:
        """Yield the events of what the model writes after a prompt; the last one is Done.

        Raises ModelNotFound, InvalidRequest if the engine takes no such prompts, Overloaded, UpstreamError.
        """
        started = time.monotonic()
        info = await self._pool.resolve(request.model)
        engine = self._pool.engine(info.engine)
        if not isinstance(engine, Completing):
            raise InvalidRequest("raw_prompt").at(_special(request))
        request = replace(
            request,
            model=info.name,
            options=request.options.over(self._prompt_builder.pins(info.name)),
            keep_alive=self._settings.keep_alive if request.keep_alive is None else request.keep_alive,
        )
        first_limit, limit = self._settings.load_timeout + self._settings.first_token_timeout, self._settings.token_gap_timeout
        said: list[TextDelta | ReasoningDelta] = []
        first_at: float | None = None
        async with self._slot(info.engine) as interrupt, AsyncExitStack() as stack:
            admitted = time.monotonic()
            events = await interrupt.wait(stack.enter_async_context(engine.complete(request)), first_limit)
            while event := await interrupt.wait(anext(events, None), limit):
                if isinstance(event, Finish):
                    times = replace(event.timings, queue_ms=_ms(started, admitted), total_ms=_ms(started, time.monotonic()))
                    first_ms = None if first_at is None else _ms(started, first_at)
                    yield Done(_answer(info, said, replace(event, timings=replace(times, first_token_ms=first_ms))))
                    return
                if isinstance(event, TextDelta | ReasoningDelta):
                    said.append(event)
                first_at = first_at or time.monotonic()
                yield event
        raise UpstreamIncomplete

    def end(self, error: GatewayError) -> None:
        """End every running or waiting request with `error`."""
        for interrupt in self._running:
            interrupt.interrupt(error)

    @asynccontextmanager
    async def _slot(self, engine: EngineName) -> AsyncIterator[Interrupt]:
        """Wait in the queue and hold a slot of the engine. Raises Overloaded."""
        interrupt = Interrupt()
        self._running.add(interrupt)
        try:
            with self._queues[engine].enter() as ticket:
                while await interrupt.wait(ticket.position()) is not None:
                    pass
                yield interrupt
        finally:
            self._running.discard(interrupt)
            interrupt.close()


def _special(request: CompletionRequest) -> str:
    """Return the field that makes a prompt one that only some engines take."""
    return "raw" if request.raw else "suffix" if request.suffix else "template"


def _answer(model: ModelInfo, said: Sequence[TextDelta | ReasoningDelta], finish: Finish) -> Answer:
    words = [delta for delta in said if isinstance(delta, TextDelta)]
    return Answer(
        id=f"answer_{new_id()}",
        model=model.name,
        engine=model.engine,
        session_id=None,
        text="".join(delta.text for delta in words),
        reasoning="".join(delta.text for delta in said if isinstance(delta, ReasoningDelta)),
        logprobs=tuple(logprob for delta in words for logprob in delta.logprobs),
        finish_reason=finish.reason,
        usage=finish.usage,
        timings=finish.timings,
    )


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 3)
