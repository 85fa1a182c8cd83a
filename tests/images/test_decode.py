from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from llava_gateway.errors import ImageError, ImageParseError
from llava_gateway.images.decode import Source, check_buffer, check_size
from llava_gateway.images.flaws import damaged
from llava_gateway.images.info import Limits
from llava_gateway.images.jpeg import samples_kept
from llava_gateway.images.sniff import Format
from llava_gateway.notes import note
from llava_gateway.settings import Settings
from tests.odd_images import odd, saved, scene, with_size

LIMITS = Limits()


@pytest.mark.parametrize(
    ("size", "kind", "code"),
    [
        ((8, 8), "PNG", None),
        ((7, 8), "PNG", "image_too_small"),
        ((512, 8), "PNG", None),
        ((513, 8), "PNG", "image_too_large"),
        ((65_500, 1_024), "BMP", "image_too_large"),
        ((60_000, 1_024), "PNG", None),
        ((65_501, 1_024), "JPEG", "image_too_large"),
        ((8_192, 6_144), "HEIC", None),
        ((8_160, 6_144), "JPEG", None),
        ((8_688, 5_792), "PNG", None),
        ((10_000, 6_400), "TIFF", None),
        ((10_000, 6_401), "TIFF", "image_too_large"),
        ((16_320, 12_240), "JPEG", None),
        ((20_000, 13_500), "JPEG", None),
        ((20_000, 13_501), "JPEG", "image_too_large"),
        ((5_000, 5_000), "GIF", None),
        ((5_001, 5_000), "GIF", "image_too_large"),
        ((5_001, 5_000), "WEBP", "image_too_large"),
    ],
)
def test_limits_of_size(size: tuple[int, int], kind: Format, code: str | None) -> None:
    if code is None:
        check_size(size, kind, LIMITS)
        return
    with pytest.raises(ImageError) as caught:
        check_size(size, kind, LIMITS)
    assert (caught.value.code, caught.value.status) == (code, 422)
    assert (caught.value.values["width"], caught.value.values["height"]) == size


def test_the_limits_are_those_given() -> None:
    with pytest.raises(ImageError) as caught:
        Source(odd("png").data, replace(LIMITS, max_pixels=5_000))
    assert (caught.value.reason, caught.value.values["most"], caught.value.values["format"]) == ("image_megapixels", 0.005, "PNG")


@pytest.mark.parametrize(
    ("size", "kind", "setting"),
    [
        ((8_000, 8_001), "PNG", "image_max_pixels"),
        ((20_000, 13_501), "JPEG", "image_max_pixels_jpeg"),
        ((5_000, 5_001), "GIF", "image_max_pixels_webp_gif"),
        ((65_501, 2_000), "JPEG", "image_max_side"),
        ((1_000, 10), "PNG", "image_max_aspect"),
    ],
)
@pytest.mark.wording
def test_the_hint_names_the_setting(size: tuple[int, int], kind: Format, setting: str) -> None:
    with pytest.raises(ImageError) as caught:
        check_size(size, kind, LIMITS)
    assert f"raise {setting} in the settings" in caught.value.hint
    assert setting in Settings.model_fields


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, None),
        ({"progressive": True, "subsampling": "4:4:4"}, 64),
        ({"progressive": True, "subsampling": "4:2:0"}, 128),
    ],
    ids=["baseline", "progressive 4:4:4", "progressive 4:2:0"],
)
def test_a_jpeg_that_needs_all_of_its_data_in_memory_may_have_fewer_pixels(options: dict[str, Any], most: int | None) -> None:
    data = with_size(saved(scene(), "JPEG", **options), (16_000, 12_000))
    if most is None:
        Source(data, LIMITS)
        return
    with pytest.raises(ImageError) as caught:
        Source(data, LIMITS)
    assert (caught.value.code, caught.value.reason) == ("image_too_large", "image_megapixels_progressive")
    assert caught.value.values == {"width": 16_000, "height": 12_000, "most": most, "setting": "image_max_pixels"}
    check_buffer((8_192, 6_144), samples_kept(with_size(data, (8_192, 6_144))), LIMITS)


def test_a_jpeg_is_reduced_while_it_is_decoded_and_whole_when_asked() -> None:
    source = Source(saved(scene(size=(1600, 1200)), "JPEG"), LIMITS)
    assert source.pixels((100, 75))[0].size == (200, 150)
    assert source.pixels((1600, 1200))[0].size == (1600, 1200)


@pytest.mark.parametrize("percent", [10, 50, 90])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("target", [(100, 75), (1600, 1200)], ids=["reduced", "whole"])
def test_a_jpeg_that_is_cut_off_is_refused_reduced_or_not(percent: int, progressive: bool, target: tuple[int, int]) -> None:
    data = saved(Image.effect_noise((1600, 1200), 50).convert("RGB"), "JPEG", progressive=progressive)
    with pytest.raises(ImageParseError, match="cut off at"):
        Source(data[: len(data) * percent // 100], LIMITS).pixels(target)


def test_anything_but_a_jpeg_is_decoded_once() -> None:
    source = Source(odd("png").data, LIMITS)
    assert source.pixels((10, 10))[0] is source.pixels((96, 64))[0]


@pytest.mark.parametrize(
    ("name", "lossless", "subsampled"),
    [
        *(("jpeg", False, True), ("jpeg 4:4:4", False, False), ("jpeg 4:2:2", False, False), ("jpeg gray", False, False)),
        *(("png", True, False), ("gif", True, False), ("bmp", True, False), ("tiff tiff_lzw", True, False), ("tiff jpeg", False, False)),
        *(("webp", False, False), ("webp lossless", True, False), ("avif", False, False), ("heic", False, False)),
    ],
)
def test_what_a_file_keeps(name: str, lossless: bool, subsampled: bool) -> None:
    source = Source(odd(name).data, LIMITS)
    assert (source.lossless, source.subsampled) == (lossless, subsampled)


@pytest.mark.parametrize("name", ["jpeg turned 6", "png turned 6", "tiff turned 6", "avif turned 6", "heif turned 6", "webp turned 6"])
def test_sizes_before_and_after_turning(name: str) -> None:
    source = Source(odd(name).data, LIMITS)
    assert source.upright_size == (96, 64)
    assert source.original_size == (64, 96)


def test_an_exif_tag_of_a_heic_turns_nothing_without_the_containers_own() -> None:
    """libheif rotates by `irot`; EXIF in a HEIC is only a copy (ISO 23008-12, 6.5.10), so only the container counts."""
    data = odd("heif turned 6").data.replace(b"irot", b"free")
    source = Source(data, LIMITS)
    assert source.upright_size == source.original_size == (64, 96)
    assert not any(fact.code.startswith("rotated") for fact in source.facts)


def test_how_much_of_a_cut_file_is_there_is_told_where_the_file_says_how_long_it_is() -> None:
    webp, jpeg = odd("webp").data, odd("jpeg").data
    cut = damaged(webp[: len(webp) * 61 // 100 + 1])
    assert (cut.reason, cut.values) == ("image_cut_off_at", {"percent": 61})
    assert damaged(jpeg, cut=True).reason == "image_cut_off"
    assert damaged(jpeg).reason == ImageParseError.code


def test_frames_are_not_counted() -> None:
    """Only the second of a GIF's 3,000 frames is examined."""
    frames = [Image.new("L", (16, 16), 255 * (i % 2)) for i in range(3000)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    source = Source(data, LIMITS)
    assert source.warnings == (note("first_frame_only"),)
    image = Image.open(BytesIO(data))
    assert getattr(image, "is_animated", False)
    assert source._unloaded is not None
    assert getattr(source._unloaded, "_n_frames", 1) is None
