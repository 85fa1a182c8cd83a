"""Test SVGs: what is drawn, at which size, what is never opened, and the files that want too much. Chromium judges the drawings."""

from __future__ import annotations

import gzip
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava_gateway.errors import ImageError
from llava_gateway.images import svg
from llava_gateway.images.info import Limits
from llava_gateway.images.sniff import sniff
from llava_gateway.notes import note
from tests.appearance.chromium import Chromium
from tests.images.conftest import DirectWorker
from tests.odd_images import saved

NAMES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
RED = '<rect width="100%" height="100%" fill="red"/>'
PICTURE = "data:image/png;base64," + b64encode(saved(Image.new("RGB", (4, 4), "blue"), "PNG")).decode()


def drawing(inside: str = RED, attributes: str = 'width="120" height="80"') -> bytes:
    return f"<svg {NAMES} {attributes}>{inside}</svg>".encode()


SHAPES = {
    "shapes": drawing(
        '<circle cx="40" cy="40" r="30" fill="green" stroke="navy" stroke-width="6"/><path d="M60 10 L110 70 H70z" fill="#f80"/>'
    ),
    "gradient": drawing(
        '<defs><linearGradient id="g"><stop stop-color="red"/><stop offset="1" stop-color="blue"/></linearGradient></defs>'
        '<rect x="10" y="10" width="100" height="60" rx="12" fill="url(#g)"/>'
    ),
    "styled": drawing(
        '<style>.a { fill: teal } rect.a { opacity: .5 }</style><rect class="a" width="60" height="80"/><circle class="a" r="50"/>'
    ),
    "view box": drawing(
        '<rect width="10" height="10" fill="red"/><circle cx="5" cy="5" r="4"/>', 'width="240" height="80" viewBox="0 0 10 10"'
    ),
    "used": drawing(
        '<defs><g id="a"><rect width="20" height="20" fill="purple"/></g></defs>'
        '<use xlink:href="#a" x="10" y="10"/><use href="#a" x="60" y="40" transform="rotate(20 60 40)"/>'
    ),
    "clipped": drawing(
        '<clipPath id="c"><circle cx="60" cy="40" r="35"/></clipPath><rect width="120" height="80" fill="olive" clip-path="url(#c)"/>'
    ),
    "embedded": drawing(f'<image href="{PICTURE}" width="60" height="60"/>'),
    "entities": b'<!DOCTYPE svg [<!ENTITY c "teal">]>' + drawing('<rect width="60" height="80" fill="&c;"/>'),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_drawing_is_what_a_browser_draws(worker: DirectWorker, judge: Chromium, name: str) -> None:
    shown = worker.ingest(SHAPES[name], None)
    drawn = judge.draw(SHAPES[name], "SVG")
    assert (shown.info.original_format, shown.info.original_width, shown.info.original_height) == ("SVG", *drawn.size)
    assert max(shown.image.size) == svg.LONG_SIDE
    assert shown.info.warnings == ()
    small = shown.image.convert("RGB").resize(drawn.size, Image.Resampling.BOX)
    difference = np.abs(np.asarray(small, dtype=int) - np.asarray(drawn, dtype=int)).max(axis=2)
    assert np.mean(difference > 40) < 0.03, "edges differ by their smoothing"
    assert np.median(difference) <= 2


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('width="200" height="100"', (200, 100)),
        ('width="2in" height="72pt"', (192, 96)),
        ('viewBox="0 0 30 60"', (30, 60)),
        ('width="90" viewBox="0 0 30 60"', (90, 180)),
        ('width="100%" height="100%" viewBox="0,0,30,60"', (30, 60)),
        ("", (300, 150)),
        ('height="100%"', (300, 150)),
        ('style="width: 400px; height: 50px"', (400, 50)),
        ('width="0" height="junk"', (300, 150)),
    ],
)
def test_the_size_is_that_of_a_browser(worker: DirectWorker, attributes: str, size: tuple[int, int]) -> None:
    shown = worker.ingest(drawing(attributes=attributes), None)
    assert (shown.info.original_width, shown.info.original_height) == size
    assert max(shown.image.size) == svg.LONG_SIDE
    assert note("svg_drawn", width=shown.image.width, height=shown.image.height) in shown.info.changes
    assert shown.image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)


def test_a_large_drawing_keeps_its_size_up_to_four_megapixels(worker: DirectWorker) -> None:
    assert worker.ingest(drawing(attributes='width="800" height="4000"'), None).image.size == (800, 4000)
    assert worker.ingest(drawing(attributes='width="1e9" height="1e9"'), None).image.size == (2016, 2016)
    with pytest.raises(ImageError) as caught:
        worker.ingest(drawing(attributes='width="1e9" height="1"'), None)
    assert (caught.value.code, caught.value.reason) == ("image_too_large", "image_aspect")


def test_transparent_parts_get_a_ground(worker: DirectWorker) -> None:
    white = drawing('<circle cx="60" cy="40" r="30" fill="white"/>')
    assert worker.ingest(white, None).image.convert("RGB").getpixel((1, 1)) == (128, 128, 128)


def test_an_svg_is_recognised_however_it_is_written(worker: DirectWorker) -> None:
    before = (
        '<?xml version="1.0"?>\n<!-- a > b <svg> -->\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://x/y.dtd" [<!ENTITY a "b">]>\n'
    )
    text = before + drawing().decode()
    prefixed = b'<s:svg xmlns:s="http://www.w3.org/2000/svg" width="9" height="9"><s:rect width="9" height="9" fill="red"/></s:svg>'
    without = b'<svg width="9" height="9"><rect width="9" height="9" fill="red"/></svg>'
    latin = b'<?xml version="1.0" encoding="ISO-8859-1"?><!-- \xe9 -->' + drawing()
    for data in (text.encode(), text.encode("utf-8-sig"), text.encode("utf-16"), gzip.compress(text.encode()), prefixed, without, latin):
        assert sniff(data) == "SVG"
        assert worker.ingest(data, None).image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)
    for other in (b"<html><svg></svg></html>", b"<!--" * 5000, b"<?x" * 5000, gzip.compress(b"x"), b"\x1f\x8b\x08", b"<svgs>", b"< svg>"):
        assert sniff(other) is None


def test_nothing_is_opened(worker: DirectWorker, tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(saved(Image.new("RGB", (4, 4), "blue"), "PNG"))
    inner = b64encode(drawing(f'<image href="{path}" width="9" height="9"/>')).decode()
    elements = "image href", "image xlink:href", "feImage href", "use href"
    addresses = str(path), path.as_uri(), f"  {path}", "http://127.0.0.1:9/a.png", f"data:image/svg+xml;base64,{inner}", "data:text/plain,x"
    asked = [f'<{element}="{address}" width="120" height="80"/>' for element in elements for address in addresses]
    shown = worker.ingest(drawing(RED + "".join(asked)), None)
    assert shown.image.convert("RGB").getextrema() == ((255, 255), (0, 0), (0, 0))
    assert shown.info.warnings == (note("svg_references_left_out", count=len(asked)),)
    secret = f'<!DOCTYPE svg [<!ENTITY s SYSTEM "{path.as_uri()}">]>'.encode() + drawing(f"{RED}<text>&s;</text>")
    assert worker.ingest(secret, None).image.convert("RGB").getextrema() == ((255, 255), (0, 0), (0, 0))


def test_parts_in_html_and_scripts_are_left_out(worker: DirectWorker) -> None:
    html = '<foreignObject width="9" height="9"><p xmlns="http://www.w3.org/1999/xhtml">x</p></foreignObject><script>alert(1)</script>'
    assert worker.ingest(drawing(RED + html), None).info.warnings == (note("svg_html_left_out"),)


def test_characters_without_a_font_are_listed(worker: DirectWorker) -> None:
    shown = worker.ingest(drawing('<text y="40">A\u13a0</text>'), None)
    (missing,) = [each for each in shown.info.warnings if each.code == "svg_fonts_missing"]
    assert missing == note("svg_fonts_missing", characters="\u13a0")


def bombs() -> dict[str, bytes]:
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    entities = f'<!DOCTYPE svg [<!ENTITY a0 "aaaaaaaaaa">{laughs}]>'.encode() + drawing("<text>&a11;</text>")
    return {
        "entities": entities,
        "packed": gzip.compress(b"<svg>" + b" " * (svg.MOST_CHARACTERS + 1)),
        "nested": drawing("<g>" * 100_000 + "</g>" * 100_000),
        "cut": drawing()[:-9],
    }


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_by_a_worker_that_lives_on(worker: DirectWorker, name: str) -> None:
    with pytest.raises(ImageError) as caught:
        worker.ingest(bombs()[name], None)
    assert caught.value.code in ("image_too_large", "image_parse_error"), caught.value
    assert worker.ingest(drawing(), None).image.size == (2016, 1344)


def test_a_huge_picture_within_a_drawing_is_left_out() -> None:
    picture = bytearray(saved(Image.new("RGB", (4, 4)), "PNG"))
    picture[16:24] = (60_000).to_bytes(4) * 2
    _, _, warnings = svg.drawn(drawing(f'<image href="data:image/png;base64,{b64encode(picture).decode()}"/>'), Limits())
    assert warnings == (note("svg_references_left_out", count=1),)
