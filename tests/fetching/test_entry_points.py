"""Every way in for an address leads through the same fetcher, with the same answer to all tricks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from llava_gateway.cli.console import Failure
from llava_gateway.cli.fetched import fetched
from llava_gateway.fetching.addresses import MAX_CHARS, REASONS
from llava_gateway.fetching.fetcher import Dialled, Fetcher
from llava_gateway.gateway import links
from llava_gateway.settings import Settings
from tests import sample_images
from tests.fetching.attack import Dials, NameServer
from tests.fetching.tricks import A_SHARE, SITE, Trick, redirecting
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served, serving

GOOD = f"http://{SITE}/circle.png"


@dataclass
class Names:
    """The name server of the trick that is played now."""

    now: NameServer = field(default_factory=lambda: NameServer(Trick("")))

    async def resolve(self, host: str, port: int) -> Sequence[Dialled]:
        return await self.now.resolve(host, port)


@dataclass
class World:
    served: Served
    engine: ScriptedEngine
    names: Names
    session: str
    image: str

    async def send(self, way: str, *addresses: str) -> httpx2.Response:
        """Send a request with addresses. A way is a path, and how its body says the addresses."""
        path, _, kind = way.partition(" ")
        path = path.replace("SESSION", self.session).replace("IMAGE", self.image)
        question = {"question": "What is it?"} if path == "/analyze_image" else {"prompt": "What is it?"}
        if path in ("/images", "/documents"):
            question = {}
        if kind.startswith("form "):
            fields = [(kind.removeprefix("form "), (None, address)) for address in addresses]
            return await self.served.client.post(path, files=[*fields, *((name, (None, text)) for name, text in question.items())])
        bodies: dict[str, dict[str, Any]] = {
            "image_urls": {"image_urls": [*addresses]},
            "image_url": {"image_url": addresses[0]},
            "images": {"images": [{"image_url": address} for address in addresses]},
            "image": {"image": {"image_url": addresses[0], "detail": "low"}},
        }
        return await self.served.client.post(path, json={**question, **bodies[kind]})


WAYS = (
    *("/ask image_urls", "/ask image_url", "/ask images", "/ask image", "/ask form image_url", "/ask form image_urls"),
    *("/sessions/SESSION/turns image_urls", "/sessions/SESSION/turns form image_url"),
    *("/count_tokens image_urls", "/count_tokens form image_url", "/read_ahead image_urls", "/read_ahead form image_url"),
    *("/sessions/SESSION/read_ahead images", "/images/IMAGE/read_ahead image_urls"),
    *("/images form image_url", "/documents form image_url", "/analyze_image form image_url"),
)


PARAMS = ("images[0]", "images[1]", "image_url")
"""How errors name the image: by its place among all, or the field where only one is possible."""


@asynccontextmanager
async def world_of(dials: Dials, fetch: Any) -> AsyncIterator[World]:
    names, engine = Names(), ScriptedEngine()
    settings = Settings(port=0, image_workers=1, fetch=fetch)
    hosts = None if fetch == "on" else tuple(fetch)
    fetcher = Fetcher(hosts=hosts, most_bytes=2**20, most_held=2**22, resolve=names.resolve)
    async with serving(settings, [engine], fetcher=fetcher) as served:
        dials.ours.add(served.port)
        image = sample_images.encoded(sample_images.shape("square", "blue"))
        stored = (await served.client.post("/images", files={"image": image})).json()["id"]
        yield World(served, engine, names, await served.session(), stored)


@pytest.fixture
async def world(dials: Dials, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(links, "FAILS_AFTER", 0.0)
    async with world_of(dials, "on") as world:
        yield world


def told(response: httpx2.Response) -> tuple[int, str]:
    """Return what the client is told, except which address it was."""
    error = response.json()["error"]
    return response.status_code, json.dumps({name: value for name, value in error.items() if name != "param"})


async def test_no_way_in_reaches_the_inside_and_none_says_why(world: World, dials: Dials) -> None:
    answers = set()
    for way in WAYS:
        for trick in A_SHARE:
            if 0 < len(trick.address) <= MAX_CHARS:
                world.names.now = NameServer(trick)
                response = await world.send(way, trick.address)
                answers.add(told(response))
                assert response.json()["error"]["param"] in PARAMS, way
    assert {(status, json.loads(error)["code"]) for status, error in answers} == {(422, "failed_to_download_image")}
    assert len(answers) == 1
    assert dials.others == []
    assert world.engine.requests == []


async def test_every_way_in_takes_an_image_from_an_address(world: World, dials: Dials) -> None:
    seen = set()
    for way in WAYS:
        response = await world.send(way, GOOD)
        assert response.is_success, (way, response.text)
        if "images" in response.json():
            seen |= {image["id"] for image in response.json()["images"]}
        elif way.startswith("/images f"):
            seen.add(response.json()["id"])
    assert len(seen) == 1, "the same image, however it came"
    assert dials.count == 2, "an address that was just fetched is fetched again only where the file itself is needed: to list its pages"


async def test_all_failures_are_told_alike(world: World, dials: Dials, caplog: pytest.LogCaptureFixture) -> None:
    """A client must not learn what is in this network: not by an answer that differs."""
    addresses = (
        "http://127.0.0.1/",
        "http://nowhere.example/",
        f"http://{SITE}:443/",  # nothing listens
        f"https://{SITE}/",
        f"http://{SITE}/?status=404&to=",
        f"http://{SITE}/?text=hello",
        f"http://{SITE}/?text=<html><body>no</body></html>",
        f"http://{SITE}/?text=%25!PS-Adobe",
        f"http://{SITE}/?text=",
        redirecting("http://10.0.0.1/"),
        "file:///etc/passwd",
    )
    answers = {told(await world.send("/ask image_urls", address)) for address in addresses}
    assert len(answers) == 1
    reasons = {record.getMessage().partition(": ")[2] for record in caplog.records if record.name == links.__name__}
    expected = ("not_public", "unknown_host", "unreachable", "status", "no_image", "spelling")
    assert reasons == {REASONS[reason] for reason in expected}


async def test_what_is_wrong_with_an_image_is_told(world: World) -> None:
    response = await world.send("/ask image_urls", f"http://{SITE}/?text=GIF89a")
    assert (response.status_code, response.json()["error"]["code"]) == (422, "image_parse_error")


async def test_the_error_names_the_address_that_failed(world: World) -> None:
    for way, param in (("/ask image_urls", "images[1]"), ("/ask images", "images[1]"), ("/ask form image_url", "images[1]")):
        assert (await world.send(way, GOOD, "http://127.0.0.1/")).json()["error"]["param"] == param
    long = await world.send("/ask image_urls", GOOD, "http://x.example/" + "x" * 2048)
    assert (long.status_code, long.json()["error"]["param"]) == (422, "image_urls[1]")


async def test_a_body_that_could_mean_two_things_is_refused(world: World) -> None:
    bodies: tuple[tuple[dict[str, Any], str], ...] = (
        ({"image_urls": ["https://a.example/"], "images": ["QUJD"]}, "images_twice"),
        ({"image_url": "https://a.example/", "image_urls": ["https://b.example/"]}, "images_twice"),
        ({"images": [{"image_url": "https://a.example/", "data": "QUJD"}]}, "image_both"),
        ({"images": [{"image_url": ""}]}, "field_wrong"),
        ({"images": [{"image_url": 1}]}, "field_wrong"),
        ({"image_urls": [None]}, "field_wrong"),
        ({"images": ["https://a.example/b.png"]}, "image_is_link"),
    )
    for body, reason in bodies:
        assert (await world.served.ask(**body)).json()["error"]["reason"] == reason, body


async def test_images_from_files_ids_and_addresses_keep_their_order(world: World) -> None:
    square = sample_images.encoded(sample_images.shape("square", "green"))
    form: Any = [("image_url", (None, GOOD)), ("image", ("a", square)), ("image_id", (None, world.image)), ("prompt", (None, "What?"))]
    ids = [image["id"] for image in (await world.served.client.post("/ask", files=form)).json()["images"]]
    assert ids[2] == world.image
    mixed = {"images": [{"image_id": ids[1]}, {"image_url": GOOD, "detail": "low"}]}
    assert [image["id"] for image in (await world.served.ask(**mixed)).json()["images"]] == [ids[1], ids[0]]


async def test_a_gateway_that_fetches_nothing_says_so_at_every_way_in(dials: Dials) -> None:
    async with world_of(dials, "off") as world:
        for way in WAYS:
            response = await world.send(way, GOOD)
            error = response.json()["error"]
            assert (response.status_code, error["code"], error["reason"]) == (403, "fetching_off", "fetching_off"), way
            assert error["param"] in PARAMS
        assert (await world.served.client.get("/options")).json()["fetch"] is False
    assert dials.count == 0


async def test_a_list_of_hosts_is_kept_to(dials: Dials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "FAILS_AFTER", 0.0)
    async with world_of(dials, [f"*.{SITE.partition('.')[2]}"]) as world:
        assert (await world.send("/ask image_urls", GOOD)).is_success
        other = await world.send("/ask image_urls", "http://elsewhere.test/a.png")
        assert (other.status_code, other.json()["error"]["reason"]) == (403, "fetching_host")
        away = await world.send("/ask image_urls", redirecting("http://elsewhere.test/a.png"))
        assert (away.status_code, away.json()["error"]["code"]) == (422, "failed_to_download_image")
        assert (await world.served.client.get("/options")).json()["fetch"] is True


@pytest.mark.parametrize("trick", A_SHARE, ids=str)
def test_the_command_line_has_the_same_guard(trick: Trick, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fetches in its own process, and may say why not."""
    others = through_dials(monkeypatch, trick)
    with pytest.raises(Failure):
        fetched(trick.address)
    assert others == []


def through_dials(monkeypatch: pytest.MonkeyPatch, trick: Trick) -> list[tuple[str, int]]:
    """Give the command line's fetcher the trick's names, and record what it dials in the event loop that it makes."""
    others: list[tuple[str, int]] = []
    make = asyncio.new_event_loop

    async def nowhere(*_: Any, **__: Any) -> Any:
        raise ConnectionRefusedError

    def new_loop() -> asyncio.AbstractEventLoop:
        loop = make()
        dials = Dials(nowhere, 0, others=others)
        monkeypatch.setattr(loop, "create_connection", dials.create_connection)
        return loop

    monkeypatch.setattr(asyncio.events, "new_event_loop", new_loop)
    monkeypatch.setattr("llava_gateway.cli.fetched.Fetcher", lambda **options: Fetcher(**options, resolve=NameServer(trick).resolve))
    return others
