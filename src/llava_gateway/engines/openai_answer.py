"""Reads the answers of /v1/chat/completions (streamed) and /v1/embeddings."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from llava_gateway.chat import (
    JSON,
    Embeddings,
    EngineEvent,
    EngineRequest,
    Finish,
    FinishReason,
    PromptProgress,
    ReasoningDelta,
    TextDelta,
    Timings,
    ToolCall,
    Usage,
)
from llava_gateway.engines import upstream
from llava_gateway.engines.embedding import read_vectors
from llava_gateway.engines.logprobs import read_logprobs
from llava_gateway.engines.openai_errors import chat_error
from llava_gateway.errors import GatewayError, UpstreamIncomplete, UpstreamProtocolError

log = logging.getLogger(__name__)


async def read_events(
    lines: AsyncIterator[bytes],
    *,
    failed: Callable[[GatewayError], None],
    load_ms: float | None = None,
    request: EngineRequest | None = None,
    echoes: bool = False,
) -> AsyncGenerator[EngineEvent, None]:
    """Yield the events of a streamed chat completion. Ends with exactly one Finish, or raises a GatewayError after passing it to
    `failed`.

    Args:
        load_ms: for the timings of the Finish.
        request: the request that is answered; needed if it has stop texts, asks for token probabilities, or begins the answer.
        echoes: whether the server repeats the beginning of the answer that the request ends with.
    """
    answer = _Answer.to(request, echoes=echoes)
    try:
        async for line in lines:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                if data == b"[DONE]":
                    break
                for event in answer.read(data):
                    yield event
            elif not line.startswith((b":", b"event:", b"id:", b"retry:")):
                raise UpstreamProtocolError
        if answer.reason is None:
            raise UpstreamIncomplete
    except GatewayError as error:
        failed(error)
        raise
    for call in answer.tool_calls.values():
        yield ToolCall(call.id, call.name, call.arguments)
    yield answer.finish(load_ms)


def read_embeddings(answer: JSON, count: int) -> Embeddings:
    """Read the answer of /v1/embeddings to `count` texts. Raises UpstreamProtocolError."""
    try:
        rows = sorted(answer["data"], key=lambda row: row["index"])
        if [row["index"] for row in rows] != list(range(count)):
            raise UpstreamProtocolError
        vectors = read_vectors([row["embedding"] for row in rows], count)
        tokens = (answer.get("usage") or {}).get("prompt_tokens")
    except (TypeError, AttributeError, KeyError) as error:
        raise UpstreamProtocolError from error
    return Embeddings(vectors, tokens if type(tokens) is int else None)


@dataclass(slots=True)
class _Call:
    """A tool call that arrives in pieces."""

    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class _Answer:
    """The state of the answer so far."""

    reason: FinishReason | None = None
    tool_calls: dict[int, _Call] = field(default_factory=dict)
    stop: str | None = None
    _stops: tuple[str, ...] = ()
    _logprobs: int | None = None
    _echo: str = ""
    _echoed_thought: str = ""
    _usage: JSON = field(default_factory=dict)
    _timings: JSON = field(default_factory=dict)

    @classmethod
    def to(cls, request: EngineRequest | None, *, echoes: bool) -> _Answer:
        if request is None:
            return cls()
        return cls(
            _stops=request.options.stop or (),
            _logprobs=request.logprobs,
            _echo=request.prefill if echoes else "",
            _echoed_thought=request.prefilled_thought if echoes else "",
        )

    def read(self, data: bytes) -> list[EngineEvent]:
        """Return the events of one chunk. Raises UpstreamError if it carries an error, UpstreamProtocolError if it is not a chunk."""
        chunk = upstream.json_object(data)
        if "error" in chunk:
            log.warning("an error in the middle of an answer: %.200r", data)
            raise chat_error(500, data, None)
        try:
            return self._events(chunk)
        except (TypeError, AttributeError, KeyError) as error:
            log.warning("not a chunk of a chat completion: %.200r", data)
            raise UpstreamProtocolError from error

    def _events(self, chunk: JSON) -> list[EngineEvent]:
        events: list[EngineEvent] = []
        if progress := chunk.get("prompt_progress"):
            events.append(PromptProgress(progress["processed"], progress["total"], progress["cache"]))
        for choice in chunk["choices"]:
            delta = choice["delta"]
            if content := delta.get("content"):
                text, chances = self._without_echo(_words(content)), (choice.get("logprobs") or {}).get("content")
                if text or chances:
                    events.append(TextDelta(text, read_logprobs(chances, self._logprobs)))
            # vLLM calls it `reasoning` since 0.12, the others `reasoning_content`.
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            if thought and (thought := self._without_echoed_thought(_words(thought))):
                events.append(ReasoningDelta(thought))
            if calls := delta.get("tool_calls"):
                self._collect(calls)
            if reason := choice.get("finish_reason"):
                if reason in ("abort", "error"):
                    raise UpstreamIncomplete
                self.reason = reason if reason in ("length", "tool_calls") else "stop"
                self._note_stop(choice.get("stop_reason"), choice.get("matched_stop"), (chunk.get("__verbose") or {}).get("stopping_word"))
        if usage := chunk.get("usage"):
            self._usage = usage
        if timings := chunk.get("timings"):
            self._timings = timings
        return events

    def _note_stop(self, *reported: Any) -> None:
        """Record which stop text ended the answer, as vLLM, SGLang and llama-server report it. The first two report a number for a stop
        token."""
        self.stop = next((text for text in reported if text in self._stops), None)

    def _without_echo(self, text: str) -> str:
        """Remove the beginning of the answer from the first text. llama-server repeats it before the first token, in one piece."""
        echo, self._echo = self._echo, ""
        return text.removeprefix(echo)

    def _without_echoed_thought(self, text: str) -> str:
        echo, self._echoed_thought = self._echoed_thought, ""
        return text.removeprefix(echo)

    def _collect(self, calls: list[JSON]) -> None:
        for piece in calls:
            call = self.tool_calls.setdefault(piece["index"], _Call())
            function = piece.get("function") or {}
            call.id = call.id or piece.get("id") or ""
            call.name = call.name or function.get("name") or ""
            call.arguments += function.get("arguments") or ""

    def finish(self, load_ms: float | None) -> Finish:
        details = self._usage.get("prompt_tokens_details") or {}
        return Finish(
            self.reason or "stop",
            Usage(self._usage.get("prompt_tokens"), self._usage.get("completion_tokens"), details.get("cached_tokens")),
            Timings(load_ms=load_ms, prompt_ms=self._timings.get("prompt_ms"), generation_ms=self._timings.get("predicted_ms")),
            self.stop,
        )


def _words(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
