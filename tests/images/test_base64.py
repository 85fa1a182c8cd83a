from __future__ import annotations

import base64
import random
import string

import pytest

from llava_gateway.errors import ImageError, InvalidBase64Image
from llava_gateway.images.base64 import decode_base64
from tests.work import counted

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


def test_it_is_read_as_python_reads_it_in_one_step_or_in_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick way accepts only what the careful way accepts too, and decodes it to the same bytes."""
    rng = random.Random(1)
    for _ in range(3000):
        text = "".join(rng.choices(string.ascii_letters + string.digits + "+/", k=rng.randrange(1, 24))) + "=" * rng.randrange(4)
        if rng.random() < 0.3:
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(["=", " ", "-", "_", "\n", "é", "*", "\0"]) + text[at:]
        found = []
        for step in (4, 1024):
            monkeypatch.setattr("llava_gateway.images.base64._STEP", step)
            found.append(decoded(text))
        bare = text.translate(str.maketrans("-_", "+/", " \n")).rstrip("=")
        try:
            expected = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True) or None
        except ValueError:
            expected = None
        assert found == [expected, expected], text


def decoded(text: str) -> bytes | None:
    try:
        return decode_base64(text)
    except ImageError:
        return None


@pytest.mark.parametrize("text", ["", "  \n", "====", "data:image/png;base64,"])
def test_nothing_is_an_empty_image(text: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_base64(text)
    assert (caught.value.status, caught.value.code) == (422, "empty_image_file")


def test_twenty_megabytes_are_not_read_byte_by_byte() -> None:
    text = base64.urlsafe_b64encode(bytes(range(256)) * (20 * 2**20 // 256)).decode()
    data, calls = counted(lambda: decode_base64(text))
    assert len(data) == 20 * 2**20
    assert calls < 2000


@pytest.mark.parametrize("step", [4, 8, 256])
def test_it_is_read_in_steps(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other thread runs during one step, so a step must stay short."""
    monkeypatch.setattr("llava_gateway.images.base64._STEP", step)
    for text in (STANDARD, URL_SAFE.rstrip("="), "\n ".join(STANDARD), f"data:image/png;base64,{STANDARD}"):
        assert decode_base64(text) == DATA
    for text in ("QUI=QUJD", "QUJDQUI=QUJD", "QQ==QUJDQUJD", "QUJDQUJD*UJD", "QUJDQ", "QUJD" * 100 + "é"):
        with pytest.raises(InvalidBase64Image):
            decode_base64(text)
