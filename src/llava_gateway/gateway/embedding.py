"""What an engine does besides answering questions: it turns texts into vectors, and loads models. This goes through the same queue as
questions and is interruptible in the same ways.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from llava_gateway.chat import Embeddings, EmbedRequest, EngineRequest
from llava_gateway.engines.base import EngineName, ModelInfo
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import GatewayError
from llava_gateway.gateway.interrupt import Interrupt
from llava_gateway.gateway.prompt import PromptBuilder
from llava_gateway.gateway.queue import EngineQueue
from llava_gateway.options import Options
from llava_gateway.settings import Settings


class Embedder:
    """Embeds texts and loads models.

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
