"""Share one real worker process among all tests that ingest images; they talk to it without an event loop."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from llava_gateway.images import frames
from llava_gateway.images.info import ImageInfo, Limits
from llava_gateway.images.profile import VisionProfile
from llava_gateway.parts import Page

MEMORY = 1024 * 1024 * 1024


@dataclass(frozen=True)
class Made:
    """The results of a worker's ingest of a file."""

    info: ImageInfo
    rendition: bytes
    canonical: bytes

    @property
    def image(self) -> Image.Image:
        return Image.open(BytesIO(self.canonical))

    @property
    def sent(self) -> Image.Image:
        return Image.open(BytesIO(self.rendition))


class DirectWorker:
    def __init__(self, memory: int = MEMORY) -> None:
        command = [sys.executable, "-P", "-m", "llava_gateway.images.worker", str(memory)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ingest(self, data: bytes, profile: VisionProfile | None, limits: Limits | None = None, *, background: str | None = None) -> Made:
        """Ingest a file. Raises the ImageError with which the worker answers."""
        job = {"do": "ingest", "limits": (limits or Limits()).to_json(), "profile": profile and profile.to_json(), "sight": {}}
        self._send({**job, "background": background}, data)
        header, rendition = self.next()
        return Made(ImageInfo.from_json(header["info"]), rendition, self.next()[1])

    def send_page(self, data: bytes, page: Page) -> None:
        """Let the worker begin with a page of a file."""
        job = {"do": "ingest", "limits": Limits().to_json(), "page": page.to_json(), "profile": None, "sight": {}}
        self._send(job, data)

    def render(self, canonical: bytes, profile: VisionProfile) -> bytes:
        self._send({"do": "render", "profile": profile.to_json(), "sight": {}}, canonical)
        return self.next()[1]

    def next(self) -> frames.Frame:
        assert self.process.stdout is not None
        frame = frames.read(self.process.stdout)  # type: ignore[arg-type]
        assert frame is not None, "the worker is gone"
        if frame[0]["is"] == "error":
            raise frames.error_from(frame[0])
        return frame

    def _send(self, header: dict[str, Any], data: bytes) -> None:
        assert self.process.stdin is not None
        frames.write(self.process.stdin, {**header, "timeout": 10}, data)  # type: ignore[arg-type]
        assert self.next()[0] == {"is": "started"}

    def close(self) -> int:
        """End stdin. Returns the exit status."""
        self.process.communicate(timeout=60)
        return self.process.returncode

    def kill(self) -> None:
        """Kill the worker, for tests that leave it in the middle of a job."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="session")
def worker() -> Iterator[DirectWorker]:
    one = DirectWorker()
    yield one
    assert one.close() == 0
