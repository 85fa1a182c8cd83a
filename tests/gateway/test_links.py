"""Images at addresses in conversations: fetched once, the same image as long as the conversation goes on, and never dropped silently."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from llava_gateway.chat import Message
from llava_gateway.errors import DownloadFailed, FetchingOff
from llava_gateway.fetching.addresses import NotFetched
from llava_gateway.fetching.fetcher import Fetcher
from llava_gateway.gateway import links
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.parts import Link, Part, Sight, TextPart
from llava_gateway.settings import Settings
from tests import sample_images
from tests.clock import Clock
from tests.gateway.test_history_images import assistant, user, whole
from tests.gateways import ask, open_gateway
from tests.scripted_engine import ScriptedEngine, says
from tests.session_values import a_session

RED, BLUE = (sample_images.encoded(sample_images.shape("circle", colour)) for colour in ("red", "blue"))
PHOTO = Link("https://pictures.example/photo.png?signature=1")
WHAT, AND = TextPart("What is it?"), TextPart("And now?")


class Web:
    """Stands in for the fetcher: what is at each address now, which addresses were fetched, which files are in use, and how long that
    `takes` by the `clock`.
    """

    def __init__(self) -> None:
        self.files = {PHOTO.address: RED}
        self.fetched: list[str] = []
        self.in_use: list[str] = []
        self.clock = Clock()
        self.takes = 0.0

    @asynccontextmanager
    async def fetch(self, address: str) -> AsyncIterator[bytes]:
        self.fetched.append(address)
        self.clock.now += self.takes
        if address not in self.files:
            raise NotFetched("status")
        self.in_use.append(address)
        try:
            yield self.files[address]
        finally:
            self.in_use.remove(address)


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
async def gateway(web: Web, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setattr(links, "FAILS_AFTER", 0.0)
    settings = Settings(image_workers=1, fetch="on")
    async with open_gateway(settings, [ScriptedEngine(says("Yes."))], cast("Fetcher", web)) as gateway:
        yield gateway


def clock_of(gateway: Gateway) -> Clock:
    clock = Clock()
    gateway.links._clock = clock
    return clock


def turns(*questions: tuple[Part, ...]) -> tuple[Message, ...]:
    """Return a conversation whose last question is not answered yet."""
    return tuple(message for question in questions for message in (user(*question), assistant(TextPart("Yes."))))[:-1]


def sent(gateway: Gateway) -> list[bytes]:
    """Return the files that the engine got with the last request."""
    engine = gateway.pool.engine("ollama")
    assert isinstance(engine, ScriptedEngine)
    return [piece.data for rendition in engine.requests[-1].shown for piece in rendition.pieces]


async def test_an_address_in_a_history_is_fetched_once_and_stays_the_same_image(gateway: Gateway, web: Web) -> None:
    clock = clock_of(gateway)
    await gateway.answer(whole(*turns((PHOTO, WHAT))))
    first = sent(gateway)
    web.files[PHOTO.address] = BLUE
    clock.now += links.FRESH + 1
    await gateway.answer(whole(*turns((PHOTO, WHAT), (AND,))))
    assert sent(gateway) == first
    del web.files[PHOTO.address]  # its signature has expired
    for more in (1, 2, 3):
        clock.now += links.KEPT
        await gateway.answer(whole(*turns((PHOTO, WHAT), *[(AND,)] * more)))
        assert sent(gateway) == first
    assert web.fetched == [PHOTO.address]


async def test_an_address_in_a_history_that_fails_is_an_error(gateway: Gateway, web: Web) -> None:
    clock = clock_of(gateway)
    await gateway.answer(whole(*turns((PHOTO, WHAT))))
    del web.files[PHOTO.address]
    clock.now += links.KEPT + 1
    with pytest.raises(DownloadFailed) as caught:
        await gateway.answer(whole(*turns((WHAT,), (PHOTO, WHAT), (AND,))))
    assert caught.value.place == ("message", 2, "image", 0)


async def test_an_image_that_was_evicted_is_fetched_again(gateway: Gateway, web: Web) -> None:
    await gateway.answer(whole(*turns((PHOTO, WHAT))))
    while gateway.images._drop_one():
        pass
    await gateway.answer(whole(*turns((PHOTO, WHAT), (AND,))))
    assert web.fetched == [PHOTO.address] * 2


async def test_a_question_gets_what_is_at_the_address_now(gateway: Gateway, web: Web) -> None:
    """A camera's address is a new image each time; but a question is counted and read ahead just before it is asked."""
    clock = clock_of(gateway)
    await gateway.count_tokens(whole(*turns((PHOTO, WHAT))))
    await gateway.answer(whole(*turns((PHOTO, WHAT))))
    assert len(web.fetched) == 1
    before = sent(gateway)
    web.files[PHOTO.address] = BLUE
    clock.now += links.FRESH + 1
    await gateway.answer(whole(*turns((PHOTO, WHAT), (PHOTO, AND))))
    assert len(web.fetched) == 2
    assert sent(gateway)[0] == before[0]
    assert sent(gateway)[1] != before[0]


async def test_a_session_keeps_the_image_and_not_the_address(gateway: Gateway, web: Web) -> None:
    session = gateway.sessions.create(a_session())
    await ask(gateway, Link(PHOTO.address, Sight(detail="low")), WHAT, session=session)
    del web.files[PHOTO.address]
    await ask(gateway, AND, session=session)
    assert len(sent(gateway)) == 1
    assert len(web.fetched) == 1
    (turn, _) = gateway.sessions.get(session.id).turns
    assert turn.images[0].sight.detail == "low"


async def test_a_failure_is_not_reported_before_its_time(gateway: Gateway, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client could tell a refused address from a silent one otherwise."""
    monkeypatch.setattr(links, "FAILS_AFTER", 1.0)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    gateway.links._sleep = sleep
    web.clock = clock_of(gateway)
    web.files["http://page.example/"] = b"<html>"
    for address in ("http://page.example/", "http://nowhere.example/"):
        for web.takes, rest in ((0.0, 1.0), (0.25, 0.75), (4.0, 0.0)):
            with pytest.raises(DownloadFailed):
                await ask(gateway, Link(address), WHAT)
            assert slept.pop() == rest


async def test_addresses_are_remembered_up_to_a_limit(gateway: Gateway, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MOST_KEPT", 2)
    for number in range(3):
        web.files[f"http://a.example/{number}"] = RED
        await ask(gateway, Link(f"http://a.example/{number}"), WHAT)
    await gateway.answer(whole(*turns((Link("http://a.example/2"), WHAT), (AND,))))
    assert len(web.fetched) == 3
    await gateway.answer(whole(*turns((Link("http://a.example/0"), WHAT), (AND,))))
    assert len(web.fetched) == 4


async def test_nothing_is_fetched_by_default(web: Web) -> None:
    async with open_gateway(Settings(image_workers=1), [ScriptedEngine()], cast("Fetcher", web)) as gateway:
        with pytest.raises(FetchingOff):
            await ask(gateway, PHOTO, WHAT)
        with pytest.raises(FetchingOff):
            await gateway.image_requests.store(PHOTO, None)
    assert web.fetched == []
