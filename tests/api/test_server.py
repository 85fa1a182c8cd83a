"""The server as a process: out of file descriptors, and at shutdown."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from benchmarks.children import child

pytestmark = pytest.mark.real

SERVE = """
import resource, sys
from llava_gateway.api.server import run
from llava_gateway.settings import Settings
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
sys.exit(run(Settings(port=0, engine="embedded"), lambda port, state: print(port, flush=True)))
"""


BUSY = """
import resource, sys
from llava_gateway.api.server import run
from llava_gateway.settings import Settings
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 160))
times = {"engine_poll_interval": 0.05, "body_gap_timeout": 100, "connect_timeout": 60}
settings = Settings(port=0, engine="ollama", ollama_host=sys.argv[1], ollama_slots=150, **times)
sys.exit(run(settings, lambda port, state: print(port, resource.getrlimit(resource.RLIMIT_NOFILE)[0], flush=True)))
"""
QUESTION = (
    b"POST /ask HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b'Content-Length: 15\r\n\r\n{"prompt":"Hi"}'
)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start `serve` with a low limit of open files. Yields the process and its port."""
    process = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path)
    assert process.stdout
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_server_out_of_files_goes_on_when_there_are_some_again_and_ends_with_0(process: tuple[subprocess.Popen[str], int]) -> None:
    server, port = process
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 300
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as connections:
        for _ in range(200):
            connections.enter_context(socket.create_connection(("127.0.0.1", port)))
        with pytest.raises(httpx2.HTTPError):
            httpx2.get(f"{url}/healthz", timeout=1, trust_env=False)
    with httpx2.Client(base_url=url, transport=httpx2.HTTPTransport(retries=5), timeout=60, trust_env=False) as client:
        assert client.get("/healthz").status_code == 200
        assert client.post("/ask", json={"prompt": "Hello"}).status_code == 200
        server.send_signal(signal.SIGTERM)  # the client's idle connection does not delay it
        assert server.wait(timeout=60) == 0


async def test_what_a_server_without_files_cannot_answer_is_overloaded(tmp_path: Path) -> None:
    """Clients that keep their connections open take the files that answers need. The engine is there all the time."""
    with child("paced_ollama", "20", "0.1") as ollama, ExitStack() as idle:
        command = [sys.executable, "-c", BUSY, ollama.hello["url"]]
        server = subprocess.Popen(  # noqa: ASYNC220
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
        )
        idle.callback(server.wait)
        idle.callback(server.kill)
        assert server.stdout
        idle.callback(server.stdout.close)
        port, limit = map(int, server.stdout.readline().split())
        assert limit == 160  # raised to what the process may have

        async def ask() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(QUESTION)
            try:
                return await reader.read()
            finally:
                writer.close()

        for _ in range(80):
            idle.enter_context(socket.create_connection(("127.0.0.1", port)))
        answers = list(filter(None, await asyncio.gather(*(ask() for _ in range(60)))))  # some may not even be accepted
        whole = [answer for answer in answers if b"event: done" in answer]
        refused = [answer for answer in answers if b'"code":"overloaded"' in answer]
        assert (len(whole) + len(refused), b"".join(answers).count(b"upstream_unavailable")) == (len(answers), 0)
        assert whole
        assert any(b'"reason":"out_of_files"' in answer for answer in refused)
        assert b"event: done" in await ask()
