"""A model registry on loopback, read only: it serves what one Ollama has, so that another one (or the same) can pull it with real progress.

registry.py MODELS_DIR PORT    then: POST /api/pull {"model": "127.0.0.1:PORT/library/demo", "insecure": true}
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Registry(ThreadingHTTPServer):
    """`models` is the OLLAMA_MODELS folder of the Ollama that is served; port 0 takes a free one.

    Attributes:
        pause_at: of files longer than this, so many bytes are sent before `go_on` is waited for; None never waits.
        go_on: set while nothing is to wait.
        ranges: (first byte, bytes of the whole file) of each part of a file that was asked for.
        damaged: files go out with a byte of them changed.
    """

    daemon_threads = True

    def __init__(self, models: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), RegistryHandler)
        self.models = models
        self.pause_at: int | None = None
        self.go_on = threading.Event()
        self.ranges: list[tuple[int, int]] = []
        self.damaged = False

    @property
    def demo(self) -> str:
        """The name by which an Ollama can pull the demo model."""
        return f"127.0.0.1:{self.server_port}/library/demo"

    @contextmanager
    def serving(self) -> Iterator[Registry]:
        """Serve in a thread until the end of the block."""
        thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self.go_on.set()
            self.shutdown()
            thread.join()
            self.server_close()


class RegistryHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        """Print nothing: the tests read what Ollama prints."""

    def answer(self, *, with_body: bool) -> None:
        found = self.find()
        if found is None:
            self.head(404)
            return
        if with_body and "/blobs/" in self.path:
            # Ollama insists on being sent on, and to a host of another name, as the large registries do.
            self.head(307, Location=f"http://localhost:{self.server.server_port}/files/{found.name}")
            return
        body = found.read_bytes()
        if wanted := self.headers.get("Range"):
            first, last = wanted.removeprefix("bytes=").split("-")
            stop = int(last) + 1 if last else len(body)
            self.server.ranges.append((int(first), len(body)))
            if self.server.damaged:
                body = body[:-1] + bytes([body[-1] ^ 1])
            body = body[int(first) : stop]
            self.head(206, len(body), Content_Range=f"bytes {first}-{stop - 1}")
        else:
            self.head(200, len(body))
        if with_body:
            with suppress(ConnectionError):  # whoever pulled has stopped
                self.send(body)

    def head(self, status: int, length: int = 0, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, body: bytes) -> None:
        now = self.server.pause_at
        if now is None or len(body) <= now:
            self.wfile.write(body)
            return
        self.wfile.write(body[:now])
        self.wfile.flush()
        self.server.go_on.wait()
        self.wfile.write(body[now:])

    def find(self) -> Path | None:
        """The file behind /v2/library/NAME/manifests/TAG, /v2/library/NAME/blobs/sha256:HEX or /files/sha256-HEX."""
        *_, name, kind, reference = self.path.split("/")
        if kind == "manifests":
            return next((self.server.models / "manifests").rglob(f"{name}/{reference}"), None)
        blob = self.server.models / "blobs" / reference.replace(":", "-")
        return blob if blob.is_file() else None


if __name__ == "__main__":
    Registry(Path(sys.argv[1]), int(sys.argv[2])).serve_forever()
