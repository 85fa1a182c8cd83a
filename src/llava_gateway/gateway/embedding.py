"""Turns texts into vectors: through the same queue as questions, and interruptible in the same ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from llava_gateway.chat import Embeddings, EmbedRequest
from llava_gateway.engines.base import EngineName, ModelInfo
from llava_gateway.engines.pool import EnginePool
from llava_gateway.errors import GatewayError
from llava_gateway.gateway.interrupt import Interrupt
from llava_gateway.gateway.prompt import PromptBuilder
from llava_gateway.gateway.queue import EngineQueue
from llava_gateway.settings import Settings


class Embedder:
    """Embeds texts.

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
        with self._queues[info.engine].enter() as ticket, self._interruptible() as interrupt:
            while await interrupt.wait(ticket.position()) is not None:
                pass
            return info, await interrupt.wait(self._pool.engine(info.engine).embed(request), limit)

    def end(self, error: GatewayError) -> None:
        """End every running or waiting request with `error`."""
        for interrupt in self._running:
            interrupt.interrupt(error)

    @contextmanager
    def _interruptible(self) -> Iterator[Interrupt]:
        interrupt = Interrupt()
        self._running.add(interrupt)
        try:
            yield interrupt
        finally:
            self._running.discard(interrupt)
            interrupt.close()
