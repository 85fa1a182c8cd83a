"""What the image store hands to its workers, and how it waits for them."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.stored import StoredImage
from llava_gateway.parts import Sight


class Ingest:
    """A running ingest; all requests that send the same bytes meanwhile wait for the same image."""

    def __init__(self) -> None:
        self.image: asyncio.Future[StoredImage] = asyncio.get_running_loop().create_future()
        self.image.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.task: asyncio.Task[Any] | None = None
        self.waiters = 0
        self.has_worker = False


def rendition_job(profile: VisionProfile | None, sight: Sight) -> dict[str, Any]:
    """Return the part of a worker's job that names the rendition to make."""
    return {"profile": profile.to_json() if profile else None, "sight": sight.to_json()}


async def sha256_of(data: bytes) -> str:
    """Return the sha256 in hex. Hashes large data in a thread: 20 MB take 20 ms or more, which would block the event loop."""
    if len(data) < 2**20:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
