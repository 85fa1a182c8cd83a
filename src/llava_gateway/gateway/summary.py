"""Lets a model summarise its conversation in the background, before anything must be dropped, for sessions with that policy.

The request for the summary begins with the whole conversation, so the engine has nearly all of it in its prefix cache. The summary
replaces the dropped text when the window moves next (`Window.summary`), not before: until then the cache stays valid.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace

from llava_gateway.chat import ChatRequest, Message
from llava_gateway.context.words import is_chinese, summary_question
from llava_gateway.engines.base import EngineName, answer_text
from llava_gateway.errors import GatewayError
from llava_gateway.gateway.holding import holding
from llava_gateway.gateway.prompt import Prompt, PromptBuilder
from llava_gateway.gateway.queue import EngineQueue
from llava_gateway.parts import TextPart
from llava_gateway.sessions.memory import SessionStore
from llava_gateway.sessions.session import Session

log = logging.getLogger(__name__)

BEGIN_AT = 0.6
"""Share of the context at which a summary is made. It has to be ready before the window moves."""
SUMMARY_TOKENS = 200
"""Longest summary, in tokens."""


class Summariser:
    """Makes summaries in the background.

    Args:
        prompt_builder: builds the prompt.
        queues: give questions priority.
        sessions: store the summaries.
    """

    def __init__(
        self,
        prompt_builder: PromptBuilder,
        queues: dict[EngineName, EngineQueue],
        sessions: SessionStore,
    ) -> None:
        self._prompt_builder = prompt_builder
        self._queues = queues
        self._sessions = sessions
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def start_if_due(self, session_id: str | None, prompt: Prompt) -> None:
        """Start a summary if the session's context is filling up and nothing since the last summary is summarised yet."""
        if self._closed or session_id is None or prompt.rules.policy != "summarise" or session_id in self._tasks:
            return
        with suppress(GatewayError):
            session = self._sessions.get(session_id)
            state, limit = session.prompt_state, prompt.fitted.limit
            if limit and state.tokens and state.tokens >= BEGIN_AT * limit and state.summary_of != state.window.start:
                task = self._tasks[session_id] = asyncio.create_task(self._summarise(session, prompt))
                task.add_done_callback(lambda _: self._tasks.pop(session_id, None))

    def end_session(self, session_id: str) -> None:
        """Stop the summary of a deleted session."""
        if task := self._tasks.get(session_id):
            _end(task)

    async def wait(self, session_id: str) -> None:
        """Return when no summary is being made for the session."""
        if task := self._tasks.get(session_id):
            await asyncio.wait([task])

    async def aclose(self) -> None:
        """Stop every summary and start none any more, even if answers still end."""
        self._closed = True
        for task in list(self._tasks.values()):
            _end(task)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _summarise(self, session: Session, prompt: Prompt) -> None:
        """Make the summary and store it in the session. No caller waits for it: if it fails, the next turn tries again."""
        last_question = prompt.engine_request.messages[-1].text_without_notes
        asked = prompt.engine_request
        runner = asked.options.runner
        words = TextPart(summary_question(chinese=is_chinese(last_question)))
        question = ChatRequest((Message("user", (words,)),), model=session.model, options=runner, keep_alive=asked.keep_alive)
        engine = self._prompt_builder.pool.engine(prompt.model.engine)
        if engine.unloads_after(asked):
            return  # the model would be loaded again for the summary alone
        task = asyncio.current_task()

        def stop() -> None:
            if task is not None:
                _end(task)

        with suppress(GatewayError), holding(self._prompt_builder.images) as hold:
            ready = await self._prompt_builder.build(question, session, prompt.model, hold)
            request = replace(ready.engine_request, options=replace(runner, num_predict=SUMMARY_TOKENS, temperature=0))
            with self._queues[prompt.model.engine].background(stop) as free:
                text = await answer_text(engine, request) if free else ""
            if text and self._sessions.get(session.id).turns == session.turns:  # the session is still on the same branch
                self._sessions.change(session.id, lambda now: now.with_summary(text, session.prompt_state.window.start))
                log.info("summarised a session in %d characters", len(text))


def _end(task: asyncio.Task[None]) -> None:
    """Cancel the task once only: a second cancel would interrupt the engine while it closes its answer."""
    if not task.cancelling():
        task.cancel()
