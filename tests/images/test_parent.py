"""Test that no decoder runs outside a worker: here all of them are replaced in the gateway's own process."""

from __future__ import annotations

from typing import Any, NoReturn, get_args

import pillow_heif
import pytest
import resvg_py
from PIL import Image, ImageFile

from llava_gateway.cli.sample_images import sample
from llava_gateway.errors import ImageError
from llava_gateway.images.anyres import SquareEye
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.sniff import Format
from llava_gateway.images.store import ImageStore
from llava_gateway.settings import Settings
from tests.odd_images import odd

PROFILE = VisionProfile(SquareEye(112))


def forbid(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("a decoder runs in the gateway's own process")


async def test_no_decoder_runs_outside_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {kind: sample(kind) for kind in get_args(Format)}
    flawed = [odd(name).data for name in ("png cut off at 50 %", "jpeg progressive cut off at 50 %", "jpeg xl", "jpeg of noise")]
    for owner, name in (
        *((Image, "open"), (Image, "frombytes"), (Image, "_getdecoder"), (Image.Image, "load"), (ImageFile.ImageFile, "__init__")),
        (resvg_py, "svg_to_bytes"),
        *((pillow_heif, "open_heif"), (pillow_heif, "read_heif"), (pillow_heif.HeifFile, "__init__")),
    ):
        monkeypatch.setattr(owner, name, forbid)
    with pytest.raises(AssertionError, match="own process"):
        Image.open("x.png")
    store = ImageStore(Settings(image_workers=1))
    await store.start()
    try:
        images = [await store.add(data, PROFILE) for data in files.values()]
        for image in images:
            store.hold(image)
            await image.stored()
            await store.view(image, PROFILE)
        await (await store.rotated(images[0], 90)).stored()
        await (await store.sheet(images[:3])).stored()
        for data in flawed:
            with pytest.raises(ImageError):
                await store.add(data, PROFILE)
    finally:
        await store.aclose()
    assert [image.info.original_format for image in images] == list(files)
