from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageDraw, JpegImagePlugin

from llava_gateway.images.encode import encode, packs_well


def test_a_screenshot_packs_well_and_a_photo_does_not() -> None:
    screenshot = Image.new("RGB", (1600, 900), "white")
    for line in range(40):
        ImageDraw.Draw(screenshot).text((40, 20 * line + 20), "def main() -> None:  # the quick brown fox jumps" * 3, fill="black")
    noise = Image.merge("RGB", [Image.effect_noise((1600, 900), 60) for _ in range(3)])
    assert packs_well(screenshot)
    assert not packs_well(noise)
    assert packs_well(noise.crop((0, 0, 256, 256))), "small images are kept exactly, whatever they show"


def test_png_keeps_every_pixel() -> None:
    image = Image.effect_noise((50, 40), 80).convert("RGB")
    made = encode(image, lossless=True)
    assert (made.format, made.width, made.height) == ("PNG", 50, 40)
    assert Image.open(BytesIO(made.data)).tobytes() == image.tobytes()


def test_jpeg_keeps_chroma_whole_unless_told() -> None:
    image = Image.new("RGB", (64, 64), "red")
    for subsampled, sampling in ((False, 0), (True, 2)):
        made = encode(image, lossless=False, subsampled=subsampled)
        assert made.format == "JPEG"
        assert JpegImagePlugin.get_sampling(Image.open(BytesIO(made.data))) == sampling


def test_the_same_pixels_are_the_same_bytes() -> None:
    image = Image.radial_gradient("L").convert("RGB")
    assert encode(image, lossless=True) == encode(image.copy(), lossless=True)
    assert encode(image, lossless=False) == encode(image.copy(), lossless=False)


def test_a_mark_tells_files_of_the_same_pixels_apart() -> None:
    image = Image.radial_gradient("L").convert("RGB")
    for lossless in (True, False):
        plain, marked, other = (encode(image, lossless=lossless, mark=mark) for mark in ("", "one", "two"))
        assert len({plain.data, marked.data, other.data}) == 3
        assert encode(image, lossless=lossless, mark="one") == marked
        assert b"one" in marked.data
        assert not {"comment", "Comment"} & set(Image.open(BytesIO(plain.data)).info)
        assert Image.open(BytesIO(plain.data)).tobytes() == Image.open(BytesIO(marked.data)).tobytes()
