"""Has a model summarise its conversation, in the background and before anything must be dropped, for sessions whose policy says so.

The summary is asked for with the whole conversation as its beginning, so the engine has nearly all of that in its cache. It takes the
place of the dropped text when the window moves next (`Window.summary`), not before: what is in the cache stays of use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from llava_gateway.chat import ChatRequest, Message, TextPart
from llava_gateway.context.words import is_chinese, summary_question
from llava_gateway.engines.base import EngineName, answer_text
from llava_gateway.errors import GatewayError
from llava_gateway.gateway.attachments import Hold
from llava_gateway.gateway.prompt import Prompt, PromptBuilder
from llava_gateway.gateway.queue import EngineQueue
from llava_gateway.options import Options
from llava_gateway.sessions.memory import SessionStore
from llava_gateway.sessions.session import Session

log = logging.getLogger(__name__)

BEGIN_AT = 0.6
"""Share of the context from which a summary is wanted: it has to be there before the window moves."""
SUMMARY_TOKENS = 200
"""Longest summary."""


class Summariser:
    """Args:
    prompt_builder: writes the request. queues: real questions go first. sessions: where the summary is kept.
    holding: keeps images from being evicted meanwhile.
    """

    def __init__(
        self,
        prompt_builder: PromptBuilder,
        queues: dict[EngineName, EngineQueue],
        sessions: SessionStore,
        holding: Callable[[], AbstractContextManager[Hold]],
    ) -> None:
        self._prompt_builder = prompt_builder
        self._queues = queues
        self._sessions = sessions
        self._holding = holding
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def after(self, session_id: str | None, prompt: Prompt) -> None:
        """Begins a summary where the session's context is filling up and there is none yet of what was said since the last."""
        if self._closed or session_id is None or prompt.rules.policy != "summarise" or session_id in self._tasks:
            return
        with suppress(GatewayError):
            session = self._sessions.get(session_id)
            state, limit = session.prompt_state, prompt.fitted.limit
            if limit and state.tokens and state.tokens >= BEGIN_AT * limit and state.summary_of != state.window.start:
                task = self._tasks[session_id] = asyncio.create_task(self._summarise(session, prompt))
                task.add_done_callback(lambda _: self._tasks.pop(session_id, None))

    def end_session(self, session_id: str) -> None:
        """Stops what is being made for a session that is deleted."""
        if task := self._tasks.get(session_id):
            _end(task)

    async def wait(self, session_id: str) -> None:
        """Returns when no summary is being made for the session."""
        if task := self._tasks.get(session_id):
            await asyncio.wait([task])

    async def aclose(self) -> None:
        """Stops everything; nothing begins any more, though answers may still end."""
        self._closed = True
        for task in list(self._tasks.values()):
            _end(task)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _summarise(self, session: Session, prompt: Prompt) -> None:
        """Nobody waits for it: whatever goes wrong, the next turn tries again."""
        told = prompt.engine_request.messages[-1].asked
        asked = prompt.engine_request
        runner = Options(num_ctx=asked.options.num_ctx, num_gpu=asked.options.num_gpu)
        words = TextPart(summary_question(chinese=is_chinese(told)))
        question = ChatRequest((Message("user", (words,)),), model=session.model, options=runner, keep_alive=asked.keep_alive)
        engine = self._prompt_builder.pool.engine(prompt.model.engine)
        if engine.unloads_after(asked):
            return  # it would be loaded once more, for this alone
        task = asyncio.current_task()

        def give_way() -> None:
            if task is not None:
                _end(task)

        with suppress(GatewayError), self._holding() as hold:
            ready = await self._prompt_builder.build(question, session, prompt.model, hold)
            request = replace(ready.engine_request, options=replace(runner, num_predict=SUMMARY_TOKENS, temperature=0))
            with self._queues[prompt.model.engine].background(give_way) as free:
                text = await answer_text(engine, request) if free else ""
            if text and self._sessions.get(session.id).turns == session.turns:  # nobody has gone to another branch meanwhile
                self._sessions.change(session.id, lambda now: now.with_summary(text, session.prompt_state.window.start))
                log.info("summarised a session in %d characters", len(text))


def _end(task: asyncio.Task[None]) -> None:
    """Once only: to be cancelled again would end the engine's own closing of its answer."""
    if not task.cancelling():
        task.cancel()
