from __future__ import annotations

import base64
import time

import pytest

from llava_gateway.errors import ImageError, InvalidBase64Image
from llava_gateway.images.base64 import decode_base64

DATA = bytes(range(256)) + b"\xfb\xff\xfe"
STANDARD = base64.b64encode(DATA).decode()
URL_SAFE = base64.urlsafe_b64encode(DATA).decode()


@pytest.mark.parametrize(
    "text",
    [
        STANDARD,
        URL_SAFE,
        STANDARD.rstrip("="),
        URL_SAFE.rstrip("="),
        f"data:image/png;base64,{STANDARD}",
        f"DATA:image/jpeg;name=a;BASE64,{URL_SAFE}",
        f"data:;base64,{STANDARD}",
        f"\n  {STANDARD}\r\n",
        "\r\n".join(STANDARD[i : i + 76] for i in range(0, len(STANDARD), 76)),
        " ".join(STANDARD),
        f"data:image/png;base64,\n{STANDARD}\t",
    ],
)
def test_every_way_of_writing_it_is_read(text: str) -> None:
    assert "+" in STANDARD
    assert "-" in URL_SAFE
    assert decode_base64(text) == DATA


@pytest.mark.parametrize(
    "text",
    [
        "!!!!",
        "QUJD*REVG",
        "QUJD=REVG",
        "Q",
        "QUJDR",
        "héllo",
        "QUJD\0",
        "data:image/png,QUJD",
        "data:image/png;base64",
        "http://x/y.png",
        "/etc/passwd.png",
    ],
)
def test_anything_else_is_refused_and_nothing_is_dropped(text: str) -> None:
    with pytest.raises(InvalidBase64Image) as caught:
        decode_base64(text)
    assert (caught.value.status, caught.value.code) == (400, "invalid_base64_image")


@pytest.mark.parametrize("text", ["", "  \n", "====", "data:image/png;base64,"])
def test_nothing_is_an_empty_image(text: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_base64(text)
    assert (caught.value.status, caught.value.code) == (422, "empty_image_file")


def test_twenty_megabytes_take_a_moment() -> None:
    text = base64.urlsafe_b64encode(bytes(range(256)) * (20 * 2**20 // 256)).decode()
    start = time.process_time()
    assert len(decode_base64(text)) == 20 * 2**20
    assert time.process_time() - start < 0.5  # 0.05 s here; a loop over characters takes seconds


@pytest.mark.parametrize("step", [4, 8, 256])
def test_it_is_read_in_steps(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other thread runs while one step is decoded."""
    monkeypatch.setattr("llava_gateway.images.base64._STEP", step)
    for text in (STANDARD, URL_SAFE.rstrip("="), "\n ".join(STANDARD), f"data:image/png;base64,{STANDARD}"):
        assert decode_base64(text) == DATA
    for text in ("QUI=QUJD", "QUJDQUI=QUJD", "QQ==QUJDQUJD", "QUJDQUJD*UJD", "QUJDQ", "QUJD" * 100 + "é"):
        with pytest.raises(InvalidBase64Image):
            decode_base64(text)
