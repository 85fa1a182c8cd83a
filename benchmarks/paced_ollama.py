"""A stand-in for Ollama that streams at an even pace, in its own process. Arguments: chunks per answer (fewer if the question has a smaller
num_predict), seconds between two chunks.

It measures what a chunk costs the reader: a real engine would use the same cores, and stream at its own pace.
"""

from __future__ import annotations

import asyncio
import json
import sys

from benchmarks.children import say

MODEL = "paced"
_STREAMS = 8
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b\r\n"
_DETAILS = {"family": "llama", "parameter_size": "1M", "quantization_level": "F16"}
_ROW = {"name": MODEL, "model": MODEL, "size": 1000, "digest": "0" * 64, "details": _DETAILS}
ANSWERS = {
    "/api/version": {"version": "0.34.2"},
    "/api/tags": {"models": [_ROW]},
    "/api/ps": {"models": [_ROW | {"context_length": 4096, "size_vram": 0}]},
    "/api/show": {
        "capabilities": ["completion", "vision"],
        "model_info": {"general.architecture": "llama", "llama.context_length": 4096},
        "projector_info": {"clip.projector_type": "mlp", "clip.vision.image_size": 112, "clip.vision.patch_size": 14},
        "template": "{{ .Prompt }}",
    },
}

LINE = b'{"model":"paced","created_at":"2026-11-21T10:00:00.123456789Z","message":{"role":"assistant","content":" word"},"done":false}\n'
LAST = (
    b'{"model":"paced","created_at":"2026-11-21T10:00:00.123456789Z","message":{"role":"assistant","content":""},"done":true,'
    b'"done_reason":"stop","total_duration":1000000,"load_duration":1000000,"prompt_eval_count":75,'
    b'"prompt_eval_duration":1000000,"eval_count":10,"eval_duration":1000000}\n'
)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Read a request. Returns its path and body. Raises asyncio.IncompleteReadError if the client has left."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = next((int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
    return head.split(" ", 2)[1], await reader.readexactly(length)


def answer_to(path: str) -> bytes:
    """Return the response to a request that is not a chat."""
    body = json.dumps(ANSWERS[path]).encode()
    return HEAD % (b"application/json; charset=utf-8", b"Content-Length: %d\r\n" % len(body)) + body


class PacedOllama:
    def __init__(self, chunks: int, interval: float) -> None:
        self._chunks = chunks
        self._interval = interval
        self._seen = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests. One per connection would be enough, but it accepts more."""
        try:
            while True:
                path, body = await read_request(reader)
                if path == "/api/chat":
                    await self._stream(writer, min(self._chunks, json.loads(body).get("options", {}).get("num_predict", self._chunks)))
                else:
                    writer.write(answer_to(path))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter, chunks: int) -> None:
        """Write each line as its own chunk and packet. Streams are spread over the interval, so that two chunks rarely arrive at the
        same time.
        """
        loop = asyncio.get_running_loop()
        self._seen += 1
        began = loop.time() + self._interval * (self._seen % _STREAMS) / _STREAMS
        writer.write(HEAD % (b"application/x-ndjson", b"Transfer-Encoding: chunked\r\n"))
        for number in range(chunks):
            if (pause := began + number * self._interval - loop.time()) > 0:
                await asyncio.sleep(pause)
            if writer.is_closing():
                return
            writer.write(b"%x\r\n%b\r\n" % (len(LINE), LINE))
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(LAST), LAST))
        await writer.drain()


async def main() -> None:
    fake = PacedOllama(int(sys.argv[1]), float(sys.argv[2]))
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, limit=2**24, backlog=1024)
    say({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"})
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
