"""A response as one body, or as events in OpenAI's order, each with its number."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from json.encoder import encode_basestring
from typing import Any

from starlette.responses import Response

from llava_gateway.answers import Answer, AnswerEvent, Done
from llava_gateway.api.dialects import id_of
from llava_gateway.api.openai.answer_json import logprobs_json
from llava_gateway.api.openai.errors import Spelling, error_response
from llava_gateway.api.openai.responses_json import Echo, call_item, message_item, output_json, reasoning_item, text_part
from llava_gateway.api.response import JSONResponse, LargeJSON
from llava_gateway.chat import Logprob, ReasoningDelta, TextDelta, ToolCall
from llava_gateway.errors import GatewayError
from llava_gateway.sessions.session import new_id


class WholeResponseFrames:
    """The whole response in one body.

    Args:
        echo: what it repeats of the request.
        keep: called with the response and its answer at the end.
        spelling: the client's names of the parts of its request.
    """

    media_type: str | None = None
    keepalive = b""
    cuts = False

    def __init__(self, echo: Echo, keep: Callable[[dict[str, Any], Answer], None], spelling: Spelling) -> None:
        self._echo = echo
        self._keep = keep
        self._spelling = spelling

    def event(self, event: AnswerEvent) -> bytes:
        return b""

    def whole(self, answer: Answer) -> Response:
        response = self._ended(answer, output_json(answer))
        return LargeJSON(lambda: response) if answer.logprobs else JSONResponse(response)

    def refused(self, error: GatewayError, request_id: str) -> Response:
        return error_response(error, request_id, self._spelling)

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return b""

    def _ended(self, answer: Answer, output: list[dict[str, Any]]) -> dict[str, Any]:
        response = self._echo.ended(answer, output)
        self._keep(response, answer)
        return response


class ResponseEvents(WholeResponseFrames):
    """The events of a response: the items of its output one after the other, each opened, written and closed."""

    media_type = "text/event-stream; charset=utf-8"
    keepalive = b": ping\n\n"

    def __init__(self, echo: Echo, keep: Callable[[dict[str, Any], Answer], None], spelling: Spelling) -> None:
        super().__init__(echo, keep, spelling)
        self._number = 0
        self._output: list[dict[str, Any]] = []
        self._open: TextItem | ReasoningItem | None = None

    def event(self, event: AnswerEvent) -> bytes:
        match event:
            case TextDelta(text, logprobs):
                begun = b"" if isinstance(self._open, TextItem) else self._opened(TextItem)
                return begun + self._text(text, logprobs)
            case ReasoningDelta(text):
                begun = b"" if isinstance(self._open, ReasoningItem) else self._opened(ReasoningItem)
                return begun + self._thought(text)
            case ToolCall():
                return self._beginning() + self._closed() + self._called(event)
            case Done(answer):
                return self._end(answer)
        return b""

    def failed(self, error: GatewayError, request_id: str) -> bytes:
        return self._beginning() + self._sse("response.failed", response=self._echo.failed(error, self._output))

    def _sse(self, kind: str, **data: Any) -> bytes:
        body = json.dumps({"type": kind, "sequence_number": self._next(), **data}, ensure_ascii=False, separators=(",", ":"))
        return f"event: {kind}\ndata: {body}\n\n".encode()

    def _next(self) -> int:
        self._number += 1
        return self._number - 1

    def _beginning(self) -> bytes:
        """Return the first events, once. They come with the first word, so that an error before it has a status of its own."""
        if self._number:
            return b""
        response = self._echo.response("in_progress", [])
        return self._sse("response.created", response=response) + self._sse("response.in_progress", response=response)

    def _opened(self, kind: type[TextItem | ReasoningItem]) -> bytes:
        """Begin an item, after the end of the one before it."""
        before = self._beginning() + self._closed()
        self._open = item = kind(len(self._output))
        added = before + self._sse("response.output_item.added", output_index=item.index, item=item.begun())
        if isinstance(item, ReasoningItem):
            return added
        return added + self._sse("response.content_part.added", **item.where(), part=text_part("", []))

    def _text(self, text: str, logprobs: tuple[Logprob, ...]) -> bytes:
        item = self._open
        if not isinstance(item, TextItem):
            raise TypeError
        item.texts.append(text)
        if logprobs:
            item.logprobs += logprobs
            return self._sse("response.output_text.delta", **item.where(), delta=text, logprobs=_tokens(logprobs))
        # This is written for every token, so only its number and its text are encoded for each.
        return b"%b%d%b%b%b" % (item.before, self._next(), item.between, encode_basestring(text).encode(), item.after)

    def _thought(self, text: str) -> bytes:
        item = self._open
        if not isinstance(item, ReasoningItem):
            raise TypeError
        item.texts.append(text)
        return self._sse("response.reasoning_text.delta", **item.where(), delta=text)

    def _closed(self, answer: Answer | None = None) -> bytes:
        """End the open item. `answer` is the answer that ends with it."""
        item, self._open = self._open, None
        match item:
            case None:
                return b""
            case ReasoningItem():
                done = self._sse("response.reasoning_text.done", **item.where(), text=item.text)
                self._output.append(reasoning_item(item.id, item.text))
            case TextItem():
                whole = Answer("", "", "", None, item.text, answer.finish_reason if answer else "stop", logprobs=tuple(item.logprobs))
                made = message_item(item.id, whole)
                part = made["content"][0]
                done = self._sse("response.output_text.done", **item.where(), text=item.text, logprobs=_tokens(item.logprobs))
                done += self._sse("response.content_part.done", **item.where(), part=part)
                self._output.append(made)
        return done + self._sse("response.output_item.done", output_index=item.index, item=self._output[-1])

    def _called(self, call: ToolCall) -> bytes:
        index, item_id, call = len(self._output), f"fc_{new_id()}", replace(call, id=id_of(call))
        where = {"item_id": item_id, "output_index": index}
        begun = call_item(item_id, replace(call, arguments=""), "in_progress")
        self._output.append(call_item(item_id, call))
        return b"".join(
            (
                self._sse("response.output_item.added", output_index=index, item=begun),
                self._sse("response.function_call_arguments.delta", **where, delta=call.arguments),
                self._sse("response.function_call_arguments.done", **where, name=call.name, arguments=call.arguments),
                self._sse("response.output_item.done", output_index=index, item=self._output[-1]),
            )
        )

    def _end(self, answer: Answer) -> bytes:
        said = isinstance(self._open, TextItem) or any(item["type"] != "reasoning" for item in self._output)
        begun = b"" if said else self._opened(TextItem)
        closed = begun + self._closed(answer)
        response = self._ended(answer, self._output)
        return closed + self._sse(f"response.{response['status']}", response=response)


class _Item:
    """An item of the output that is being written.

    Attributes:
        index: its place in the output.
        texts: what was written so far.
    """

    prefix: str

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = f"{self.prefix}_{new_id()}"
        self.texts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def where(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}


class ReasoningItem(_Item):
    prefix = "rs"

    def begun(self) -> dict[str, Any]:
        return {"id": self.id, "type": "reasoning", "summary": [], "content": [], "status": "in_progress"}


class TextItem(_Item):
    prefix = "msg"

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.logprobs: list[Logprob] = []
        head = 'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":'
        self.before = head.encode()
        self.between = f',"item_id":"{self.id}","output_index":{index},"content_index":0,"delta":'.encode()
        self.after = b',"logprobs":[]}\n\n'

    def begun(self) -> dict[str, Any]:
        return {"id": self.id, "type": "message", "role": "assistant", "content": [], "status": "in_progress"}


def _tokens(logprobs: Any) -> list[dict[str, Any]]:
    return list((logprobs_json(logprobs) or {"content": []})["content"])
