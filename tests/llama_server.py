"""A real llama.cpp server with files that a test names, and a client that may send it any request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from llava_gateway.engines.llama_process import LlamaCommand, LlamaProcess


@asynccontextmanager
async def llama_server(name: str, gguf: Path, mmproj: Path | None, num_ctx: int) -> AsyncIterator[LlamaProcess]:
    """Start it on one CPU thread with one slot, so that its sums are the same each time."""
    command = LlamaCommand(name, str(gguf), str(mmproj) if mmproj else None, num_ctx, num_gpu=0, slots=1, threads=1)
    server = await LlamaProcess.start(command)
    try:
        yield server
    finally:
        await server.stop()


def client_of(server: LlamaProcess) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.address, headers={"Authorization": f"Bearer {server.api_key}"}, timeout=60)
