"""How long other clients wait while the gateway reads bodies that are large, or made to be slow to read.

Three clients send the same body at the same time, as fast as they can, while a fourth requests `/healthz` repeatedly. There is one event
loop, so its longest wait is the longest wait of any client. No engine runs, and none is needed.
"""

from __future__ import annotations

import base64
import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.children import child
from benchmarks.report import Figure, Report

GOAL_MS = 100.0
"""Goal: the longest wait for `/healthz` of all rounds and bodies."""
CLIENTS = 3
ROUNDS = 3
BOUNDARY = "a-boundary"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request; a GET if `body` is empty."""

    name: str
    path: str
    body: bytes
    kind: str = JSON
    accept: str = "*/*"


def run(*, quick: bool) -> Report:
    report = Report("stalls", "how long others wait while large bodies are read", quick)
    settings = {"engine": "ollama", "ollama_host": "http://127.0.0.1:9", "image_workers": 1}
    longest = 0.0
    with child("gateway_process", json.dumps(settings)) as gateway:
        address = urlsplit(gateway.hello["url"]).netloc
        for sent in bodies(50 if quick else 1):
            waits = tuple(_longest_wait(address, sent) for _ in range(1 if quick else ROUNDS))
            longest = max(longest, *waits)
            report.figures.append(Figure(f"{sent.name}, {(len(sent.body) or len(sent.path) + len(sent.accept)) / 1e6:.2g} MB", "ms", waits))
    report.figures.append(Figure("longest wait of all", "ms", (longest,), GOAL_MS))
    return report


def bodies(part: int = 1) -> Iterator[Sent]:
    """Return the bodies; smaller ones with one value in every `part`."""
    many = 480_000 // part
    yield Sent("unknown fields", "/ask", b"{%b}" % b",".join(b'"k%d":1' % number for number in range(many)))
    yield Sent("numbers for words", "/ask", b'{"prompt":"x","glossary":[%b]}' % b",".join([b"1"] * many))
    yield Sent("objects for images", "/ask", b'{"images":[%b]}' % b",".join([b'{"a":1}'] * many))
    yield Sent("wrong patches", "/sessions/0", json.dumps({"images": {str(number): {"a": 1} for number in range(12_000 // part)}}).encode())
    photos = [base64.b64encode(random.Random(seed).randbytes(12_000_000 // part)).decode() for seed in range(7)]
    yield Sent("seven photos", "/ask", json.dumps({"prompt": "What is this?", "images": photos}).encode())
    yield Sent("one text", "/ask", json.dumps({"prompt": "".join(photos)}).encode())
    yield Sent("escapes", "/ask", b'{"prompt":"%b"}' % (b"\\/aaaabbbbccccdddd" * (6_000_000 // part)))
    yield Sent("blanks", "/ask", b'{"prompt":%b"Hi"}' % (b" " * (100_000_000 // part)))
    yield Sent("brackets", "/ask", b'{"options":{"stop":%b}}' % (b"[" * (100_000_000 // part)))
    yield Sent("a schema of objects", "/ask", json.dumps({"prompt": "x", "format": {"allOf": [{}] * (8000 // part)}}).encode())
    yield Sent("a schema", "/ask", json.dumps({"prompt": "x", "format": _schema(1000 // part)}).encode())
    yield Sent("a Modelfile of stops", "/models", _modelfile("PARAMETER stop x\n" * (55_000 // part)))
    yield Sent("a Modelfile of comments", "/models", _modelfile("#\n" * (490_000 // part)))
    fields = ["region", "image_size", "num_visual_tokens", "temperature", "glossary", "options", "format", "prompt"]
    yield _form("a form of long fields", dict.fromkeys(fields, "1," * (3_900_000 // part)))
    yield _form("a form of lines", {"glossary": "\n" * (8_000_000 // part)})
    yield Sent("a session of turns", "/sessions/import", json.dumps(_archive(1000 // part)).encode())
    yield Sent("a session of nothing", "/sessions/import", json.dumps(_archive(0, [1] * many)).encode())
    yield Sent(
        "a session of parts", "/sessions/import", json.dumps(_archive(1, sights={f"{n:064x}": {"a": 1} for n in range(many // 6)})).encode()
    )
    yield Sent("a long query", "/sessions?" + "a=1&" * (120_000 // part), b"")
    yield Sent("a long header", "/models/examples", b"", accept="a," * (240_000 // part))


def _schema(properties: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"a{number}": {"type": "string"} for number in range(properties)}}


def _modelfile(text: str) -> bytes:
    return json.dumps({"model": "made", "modelfile": f"FROM llava:7b\n{text}"}).encode()


def _form(name: str, fields: dict[str, str]) -> Sent:
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{text}\r\n' for field, text in fields.items()]
    return Sent(name, "/ask", f"{''.join(parts)}--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}")


def _archive(turns: int, instead: list[int] | None = None, **fields: Any) -> dict[str, Any]:
    entries = [
        {"id": number, "after": number - 1 or None, "parts": [{"text": "Why? " * 200}], "answer": "So. " * 500, "model": "demo"}
        for number in range(1, turns + 1)
    ]
    return {"format": "llava-gateway-session", "version": 1, "session": {"turns": entries, "glossary": instead or [], **fields}}


def _longest_wait(address: str, sent: Sent) -> float:
    """Return the longest response time of `/healthz` in milliseconds, from before the bodies are sent until the last one is answered."""
    clients = [threading.Thread(target=_send, args=(address, sent)) for _ in range(CLIENTS)]
    longest = 0.0
    with closing(http.client.HTTPConnection(address)) as connection:
        ask = _asker(connection)
        ask()
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            longest = max(longest, ask())
            time.sleep(0.002)
    return longest


def _asker(connection: http.client.HTTPConnection) -> Callable[[], float]:
    def ask() -> float:
        begun = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        return 1000 * (time.perf_counter() - begun)

    return ask


def _send(address: str, sent: Sent) -> None:
    """Send a request. One that is rejected before its body is read may be cut off; that counts as an answer too."""
    with closing(http.client.HTTPConnection(address)) as connection:
        try:
            headers = {"Content-Type": sent.kind, "Accept": sent.accept}
            connection.request("POST" if sent.body else "GET", sent.path, sent.body or None, headers)
            connection.getresponse().read()
        except (ConnectionError, http.client.HTTPException):
            return


if __name__ == "__main__":
    run(quick=False).print()
