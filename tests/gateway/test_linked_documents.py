"""Documents, animations and videos at addresses: in questions they are what the same files are that a client sends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest

from llava_gateway.errors import ContextLengthExceeded, DownloadFailed, GatewayError, ImageFileTooLarge, InvalidRequest
from llava_gateway.fetching.fetcher import Fetcher
from llava_gateway.gateway import links
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.options import Options
from llava_gateway.parts import Link, Selection, Sight, Upload
from llava_gateway.sessions.session import Session
from llava_gateway.settings import Settings
from tests import sample_images
from tests.gateway.test_history_images import assistant, user, whole
from tests.gateway.test_links import AND, PHOTO, RED, Web, clock_of, turns
from tests.gateway.test_links import sent as pieces
from tests.gateway.test_pages import WHAT, reading, sent, told
from tests.gateways import ask
from tests.odd_images import saved
from tests.pdfs import pdf
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served, serving
from tests.videos import film, folder_with_ffmpeg

WIDE = Options(num_ctx=16_384)
DOC = "https://papers.example/report.pdf"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    monkeypatch.setattr(links, "FAILS_AFTER", 0.0)
    return Web()


@pytest.fixture
async def gateway(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setenv("PATH", str(folder_with_ffmpeg(tmp_path)))  # for the workers, where OpenCV is not installed
    async with reading(settings={"fetch": "on"}) as gateway:
        gateway.links._fetcher = cast("Fetcher", web)
        yield gateway


@cache
def fax() -> bytes:
    pages = [sample_images.shape(kind, "black", size=(300, 400)).convert("1") for kind in ("circle", "square", "star")]
    return saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="group4")


@cache
def animation() -> bytes:
    frames = [sample_images.shape("circle", colour, size=(96, 96)) for colour in ("red", "blue", "green")]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)


@cache
def clip() -> bytes:
    return film([sample_images.shape("circle", colour, size=(96, 96)) for colour in ("red", "blue", "green")])


MADE: dict[str, Callable[[], bytes]] = {
    "pdf": lambda: pdf("One", "Two", *["x"] * 10),
    "fax": fax,
    "animation": animation,
    "photo": lambda: RED,
    "video": clip,
}
CHOICES: dict[str, tuple[str, Selection]] = {
    "pdf": ("pdf", Selection()),
    "pdf, chosen": ("pdf", Selection(pages=((3, 3), (1, 1)))),
    "pdf, no text": ("pdf", Selection(text_layer=False)),
    "fax": ("fax", Selection()),
    "fax, chosen": ("fax", Selection(pages=((2, 2),))),
    "animation": ("animation", Selection()),
    "animation, chosen": ("animation", Selection(frames=(0, 2))),
    "animation, scenes": ("animation", Selection(scenes=2)),
    "photo, with pages": ("photo", Selection(pages=((1, 1),))),
    "video": ("video", Selection()),
}


@pytest.mark.parametrize("case", CHOICES)
async def test_a_file_at_an_address_is_what_it_is_as_an_upload(gateway: Gateway, web: Web, case: str) -> None:
    kind, selection = CHOICES[case]
    data = MADE[kind]()
    web.files[DOC] = data
    linked = await ask(gateway, Link(DOC, Sight(detail="low"), selection, "#000000"), WHAT, options=WIDE)
    words, files = sent(gateway), pieces(gateway)
    uploaded = await ask(gateway, Upload(data, Sight(detail="low"), selection, background="#000000"), WHAT, options=WIDE)
    assert (words, files, told(linked)) == (sent(gateway), pieces(gateway), told(uploaded))
    assert [image.changes for image in linked.images] == [image.changes for image in uploaded.images]
    assert (len(linked.images) > 1) == (case not in ("fax, chosen", "animation", "photo, with pages"))
    assert web.fetched == [DOC]
    assert web.in_use == []


async def test_the_file_counts_as_in_use_until_its_pages_are_images(gateway: Gateway, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files[DOC] = pdf("One", "Two")
    seen: list[list[str]] = []
    add = gateway.images.add

    async def watched(*given: Any, **named: Any) -> Any:
        image = await add(*given, **named)
        seen.append([*web.in_use])
        return image

    monkeypatch.setattr(gateway.images, "add", watched)
    await ask(gateway, Link(DOC), WHAT)
    assert seen == [[DOC], [DOC]]
    assert web.in_use == []


async def test_a_document_in_a_history_is_fetched_once_for_each_question(gateway: Gateway, web: Web) -> None:
    web.files[DOC] = pdf("One")
    later = Link(DOC, selection=Selection(text_layer=False))
    await gateway.answer(whole(*turns((Link(DOC), WHAT), (Link(DOC), later, AND))))
    assert web.fetched == [DOC]
    assert len(pieces(gateway)) == 3
    await gateway.answer(whole(*turns((Link(DOC), WHAT), (Link(DOC), later, AND), (AND,))))
    assert web.fetched == [DOC] * 2
    del web.files[DOC]
    with pytest.raises(DownloadFailed) as caught:
        await gateway.answer(whole(user(WHAT), assistant(WHAT), *turns((Link(DOC), WHAT), (AND,))))
    assert caught.value.place == ("message", 2, "image", 0)


async def test_a_single_frame_at_an_address_is_remembered_like_any_image(gateway: Gateway, web: Web) -> None:
    clock = clock_of(gateway)
    web.files[DOC] = saved(sample_images.shape("circle", "red"), "GIF")
    await gateway.answer(whole(*turns((Link(DOC), WHAT))))
    first = pieces(gateway)
    del web.files[DOC]
    clock.now += links.FRESH + 1
    await gateway.answer(whole(*turns((Link(DOC), WHAT), (AND,))))
    assert pieces(gateway) == first
    assert web.fetched == [DOC]


async def test_fewer_pages_are_sent_if_those_that_seemed_to_fit_do_not(gateway: Gateway, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an upload; and the file is not fetched again for that."""
    shares: list[float] = []
    question = gateway.prompt_builder.attachments.question

    async def watched(*given: Any, **named: Any) -> Any:
        shares.append(named["share"])
        asked = await question(*given, **named)
        if named["share"] == 1.0:
            raise ContextLengthExceeded
        return asked

    monkeypatch.setattr(gateway.prompt_builder.attachments, "question", watched)
    web.files[DOC] = pdf(*["x"] * 12)
    answer = await ask(gateway, Link(DOC), WHAT)
    assert shares == [1.0, 0.7]
    assert told(answer) == [("pages_used", {"pages": "1-4", "count": 12, "shown": 4})], "5 pages fit in all of the room"
    assert web.fetched == [DOC]
    shares.clear()
    with pytest.raises(ContextLengthExceeded):
        await ask(gateway, PHOTO, WHAT)
    assert shares == [1.0]


async def test_a_session_keeps_the_pages(gateway: Gateway, web: Web) -> None:
    web.files[DOC] = pdf("One", "Two")
    session = gateway.sessions.create(Session())
    await ask(gateway, Link(DOC), WHAT, session=session)
    del web.files[DOC]
    await ask(gateway, AND, session=session)
    assert len(pieces(gateway)) == 2
    assert web.fetched == [DOC]


async def test_errors_say_which_address_it_was(gateway: Gateway, web: Web) -> None:
    web.files |= {DOC: pdf("One"), "https://a.example/": b"<html>", "https://damaged.example/": b"%PDF-1.4\nno more"}
    beyond = Link(DOC, selection=Selection(pages=((5, 5),)))
    for link, error, place in (
        (beyond, InvalidRequest, ("image", 1, "pages")),
        (Link("https://a.example/"), DownloadFailed, ("image", 1)),
        (Link("https://a.example/", selection=Selection(pages=((1, 1),))), DownloadFailed, ("image", 1)),
        (Link("https://damaged.example/"), GatewayError, ("image", 1)),
    ):
        with pytest.raises(error) as caught:
            await ask(gateway, PHOTO, link, WHAT)
        assert caught.value.place == place
    assert web.in_use == []


async def test_a_document_may_be_larger_than_an_image(web: Web) -> None:
    small = {"image_max_bytes": 1024, "document_max_bytes": 4096, "video_max_bytes": 2048}
    async with reading(settings={"fetch": "on", **small}) as gateway:
        fetcher = gateway.links._fetcher
        assert (fetcher._most_bytes, fetcher._most_of is not None) == (4096, True)
        gateway.links._fetcher = cast("Fetcher", web)
        web.files = {DOC: pdf("One") + b"%" * 1500, PHOTO.address: b"\xff\xd8\xff" + bytes(2000)}
        assert len((await ask(gateway, Link(DOC), WHAT, options=WIDE)).images) == 1
        with pytest.raises(ImageFileTooLarge):
            await ask(gateway, PHOTO, WHAT)


@pytest.fixture
async def served(web: Web) -> AsyncIterator[Served]:
    web.files[DOC] = pdf("One", "Two", "Three")
    async with serving(Settings(port=0, image_workers=1, fetch="on"), [ScriptedEngine()], fetcher=cast("Fetcher", web)) as served:
        yield served


async def post(served: Served, path: str, *fields: tuple[str, str | bytes]) -> Any:
    files = [(name, (None, value) if isinstance(value, str) else ("report.pdf", value)) for name, value in fields]
    return (await served.client.post(path, files=files)).json()


async def test_its_pages_are_listed_and_stored(served: Served, web: Web) -> None:
    data = web.files[DOC]
    assert await post(served, "/documents", ("image_url", DOC)) == await post(served, "/documents", ("image", data))
    for fields in ((), (("pages", "2"),)):
        linked, uploaded = [await post(served, "/images", source, *fields) for source in (("image_url", DOC), ("image", data))]
        assert (linked["id"], linked["changes"]) == (uploaded["id"], uploaded["changes"])
    assert (await post(served, "/images", ("image_url", DOC), ("pages", "4")))["error"]["code"] == "page_not_found"
    web.files[DOC] = b"<html>"
    error = (await post(served, "/documents", ("image_url", DOC)))["error"]
    assert (error["code"], error["param"]) == ("failed_to_download_image", "image_url")


async def test_every_file_of_a_question_has_its_own_pages(served: Served, web: Web) -> None:
    """One at an address counts among the files."""
    fields = (("image_url", DOC), ("pages", "3"), ("image", web.files[DOC]), ("pages", "1"), ("prompt", "What?"))
    in_form = await post(served, "/ask", *fields)
    body = {"prompt": "What?", "images": [{"image_url": DOC, "pages": "3"}, {"image_url": DOC, "pages": "1"}]}
    in_json = (await served.client.post("/ask", json=body)).json()
    assert [[change["values"] for change in image["changes"]] for image in in_form["images"]] == [
        [{"page": 3, "count": 3}],
        [{"page": 1, "count": 3}],
    ]
    assert [image["id"] for image in in_json["images"]] == [image["id"] for image in in_form["images"]]
    for way in ("/count_tokens", "/read_ahead"):
        assert (await served.client.post(way, json=body)).is_success
