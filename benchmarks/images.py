"""From a 12-megapixel file to the model's input, on one core: our way, libvips' way, and how much quality each of them loses.

The functions of images/ are called as in a worker process, in a fixed alternating order; then the whole way through the image store, with
its worker process. The quality reference is the slow way: decode every pixel, then one pass of LANCZOS.
"""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.photo import SMALL, TWELVE_MEGAPIXELS, encoded, photo
from benchmarks.report import Figure, Report, ratio
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.encode import Encoded
from llava_gateway.images.families import AnyShape
from llava_gateway.images.info import Limits
from llava_gateway.images.ingest import Ready, ingest
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.store import ImageStore
from llava_gateway.parts import Sight
from llava_gateway.settings import Settings

SQUARE_MS = 70.0
"""Goal at 336 px, milliseconds on one core."""
SQUARE = VisionProfile(SquareEye(336))
WIDE_SIDE = 672
WIDE = VisionProfile(AnyShape(WIDE_SIDE))
OTHER_FORMATS = ("HEIC", "PNG", "WEBP")


def run(*, quick: bool) -> Report:
    report = Report("images", "a 12-megapixel image to model-ready, on one core", quick)
    rounds, size = (1, SMALL) if quick else (15, TWELVE_MEGAPIXELS)
    image = photo(size)
    jpeg = encoded(image, "JPEG")
    report.notes.append(f"The image: {size[0]}x{size[1]}, as JPEG {len(jpeg) / 1e6:.1f} MB.")
    with one_core():
        _jpeg(report, jpeg, rounds)
        for kind in OTHER_FORMATS:
            _other(report, kind, encoded(image, kind), max(1, rounds // 3))
    asyncio.run(_whole_way(report, jpeg, rounds))
    return report


def _jpeg(report: Report, jpeg: bytes, rounds: int) -> None:
    ways: dict[str, Callable[[], bytes]] = {
        "JPEG to 336: ours": lambda: ready(jpeg, SQUARE).data,
        "JPEG to 672: ours": lambda: ready(jpeg, WIDE).data,
        "JPEG to 672: Pillow, every pixel": lambda: _slow(jpeg, WIDE_SIDE),
    }
    if (vips := _vips()) is not None:
        ways["JPEG to 672: pyvips"] = lambda: vips(jpeg, WIDE_SIDE)
    else:
        report.notes.append("pyvips is not installed: its rows are left out.")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(_timed(way))
    for name, values in times.items():
        report.figures.append(Figure(name, "ms", tuple(values), SQUARE_MS if "336" in name else None))
    if vips is not None:
        report.ratios.append(ratio("JPEG to 672: ours / pyvips", times["JPEG to 672: ours"], times["JPEG to 672: pyvips"], 1.0))
    report.ratios.append(ratio("JPEG to 672: ours / Pillow", times["JPEG to 672: ours"], times["JPEG to 672: Pillow, every pixel"]))
    _quality(report, jpeg, ways)


def _other(report: Report, kind: str, data: bytes, rounds: int) -> None:
    """Compare by CPU time: our way to the rendition, then Pillow's decoder and a pass of LANCZOS, and libvips where it reads the format."""
    side = SQUARE.plan((1, 1), Sight()).canvases[0].size[0]
    ways: dict[str, Callable[[], bytes]] = {
        f"{kind} to {side}: ours": lambda: ready(data, SQUARE).data,
        f"{kind} to {side}: Pillow, every pixel": lambda: _slow(data, side),
    }
    if (vips := _vips()) is not None:
        try:
            vips(data, side)
        except Exception:  # pyvips wheels can't decode HEIC
            report.notes.append(f"pyvips can't read {kind} here: its row is left out.")
        else:
            ways[f"{kind} to {side}: pyvips"] = lambda: vips(data, side)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(_cpu(way))
    ours, *others = times.items()
    for name, values in times.items():
        report.figures.append(Figure(name, "ms", tuple(values)))
    for name, values in others:
        report.ratios.append(ratio(f"{ours[0]} / {name.split(': ')[1]}", ours[1], values))
    _quality(report, data, ways)


def _quality(report: Report, data: bytes, ways: dict[str, Callable[[], bytes]]) -> None:
    """Compare with the image from all pixels and LANCZOS, before any encoding."""
    full = Image.open(io.BytesIO(data)).convert("RGB")
    for name, way in ways.items():
        got = Image.open(io.BytesIO(way())).convert("RGB")
        side = max(got.size)
        inner = full.copy() if full.width <= side else full.resize((side, -(-full.height * side // full.width)), Image.Resampling.LANCZOS)
        top = (got.height - inner.height) // 2
        ours = np.asarray(got.crop((0, top, side, top + inner.height)), np.float64)
        reference = np.asarray(inner, np.float64)
        report.figures.append(Figure(f"{name}: PSNR", "dB", (psnr(ours, reference),)))
        report.figures.append(Figure(f"{name}: SSIM", "", (ssim(ours, reference),)))


def ready(data: bytes, profile: VisionProfile) -> Encoded:
    """Return the first response of a worker, for which the model waits."""
    first = next(iter(ingest(data, Limits(), profile)))
    assert isinstance(first, Ready)
    assert first.rendered is not None
    return first.rendered.pieces[0]


def _slow(data: bytes, side: int) -> bytes:
    im = Image.open(io.BytesIO(data)).convert("RGB")
    im = im.resize((side, round(im.height * side / im.width)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    im.save(out, "JPEG", quality=92, subsampling="4:4:4")
    return out.getvalue()


def _vips() -> Callable[[bytes, int], bytes] | None:
    """Return libvips' own fast way, to the same size and the same kind of JPEG."""
    os.environ["VIPS_CONCURRENCY"] = "1"
    try:
        import pyvips
    except (ImportError, OSError):
        return None
    pyvips.cache_set_max(0)  # it would return the last result again

    def shrink(data: bytes, side: int) -> bytes:
        thumbnail = pyvips.Image.thumbnail_buffer(data, side, height=side, size="down")
        made: bytes = thumbnail.jpegsave_buffer(Q=92, subsample_mode="off", keep="none")
        return made

    return shrink


async def _whole_way(report: Report, jpeg: bytes, rounds: int) -> None:
    """Time the way through the store: from the file to the rendition, then to the canonical image."""
    store = ImageStore(Settings(image_workers=1))
    await store.start()
    try:
        ready_ms, stored_ms = [], []
        for number in range(rounds + 1):
            began = time.perf_counter()
            image = await store.add(_another(jpeg, number), SQUARE)
            ready_ms.append((time.perf_counter() - began) * 1000)
            await image.stored()
            stored_ms.append((time.perf_counter() - began) * 1000)
    finally:
        await store.aclose()
    report.figures.append(Figure("JPEG to 336: ours, through the store", "ms", tuple(ready_ms[1:])))
    report.figures.append(Figure("JPEG: ours, canonical image stored", "ms", tuple(stored_ms[1:])))


def _another(jpeg: bytes, number: int) -> bytes:
    """Return the same image as another file (with a comment in it), because the store recognises files."""
    comment = b"%d" % number
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


@contextmanager
def one_core() -> Iterator[None]:
    """Run on one core, if the system can limit it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def psnr(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the peak signal-to-noise ratio of two 8-bit images, in dB."""
    error = float(np.mean((one - other) ** 2))
    return 10 * float(np.log10(255**2 / max(error, 1e-10)))


def ssim(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the structural similarity of the brightness, mean over 8x8 windows (Wang et al., 2004, with a flat window)."""
    a, b = (image @ np.array([0.299, 0.587, 0.114]) for image in (one, other))
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b, both = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2, _window(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    quality = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(np.mean(quality))


def _window(values: NDArray[np.float64], side: int = 8) -> NDArray[np.float64]:
    """Return the means over all windows of side x side."""
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    means: NDArray[np.float64] = (sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]) / side**2
    return means
