"""The server as a process: what it does when files run out, and how it ends."""

from __future__ import annotations

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

SERVE = """
import resource, sys
from llava_gateway.api.server import run
from llava_gateway.settings import Settings
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
sys.exit(run(Settings(port=0, engine="embedded"), lambda port, state: print(port, flush=True)))
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`serve` with few files to open, and its port."""
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
    with httpx2.Client(base_url=url, transport=httpx2.HTTPTransport(retries=5), timeout=10, trust_env=False) as client:
        assert client.get("/healthz").status_code == 200
        assert client.post("/ask", json={"prompt": "Hello"}).status_code == 200
        server.send_signal(signal.SIGTERM)  # the client's kept connection does not hold it up
        assert server.wait(timeout=10) == 0
