"""The answers of /api/chat and /api/generate: one JSON object, or one on each line, with Ollama's fields in Ollama's order."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring

from starlette.responses import Response

from llava_gateway.answers import Answer, AnswerEvent, Done
from llava_gateway.api.dialects import arguments_of, gateway_json
from llava_gateway.api.ollama.errors import error_response, said
from llava_gateway.api.response import JSONResponse
from llava_gateway.chat import JSON, Logprob, ReasoningDelta, TextDelta, Timings, ToolCall, Usage
from llava_gateway.errors import GatewayError

NDJSON = "application/x-ndjson"
NS_PER_MS = 1e6
NS_PER_S = 1_000_000_000
SECONDS = "%Y-%m-%dT%H:%M:%S"


class LineFrames:
    """What all streamed responses have in common: one JSON object on each line, the last one for an error.

    Args:
        stream: whether the response is streamed; else it is one object.
    """

    keepalive = b""  # clients parse each line
    cuts = False

    def __init__(self, *, stream: bool) -> None:
        self.media_type = NDJSON if stream else None

    def refused(self, error: GatewayError, request_id: str) -> Response:
        return error_response(error, request_id)

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return line({"error": said(error)})


class OllamaFrames(LineFrames, ABC):
    """The format of an answer.

    Args:
        model: its name as the client wrote it.
        stream: whether each event is a line; else the answer is one object.
        extras: whether the last line has the object `llava_gateway`; a body that is not streamed always has it.
        clock: nanoseconds since 1970.
    """

    def __init__(self, model: str, *, stream: bool, extras: bool = False, clock: Callable[[], int] = time.time_ns) -> None:
        super().__init__(stream=stream)
        self._model = model
        self._extras = extras
        self._clock = clock
        self._head = b'{"model":%b,"created_at":"' % encode_basestring(model).encode()
        self._second, self._begin = -1, b""
        self._calls = 0

    @abstractmethod
    def piece(self, text: str = "", thinking: str = "", calls: Sequence[JSON] = ()) -> JSON:
        """Return the fields that have the words of the model."""

    @abstractmethod
    def last(self, answer: Answer, words: JSON) -> JSON:
        """Return the fields after `created_at` of an object that ends an answer."""

    def event(self, event: AnswerEvent) -> bytes:
        match event:
            case TextDelta(text, ()):
                return self._text_line(encode_basestring(text).encode())
            case TextDelta(text, logprobs):
                return self._line({**self.piece(text), "done": False, "logprobs": logprobs_json(logprobs)})
            case ReasoningDelta(text):
                return self._line({**self.piece(thinking=text), "done": False})
            case ToolCall():
                self._calls += 1
                return self._line({**self.piece(calls=(call_json(event, self._calls - 1),)), "done": False})
            case Done(answer):
                extras = {"llava_gateway": gateway_json(answer)} if self._extras else {}
                return self._line({**self.last(answer, self.piece()), **extras})
        return b""  # Ollama's clients know no line for a queue, a load or a prompt that is read

    def whole(self, answer: Answer) -> Response:
        calls = [call_json(call, index) for index, call in enumerate(answer.tool_calls)]
        fields = self.last(answer, self.piece(answer.text, answer.reasoning, calls))
        if answer.logprobs:
            fields = self.with_logprobs(fields, logprobs_json(answer.logprobs))
        return JSONResponse({"model": self._model, "created_at": self._now(), **fields, "llava_gateway": gateway_json(answer)})

    def with_logprobs(self, fields: JSON, logprobs: list[JSON]) -> JSON:
        """Add the log probabilities of the whole answer where Ollama has them."""
        return {**fields, "logprobs": logprobs}

    def loaded(self, reason: str) -> Response:
        """Return the answer to a request without a question, which loads the model or unloads it."""
        return JSONResponse({"model": self._model, "created_at": self._now(), **self.piece(), "done": True, "done_reason": reason})

    @abstractmethod
    def _text_line(self, text: bytes) -> bytes:
        """Return the line of a text, given as JSON. This runs for every token, so it needs no JSON encoder."""

    def _line(self, fields: JSON) -> bytes:
        return b"%b,%b" % (self._begun(), line(fields)[1:])

    def _begun(self) -> bytes:
        """Return the beginning of a line, up to its time, of which only the fraction is written anew for each token."""
        second, fraction = divmod(self._clock(), NS_PER_S)
        if second != self._second:
            self._second, self._begin = second, self._head + f"{datetime.fromtimestamp(second, UTC):{SECONDS}}".encode()
        return b'%b.%09dZ"' % (self._begin, fraction)

    def _now(self) -> str:
        return go_time(self._clock())


class ChatFrames(OllamaFrames):
    """The format of /api/chat."""

    def piece(self, text: str = "", thinking: str = "", calls: Sequence[JSON] = ()) -> JSON:
        message: JSON = {"role": "assistant", "content": text}
        if thinking:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = list(calls)
        return {"message": message}

    def last(self, answer: Answer, words: JSON) -> JSON:
        return {**words, **end_json(answer), **metrics_json(answer.usage, answer.timings)}

    def with_logprobs(self, fields: JSON, logprobs: list[JSON]) -> JSON:
        before = ("message", "done", "done_reason")
        return {**{name: fields[name] for name in before}, "logprobs": logprobs, **fields}

    def _text_line(self, text: bytes) -> bytes:
        return b'%b,"message":{"role":"assistant","content":%b},"done":false}\n' % (self._begun(), text)


class GenerateFrames(OllamaFrames):
    """The format of /api/generate. `memory` makes the field `context` of an answer."""

    def __init__(
        self,
        model: str,
        *,
        stream: bool,
        extras: bool = False,
        memory: Callable[[Answer], list[int]] = lambda _: [],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(model, stream=stream, extras=extras, clock=clock)
        self._memory = memory

    def piece(self, text: str = "", thinking: str = "", calls: Sequence[JSON] = ()) -> JSON:
        return {"response": text, **({"thinking": thinking} if thinking else {})}  # a prompt comes without tools

    def last(self, answer: Answer, words: JSON) -> JSON:
        context = self._memory(answer)
        kept = {"context": context} if context else {}
        return {**words, **end_json(answer), **kept, **metrics_json(answer.usage, answer.timings)}

    def _text_line(self, text: bytes) -> bytes:
        return b'%b,"response":%b,"done":false}\n' % (self._begun(), text)


def line(fields: JSON) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def end_json(answer: Answer) -> JSON:
    """Render why an answer ended. For Ollama, an answer that calls a tool just stops."""
    return {"done": True, "done_reason": "length" if answer.finish_reason == "length" else "stop"}


def metrics_json(usage: Usage, timings: Timings) -> JSON:
    """Render token counts and durations in nanoseconds; what is unknown or 0 is left out, as Ollama does it.

    `load_duration` is all the time before the engine reads the prompt, as in Ollama. What an engine does not report is what we measured.
    """
    before = _sum(timings.prepare_ms, timings.queue_ms, timings.load_ms)
    first, total = timings.first_token_ms, timings.total_ms
    reading = timings.prompt_ms if timings.prompt_ms is not None else None if first is None else first - before
    writing = timings.generation_ms
    if writing is None and total is not None and first is not None:
        writing = total - first
    return {
        **ns_json(total_duration=total, load_duration=before),
        **_counted(prompt_eval_count=usage.prompt_tokens or None, prompt_eval_cached_count=usage.cached_tokens),
        **ns_json(prompt_eval_duration=reading),
        **_counted(eval_count=usage.completion_tokens or None),
        **ns_json(eval_duration=writing),
    }


def ns_json(**milliseconds: float | None) -> JSON:
    """Render durations in nanoseconds; those that are unknown or 0 are left out."""
    return {name: max(1, round(value * NS_PER_MS)) for name, value in milliseconds.items() if value is not None and value > 0}


def call_json(call: ToolCall, index: int) -> JSON:
    """Render a tool call; Ollama's clients get its arguments as an object."""
    function = {"index": index, "name": call.name, "arguments": arguments_of(call)}
    return {"id": call.id, "function": function} if call.id else {"function": function}


def logprobs_json(logprobs: Sequence[Logprob]) -> list[JSON]:
    return [
        {
            **_token_json(one.token, one.logprob),
            **({"top_logprobs": [_token_json(token, logprob) for token, logprob in one.top]} if one.top else {}),
        }
        for one in logprobs
    ]


def go_time(nanoseconds: int) -> str:
    """Write a time, given in nanoseconds since 1970, as Go does: in UTC, with as many digits as necessary."""
    seconds, rest = divmod(nanoseconds, NS_PER_S)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):{SECONDS}}{fraction}Z"


def _token_json(token: str, logprob: float) -> JSON:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "surrogatepass"))}


def _sum(*milliseconds: float | None) -> float:
    return sum(one or 0 for one in milliseconds)


def _counted(**counts: int | None) -> JSON:
    return {name: count for name, count in counts.items() if count is not None}
