"""The frames of animations: composed as a browser does, chosen by what they show, and put on a sheet."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from llava_gateway.errors import ImageError, InvalidRequest
from llava_gateway.images.animation import Animation
from llava_gateway.images.decode import Source
from llava_gateway.images.documents import examine, ingest_page, thumbnails
from llava_gateway.images.encode import Encoded
from llava_gateway.images.info import ImageInfo, Limits
from llava_gateway.images.ingest import Ready
from llava_gateway.images.pages import Document, may_have_pages
from llava_gateway.images.store import ImageStore
from llava_gateway.notes import note
from llava_gateway.parts import Selection
from llava_gateway.settings import Settings
from tests.images.animations import PALETTE, Patch, animations, gif
from tests.odd_images import saved
from tests.sample_images import shape

LIMITS = Limits()
KINDS = ("GIF", "WEBP", "PNG", "AVIF")


def film(kind: str, *, blanks: int = 1, duration: int = 500) -> bytes:
    """Animate blank frames, then a circle, a square, a star, the circle again, and a black circle."""
    blank = Image.new("RGB", (96, 96), "white")
    shapes = (("circle", "red"), ("square", "blue"), ("star", "green"), ("circle", "red"), ("circle", "black"))
    drawn = [shape(what, colour, size=(96, 96)) for what, colour in shapes]
    frames = [blank] * blanks + drawn
    # Pillow merges equal neighbours, so a dot tells them apart.
    for number, frame in enumerate(frames[:blanks]):
        frames[number] = frame.copy()
        frames[number].putpixel((0, number), (254, 254, 254))
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=duration)


def made(data: bytes, document: Document, index: int = 0) -> tuple[ImageInfo, Image.Image]:
    ready, canonical = ingest_page(data, document.found[index].page, LIMITS, None)
    assert isinstance(ready, Ready)
    assert isinstance(canonical, Encoded)
    return ready.info, Image.open(BytesIO(canonical.data)).convert("RGB")


@pytest.mark.parametrize("kind", KINDS)
def test_an_animation_is_one_sheet_of_the_frames_that_differ_most(kind: str) -> None:
    data = film(kind)
    document = examine(data, LIMITS, Selection())
    (found,) = document.found
    assert (document.count, found.page.frames) == (6, (1, 2, 3, 5)), "neither the blank one nor the one that comes twice"
    info, sheet = made(data, document)
    assert (info.original_format, info.original_bytes) == (kind, len(data))
    assert info.warnings == (note("animation_sheet", frames="1-3, 5", shown=4, count=6),)
    assert info.changes[0] == note("sheet", count=4)
    assert sheet.width > 2 * 96


@pytest.mark.parametrize("kind", KINDS)
def test_chosen_frames_are_images_of_their_own_with_their_time(kind: str) -> None:
    data = film(kind)
    document = examine(data, LIMITS, Selection(frames=(5, 0)))
    assert [(each.page.index, each.page.seconds) for each in document.found] == [(5, 2.5), (0, 0.0)]
    info, frame = made(data, document)
    assert info.changes[0] == note("frame_at", frame=5, seconds=2.5, count=6)
    assert max(frame.getpixel((48, 48))) < 40, "the black circle"  # type: ignore[arg-type]
    three = examine(data, LIMITS, Selection(scenes=3))
    assert len(three.found) == 3
    assert [each.page.frames for each in three.found] == [(), (), ()]


def test_an_animation_that_shows_one_thing_is_one_frame_and_not_its_blank_beginning() -> None:
    blank, circle = Image.new("RGB", (96, 96), "white"), shape("circle", "red", size=(96, 96))
    document = examine(saved(blank, "GIF", save_all=True, append_images=[circle]), LIMITS, Selection())
    assert [(each.page.index, each.page.frames) for each in document.found] == [(1, ())]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_that_is_cut_off_is_shown_with_the_frames_that_are_whole(kind: str) -> None:
    whole = film(kind)
    data = whole[: len(whole) * 6 // 10]
    document = examine(data, LIMITS, Selection())
    assert 2 <= document.count < 6
    info, sheet = made(data, document)
    assert note("animation_cut", count=document.count) in info.warnings
    assert info.original_format == kind
    assert sheet.size > (96, 96)
    last = examine(data, LIMITS, Selection(frames=(document.count - 1,)))
    assert made(data, last)[1].size == (96, 96)
    assert [warning.code for warning in made(whole, examine(whole, LIMITS, Selection()))[0].warnings] == ["animation_sheet"]


def test_a_blank_animation_is_its_first_frame() -> None:
    data = gif(Patch((0, 0, 60, 60), 1), Patch((0, 0, 60, 60), 1))
    assert [each.page.index for each in examine(data, LIMITS, Selection()).found] == [0]


def test_a_frame_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        examine(film("GIF"), LIMITS, Selection(frames=(6,)))
    assert (refused.value.reason, refused.value.values) == ("frame_beyond", {"frame": 6, "count": 6})


def test_a_heic_is_its_main_image_until_others_are_asked_for() -> None:
    first, second = shape("circle", "red", size=(96, 96)), shape("square", "blue", size=(96, 128))
    data = saved(first, "HEIF", quality=95, save_all=True, append_images=[second])
    assert not may_have_pages(data)
    assert not examine(data, LIMITS, Selection(text_layer=False)).has_many
    document = examine(data, LIMITS, Selection(frames=(1,)))
    assert [each.size for each in document.found] == [(96, 128)]
    assert made(data, document)[1].size == (96, 128)


def layered() -> bytes:
    """Write a Photoshop file of one pixel with two layers, which are that pixel too."""
    channels = b"".join(struct.pack(">hI", channel, 3) for channel in range(3))
    layer = struct.pack(">4iH", 0, 0, 1, 1, 3) + channels + b"8BIMnorm" + bytes(8)
    info = struct.pack(">h", 2) + 2 * layer + 6 * b"\0\0\xff"
    info += bytes(len(info) % 2)
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 64, 64, 8, 3) + bytes(8)
    return head + struct.pack(">II", len(info) + 4, len(info)) + info + bytes(2) + bytes(range(64)) * 64 * 3


@pytest.mark.parametrize("selection", [Selection(), Selection(frames=(0,)), Selection(scenes=2)])
@pytest.mark.parametrize("kind", ["MPO", "PSD"])
def test_previews_and_layers_are_no_frames(kind: str, selection: Selection) -> None:
    """The further images in a phone's or a stereo camera's JPEG, and the layers of a picture that is stored flattened too."""
    first, second = shape("circle", "red", size=(96, 96)), shape("square", "blue", size=(96, 96))
    data = layered() if kind == "PSD" else saved(first, "MPO", save_all=True, append_images=[second])
    assert getattr(Image.open(BytesIO(data)), "n_frames", 1) > 1, "Pillow counts them"
    assert not may_have_pages(data)
    assert not examine(data, LIMITS, selection).has_many
    assert thumbnails(data, LIMITS) == (examine(data, LIMITS, Selection(scenes=9)), [])


@pytest.mark.parametrize(("kind", "several"), [("GIF", True), ("WEBP", False), ("PNG", False), ("AVIF", False), ("TIFF", False)])
def test_only_files_that_may_have_frames_are_looked_into(kind: str, *, several: bool) -> None:
    assert may_have_pages(saved(shape("circle", "red"), kind)) is several
    assert may_have_pages(film(kind))


# What Chromium draws of the frames on white at one point: (the animation, the point, a colour for each frame).
DRAWN = [
    ("gif 0 None", (2, 2), ["white", "white", "white", "white"]),
    ("gif 2 None", (10, 10), ["red", "white", "white", "white"]),
    ("gif 3 None", (30, 30), ["red", "blue", "white", "white"]),
    ("png 0 1", (50, 50), ["red", (135, 0, 120), (135, 0, 120), (29, 200, 26)]),
    ("png 1 1", (50, 50), ["red", (135, 135, 255), (55, 255, 55)]),
    ("png 0 0", (30, 30), ["red", "white", "white", (55, 255, 55)]),
    ("png with another first image 0 0", (5, 5), ["red", (135, 135, 255), "white", "white"]),
]


@pytest.mark.parametrize(("name", "point", "colours"), DRAWN)
def test_frames_are_composed_as_a_browser_does(name: str, point: tuple[int, int], colours: list[Any]) -> None:
    from PIL import ImageColor

    data = animations()[name][1]
    animation = Animation(Source(data, LIMITS), data)
    seen = []
    for _, frame, _ in animation.composed(range(animation.count)):
        ground = Image.new("RGBA", frame.size, "white")
        ground.alpha_composite(frame)
        seen.append(ground.convert("RGB").getpixel(point))
    for own, wanted in zip(seen, colours, strict=True):
        colour = ImageColor.getrgb(wanted) if isinstance(wanted, str) else wanted
        assert max(abs(a - b) for a, b in zip(own, colour, strict=True)) <= 2, (seen, colours)  # type: ignore[arg-type]


def bomb() -> bytes:
    """Write a GIF of a hundred kilobytes whose frames take minutes to compose: each restores 25 million pixels."""
    head = b"GIF89a" + struct.pack("<HHBBB", 5000, 5000, 0xF1, 0, 0) + PALETTE
    control = b"!\xf9\x04" + struct.pack("<BHBB", 3 << 2, 20, 0, 0)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 2, 2, 0) + b"\x02\x03\x84\x51\x00\x00"
    return head + (control + frame) * 4000 + b";"


@pytest.mark.real
@pytest.mark.parametrize(
    ("memory", "seconds", "code"),
    [(384 * 2**20, 60, "image_too_large"), (4 * 2**30, 1, "image_parse_error")],
    ids=["memory", "time"],
)
async def test_a_bomb_of_frames_stays_within_the_limits_of_a_worker(memory: int, seconds: float, code: str) -> None:
    store = ImageStore(Settings(image_workers=1, image_timeout=seconds, image_worker_memory=memory))
    await store.start()
    try:
        with pytest.raises(ImageError) as refused:
            await store.examine(bomb())
        assert refused.value.code == code
        # A worker that died is replaced, and the next file is read.
        image = await store.add(saved(shape("circle", "red"), "PNG"))
        assert await image.stored()
    finally:
        await store.aclose()


def test_a_page_with_too_many_pixels_is_a_page_that_can_not_be_read() -> None:
    pages = [Image.new("1", (side, side), 1) for side in (200, 9000)]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="group4")
    assert [each.size for each in examine(data, LIMITS, Selection()).found] == [(200, 200), (0, 0)]
