"""Different files with the same pixels: each turn reports the changes to its own file."""

from __future__ import annotations

import io
from itertools import count
from typing import Any, TypeAlias

import httpx2
import pytest
from PIL import Image

from llava_gateway.api.native_json import note_json
from llava_gateway.notes import Note, note
from tests import sample_images

Facts: TypeAlias = tuple[Any, Any]
GPS, TURNED = note("gps_removed"), note("rotated_by_hand", degrees=90)
_sizes = count(300)


@pytest.fixture
def image() -> Image.Image:
    """Draw an image that no other test has sent."""
    return sample_images.shape("circle", "green", size=(next(_sizes), 300))


@pytest.fixture(params=["the clean one first", "the other one first"])
def files(request: pytest.FixtureRequest, image: Image.Image) -> tuple[bytes, bytes]:
    """Encode a file without and one with a GPS position, in either order."""
    exif = Image.Exif()
    exif[0x0112] = 1  # Pillow does not write EXIF that contains only sub-IFDs
    exif.get_ifd(0x8825)[1] = "N"
    located = io.BytesIO()
    image.save(located, "PNG", exif=exif)
    files = sample_images.encoded(image), located.getvalue()
    return files if request.param.startswith("the clean") else (files[1], files[0])


def new_session(demo: httpx2.Client) -> str:
    return f"/sessions/{demo.post('/sessions', json={}).json()['id']}"


def facts(image: dict[str, Any]) -> Facts:
    return image["original"]["bytes"], [Note.from_json(change) for change in image["changes"]]


def of(file: bytes, *more: Note) -> Facts:
    return len(file), [*([GPS] if b"eXIf" in file else []), *more]


def facts_of_turns(demo: httpx2.Client, session: str) -> list[Facts]:
    return [facts(image) for turn in demo.get(session).json()["turns"] for image in turn["images"]]


def test_each_session_tells_of_its_own_file(demo: httpx2.Client, files: tuple[bytes, bytes]) -> None:
    for file in files:
        session = new_session(demo)
        answer = demo.post(f"{session}/turns", files={"image": file}).json()
        assert facts_of_turns(demo, session) == [of(file)]
        assert [Note.from_json(change) for change in answer["images"][0]["changes"]] == of(file)[1]


def test_each_turn_of_a_session_tells_of_its_own_file(demo: httpx2.Client, files: tuple[bytes, bytes]) -> None:
    session = new_session(demo)
    for file in files:
        demo.post(f"{session}/turns", files={"image": file})
    assert facts_of_turns(demo, session) == [of(file) for file in files]
    fork = demo.post(f"{session}/fork", json={}).json()
    assert facts_of_turns(demo, f"/sessions/{fork['id']}") == [of(file) for file in files]


def test_an_image_named_by_its_id_is_the_file_that_came_last(demo: httpx2.Client, files: tuple[bytes, bytes]) -> None:
    session = new_session(demo)
    for file in (*files, files[0]):
        stored = demo.post("/images", files={"image": file}).json()
        assert facts(stored) == of(file)
        asked = {"prompt": "Describe this image.", "images": [{"image_id": stored["id"]}]}
        answered = demo.post(f"{session}/turns", json=asked).json()["images"][0]
        assert [Note.from_json(change) for change in answered["changes"]] == of(file)[1]
        steps = demo.get(f"/images/{stored['id']}/view", params={"format": "json"}).json()["steps"]
        assert steps[0]["values"]["bytes"] == len(file)
        assert len([step for step in steps if step["of"] == "file"]) == 1 + len(of(file)[1])
    assert facts_of_turns(demo, session) == [of(file) for file in (*files, files[0])]


def test_a_turned_image_tells_of_the_file_it_was_turned_from(demo: httpx2.Client, files: tuple[bytes, bytes]) -> None:
    session = new_session(demo)
    ids = set()
    for file in (*files, files[0]):
        stored = demo.post("/images", files={"image": file}).json()
        rotated = demo.post(f"/images/{stored['id']}/rotate", params={"by": 90}).json()
        assert facts(rotated) == of(file, TURNED)
        ids.add(rotated["id"])
        demo.post(f"{session}/turns", json={"prompt": "Describe this image.", "images": [{"image_id": rotated["id"]}]})
    assert facts_of_turns(demo, session) == [of(file, TURNED) for file in (*files, files[0])]
    assert len(ids) == 1


def test_a_file_of_several_images_and_its_main_image_warn_each_for_itself(demo: httpx2.Client, image: Image.Image) -> None:
    alone, several = io.BytesIO(), io.BytesIO()
    image.save(alone, "HEIF", quality=-1)
    image.save(several, "HEIF", quality=-1, save_all=True, append_images=[image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)])
    session = new_session(demo)
    for file in (alone.getvalue(), several.getvalue()):
        stored = demo.post("/images", files={"image": file}).json()
        demo.post(f"{session}/turns", json={"prompt": "Describe this image.", "images": [{"image_id": stored["id"]}]})
    first, second = demo.get(session).json()["turns"]
    assert first["images"][0]["id"] == second["images"][0]["id"]
    warning = note_json(note("first_frame_only"))
    assert [turn["images"][0]["warnings"] for turn in (first, second)] == [[], [warning]]
    assert [warning in turn["warnings"] for turn in (first, second)] == [False, True]


def test_an_export_keeps_what_is_told_of_each_file(demo: httpx2.Client, files: tuple[bytes, bytes]) -> None:
    session = new_session(demo)
    for file in files:
        demo.post(f"{session}/turns", files={"image": file})
    exported = demo.get(f"{session}/export", params={"format": "json"}).json()
    imported = demo.post("/sessions/import", json=exported).json()
    assert facts_of_turns(demo, f"/sessions/{imported['id']}") == [of(file) for file in files]
    # Without `files` in the export, the imported file counts as the original.
    for turn in exported["session"]["turns"]:
        del turn["files"]
    (image_id,) = exported["images"]
    plain = demo.post("/sessions/import", json=exported).json()
    demo.post("/images", files={"image": files[0]})
    assert facts_of_turns(demo, f"/sessions/{plain['id']}") == [(len(demo.get(f"/images/{image_id}").content), [])] * 2


def test_an_export_must_tell_of_every_file_or_of_none(demo: httpx2.Client, files: tuple[bytes, bytes]) -> None:
    session = new_session(demo)
    demo.post(f"{session}/turns", files={"image": files[0]})
    exported = demo.get(f"{session}/export", params={"format": "json"}).json()
    exported["session"]["turns"][0]["files"] *= 2
    refused = demo.post("/sessions/import", json=exported)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_archive")
    assert refused.json()["error"]["param"] == "session.turns.0"
