from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from llava_gateway.errors import ImageError
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.profile import VisionProfile
from tests.images.conftest import DirectWorker
from tests.odd_images import odd, saved, scene, taller

pytestmark = pytest.mark.real

SQUARE = VisionProfile(SquareEye(112))
NEEDS_LIMITS = pytest.mark.skipif(sys.platform == "win32", reason="this system can't limit the memory of a process")


def test_it_ends_when_its_stdin_does() -> None:
    assert DirectWorker().close() == 0


def test_it_is_light() -> None:
    """Modules that a worker does not need would only slow its start and cost memory."""
    heavy = ("fastapi", "aiohttp", "pydantic", "asyncio")
    program = f"import sys, llava_gateway.images.worker; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_a_refusal_leaves_it_able(worker: DirectWorker) -> None:
    for name in ("png cut off at 50 %", "heic cut off at 50 %", "png text bomb before the pixels", "jpeg of noise"):
        with pytest.raises(ImageError):
            worker.ingest(odd(name).data, SQUARE)
        assert worker.ingest(odd("png").data, SQUARE).image.size == (96, 64)


@NEEDS_LIMITS
def test_an_image_beyond_its_memory_is_refused_and_it_lives() -> None:
    small = DirectWorker(memory=300 * 2**20)
    try:
        with pytest.raises(ImageError) as caught:
            small.ingest(saved(Image.new("RGB", (9000, 5000)), "PNG"), SQUARE)
        assert (caught.value.code, caught.value.reason) == ("image_too_large", "image_memory")
        assert small.ingest(odd("png").data, SQUARE).image.size == (96, 64)
    finally:
        small.close()


@NEEDS_LIMITS
def test_a_jpeg_of_270_megapixels_needs_little_of_its_memory() -> None:
    """A worker may use 1 GiB. In full colour and at full size, the pixels alone would take that."""
    part = saved(scene(size=(20_000, 128)), "JPEG", quality=80, restart_marker_rows=1)
    small = DirectWorker(memory=700 * 2**20)
    try:
        made = small.ingest(taller(part, 105), SQUARE)
        assert (made.info.original_width, made.info.original_height) == (20_000, 13_440)
        assert made.image.width * made.image.height <= 12_000_000
    finally:
        small.close()


@NEEDS_LIMITS
def test_ctrl_c_is_the_gateways_business() -> None:
    one = DirectWorker()
    one.ingest(odd("png").data, SQUARE)  # it runs and has set its handlers
    os.kill(one.process.pid, signal.SIGINT)
    assert one.ingest(odd("png").data, SQUARE).image.size == (96, 64)
    assert one.close() == 0


@NEEDS_LIMITS
def test_processor_time_is_limited_by_job_and_not_by_life() -> None:
    import resource

    one = DirectWorker()
    try:
        made = [one.ingest(odd("png").data, SQUARE) for _ in range(3)]
        assert made[0] == made[2]
        soft, _ = resource.prlimit(one.process.pid, resource.RLIMIT_CPU)
        assert 10 < soft <= 13
    finally:
        one.close()


def test_it_ends_when_the_gateway_dies() -> None:
    program = (
        "import json, os, subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-m', 'llava_gateway.images.worker', str(2**30)], stdin=-1, stdout=-1)\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    gateway = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert gateway.stdout
    pid = json.loads(gateway.stdout.readline())
    gateway.kill()
    gateway.communicate()
    deadline = time.monotonic() + 60
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    """Return whether a process runs, and is not just a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
