from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from benchmarks.images import SQUARE, psnr
from benchmarks.photo import photo
from llava_gateway.images import webp
from llava_gateway.images.decode import Source
from llava_gateway.images.encode import Encoded
from llava_gateway.images.info import Limits
from llava_gateway.images.ingest import Ready, ingest

SIZE = (1601, 1203)


def _file(im: Image.Image, **options: Any) -> bytes:
    out = BytesIO()
    im.save(out, "WEBP", **{"method": 1, **options})
    return out.getvalue()


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    return photo(SIZE)


@pytest.fixture(scope="module")
def lossy(scene: Image.Image) -> bytes:
    return _file(scene, quality=85)


def _results(data: bytes) -> tuple[Encoded, Encoded]:
    ready, canonical = ingest(data, Limits(), SQUARE)
    assert isinstance(ready, Ready)
    assert ready.rendered
    assert isinstance(canonical, Encoded)
    return ready.rendered.pieces[0], canonical


@pytest.mark.skipif(webp._library() is None, reason="this Pillow has libwebp built in")
@pytest.mark.parametrize(
    "options", [{"quality": 85}, {"quality": 20, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}, {"lossless": True, "quality": 10}]
)
def test_full_size_is_that_of_pillow(scene: Image.Image, options: dict[str, Any]) -> None:
    data = _file(scene, **options)
    decoded = webp.decoded(data, SIZE)
    assert decoded is not None
    assert (decoded.mode, decoded.tobytes()) == ("RGB", Image.open(BytesIO(data)).convert("RGB").tobytes())


@pytest.mark.skipif(webp._library() is None, reason="this Pillow has libwebp built in")
def test_a_reduced_decode_loses_nothing_visible(lossy: bytes) -> None:
    reduced = webp.decoded(lossy, SIZE, 3)
    assert reduced is not None
    assert reduced.size == (533, 401)
    whole = Image.open(BytesIO(lossy)).convert("RGB")
    target = (336, 252)
    one, other = (np.asarray(im.resize(target, Image.Resampling.BICUBIC), np.float64) for im in (reduced, whole))
    assert psnr(one, other) > 40


def test_what_pillow_must_decode(scene: Image.Image, lossy: bytes) -> None:
    small = scene.resize((64, 48))
    clear = small.copy()
    clear.putalpha(128)
    assert webp.decoded(_file(clear), small.size) is None
    assert webp.decoded(_file(small, save_all=True, append_images=[small.rotate(180)]), small.size) is None
    assert webp.decoded(_file(small, lossless=True), small.size, 2) is None
    assert webp.decoded(lossy[: len(lossy) // 2], SIZE) is None
    assert webp.decoded(lossy, (SIZE[0], SIZE[1] + 1)) is None


def test_the_same_without_libwebp(lossy: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, canonical = _results(lossy)
    assert _results(lossy) == (fast, canonical)
    monkeypatch.setattr(webp, "_library", lambda: None)
    slow, same = _results(lossy)
    assert same == canonical
    one, other = (np.asarray(Image.open(BytesIO(piece.data)), np.float64) for piece in (fast, slow))
    assert psnr(one, other) > 40


@pytest.fixture
def looked_up() -> Iterator[None]:
    """Let libwebp be looked for again, in the test and after it."""
    webp._library.cache_clear()
    yield
    webp._library.cache_clear()


class _WithoutFunctions:
    """A module that has libwebp built in and shows none of its functions, as Pillow's is on Windows."""


@pytest.mark.usefixtures("looked_up")
@pytest.mark.parametrize("wrong", ["no library", "no functions", "no module"])
def test_pillow_decodes_where_libwebp_can_not_be_found(wrong: str, scene: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    def cdll(path: str) -> Any:
        if wrong == "no functions":
            return _WithoutFunctions()
        raise OSError(f"{path}: cannot open shared object file")

    if wrong == "no module":
        monkeypatch.setitem(sys.modules, "PIL._webp", None)
    else:
        monkeypatch.setattr(ctypes, "CDLL", cdll)
    data = _file(scene.resize((320, 240)), quality=85)
    assert webp._library() is None
    assert webp.decoded(data, (320, 240)) is None
    shown, _ = Source(data, Limits()).pixels((320, 240))
    assert shown.tobytes() == Image.open(BytesIO(data)).convert("RGB").tobytes()


@pytest.mark.skipif(sys.platform != "linux", reason="Pillow's wheels for other systems may have libwebp built in")
def test_linux_wheels_offer_libwebp() -> None:
    """Fails if Pillow's wheels no longer link libwebp as a library, which would cost twice the time."""
    assert features.check("webp")
    assert webp._library() is not None
