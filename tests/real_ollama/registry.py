"""A model registry on loopback, read only: it serves what one Ollama has, so that another one (or the same) can pull it with real progress.

registry.py MODELS_DIR PORT    then: POST /api/pull {"model": "127.0.0.1:PORT/library/demo", "insecure": true}
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Registry(ThreadingHTTPServer):
    """`models` is the OLLAMA_MODELS folder of the Ollama that is served; port 0 takes a free one."""

    daemon_threads = True

    def __init__(self, models: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), RegistryHandler)
        self.models = models


class RegistryHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        """Quiet: the tests read what Ollama says."""

    def answer(self, *, with_body: bool) -> None:
        found = self.find()
        if found is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = found.read_bytes()
        if wanted := self.headers.get("Range"):
            first, last = wanted.removeprefix("bytes=").split("-")
            stop = int(last) + 1 if last else len(body)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{stop - 1}/{len(body)}")
            body = body[int(first) : stop]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def find(self) -> Path | None:
        """The file behind /v2/library/NAME/manifests/TAG or /v2/library/NAME/blobs/sha256:HEX."""
        *_, name, kind, reference = self.path.split("/")
        if kind == "manifests":
            return next((self.server.models / "manifests").rglob(f"{name}/{reference}"), None)
        blob = self.server.models / "blobs" / reference.replace(":", "-")
        return blob if blob.is_file() else None


if __name__ == "__main__":
    Registry(Path(sys.argv[1]), int(sys.argv[2])).serve_forever()
