"""A stand-in for an OpenAI-compatible server that needs hardly any CPU, in its own process.

`/chat/completions` answers `max_tokens` words, as a stream or as one body. The model `prompt` answers at once, the model `paced` streams a
word every INTERVAL seconds: a real model would use the measured cores, and stream at its own pace.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, cast

import httptools
import uvicorn

from benchmarks.children import say

PROMPT = "prompt"
PACED = "paced"
INTERVAL = 0.005
_SPREAD = 8
"""The starts of successive streams are spread over the interval, so that two words rarely arrive at the same time."""
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b\r\n"
_MODELS = {"object": "list", "data": [{"id": name, "object": "model", "created": 1, "owned_by": "stub"} for name in (PROMPT, PACED)]}


def _chunk(delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": PROMPT, "choices": [choice]}
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _usage(words: int) -> dict[str, int]:
    return {"prompt_tokens": 75, "completion_tokens": words, "total_tokens": 75 + words}


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_WORD = _framed(_chunk({"content": " word"}))


class Stub(asyncio.Protocol):
    """One connection; each request is answered when it is complete."""

    streams = 0
    tasks: set[asyncio.Task[None]] = set()  # noqa: RUF012 (of all connections)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._parser: Any = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._path, self._body = b"", bytearray()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if not self._path.endswith(b"/chat/completions"):
            self._whole(_MODELS)
            return
        # It skips the images before them: parsing these would be most of the work.
        begin = bytes(self._body)
        words, stream, paced = _number_after(begin, b'"max_tokens":'), b'"stream":true' in _compact(begin), b'"paced"' in begin
        if not stream:
            message = {"role": "assistant", "content": " word" * words}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._whole(
                {"id": "1", "object": "chat.completion", "created": 1, "model": PROMPT, "choices": [choice], "usage": _usage(words)}
            )
            return
        self._transport.write(_HEAD % (b"text/event-stream", b"Transfer-Encoding: chunked\r\n"))
        if paced:
            task = asyncio.get_running_loop().create_task(self._pace(words))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self._transport.write(_WORD * words + _end(words))

    def _whole(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self._transport.write(_HEAD % (b"application/json", b"Content-Length: %d\r\n" % len(body)) + body)

    async def _pace(self, words: int) -> None:
        loop = asyncio.get_running_loop()
        Stub.streams += 1
        began = loop.time() + INTERVAL * (Stub.streams % _SPREAD) / _SPREAD
        for number in range(words):
            if (pause := began + number * INTERVAL - loop.time()) > 0:
                await asyncio.sleep(pause)
            if self._transport.is_closing():
                return
            self._transport.write(_WORD)
        self._transport.write(_end(words))


def _end(words: int) -> bytes:
    last = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": PROMPT, "choices": [], "usage": _usage(words)}
    usage = b"data: " + json.dumps(last).encode() + b"\n\n"
    return _framed(_chunk({}, "stop")) + _framed(usage) + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _number_after(body: bytes, name: bytes) -> int:
    begin = body.find(name)
    return int(body[begin + len(name) : begin + len(name) + 8].split(b",")[0].split(b"}")[0]) if begin >= 0 else 1


def _compact(body: bytes) -> bytes:
    return body.replace(b'"stream": true', b'"stream":true')


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    say({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"})
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        runner.run(main())
