"""Commands fetch the images at addresses in their own process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from llava_gateway.cli.ask import split
from llava_gateway.cli.main import app
from llava_gateway.errors import Overloaded
from llava_gateway.fetching.addresses import REASONS, NotFetched
from tests.cli.program import run
from tests.images.test_animation import film
from tests.pdfs import pdf

CIRCLE = "https://pictures.example/circle"
REPORT, CLIP = "https://papers.example/report.pdf", "https://papers.example/clip.gif"
QUESTION = "What is in this picture?"


@pytest.fixture
def asked() -> list[str]:
    """The addresses that were fetched."""
    return []


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, red_circle: Path, asked: list[str]) -> dict[str, bytes]:
    """Stand in for the fetcher. Returns what is at each address."""
    files = {CIRCLE: red_circle.read_bytes(), f"{CIRCLE}.png": red_circle.read_bytes()}

    class Fetcher:
        def __init__(self, **_: Any) -> None:
            pass

        @asynccontextmanager
        async def fetch(self, address: str) -> AsyncIterator[bytes]:
            if address == "http://busy.example/":
                raise Overloaded("out_of_files")
            if address not in files:
                raise NotFetched("not_public")
            asked.append(address)
            yield files[address]

    monkeypatch.setattr("llava_gateway.cli.fetched.Fetcher", Fetcher)
    return files


def invoke(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, arguments, input=stdin)


def pages(done: Result) -> list[int]:
    """Return the pages or frames that the question had."""
    assert done.exit_code == 0, done.stderr
    changes = [image["changes"][0]["values"] for image in json.loads(done.stdout)["images"]]
    return [change["page"] if "page" in change else change["frame"] for change in changes]


@pytest.mark.parametrize(
    "arguments",
    [(CIRCLE, QUESTION), (CIRCLE,), (f"{QUESTION} {CIRCLE}.png",), (f"{CIRCLE}.png {QUESTION}",)],
    ids=["argument", "alone", "in the question", "before the question"],
)
def test_an_image_at_an_address_is_asked_about(demo_url: str, web: dict[str, bytes], arguments: tuple[str, ...]) -> None:
    done = invoke("ask", *arguments, "--url", demo_url)
    assert (done.exit_code, done.stdout) == (0, "A red circle on a white background.\n"), done.stderr


@pytest.mark.parametrize(
    "arguments", [(f"{REPORT}#2-3", "What was decided?"), (f"What was decided in {REPORT}#2-3?",), (f"{REPORT}#2-3",)], ids=str
)
def test_pages_of_a_document_stand_behind_its_address(demo_url: str, web: dict[str, bytes], arguments: tuple[str, ...]) -> None:
    web[REPORT] = pdf("One", "Two", "Three")
    assert pages(invoke("ask", *arguments, "--url", demo_url, "--json")) == [2, 3]


def test_a_document_is_fetched_once_for_all_its_choices(demo_url: str, web: dict[str, bytes], asked: list[str]) -> None:
    web |= {REPORT: pdf("One", "Two", "Three"), CLIP: film("GIF")}
    done = invoke("ask", f"{REPORT}#3", f"{REPORT}#1", f"{CLIP}#0", "Read them.", "--url", demo_url, "--json")
    assert pages(done) == [3, 1, 0]
    assert asked == [REPORT, CLIP]
    assert pages(invoke("ask", REPORT, "Read it.", "--url", demo_url, "--pages", "2", "--json")) == [2]


def test_a_document_at_an_address_goes_with_the_next_question_of_a_chat(demo_url: str, web: dict[str, bytes]) -> None:
    web[REPORT] = pdf("One", "Two", "Three")
    done = invoke("chat", f"{REPORT}#2", "--url", demo_url, stdin=f"{QUESTION}\n")
    assert "report.pdf#2 goes with the next question." in done.stderr
    assert done.exit_code == 0, done.stderr


def test_a_chat_takes_addresses_too(demo_url: str, web: dict[str, bytes]) -> None:
    done = invoke("chat", CIRCLE, "--url", demo_url, stdin=f"{QUESTION}\n")
    assert done.stdout == "A red circle on a white background.\n", done.stderr
    done = invoke("chat", "--url", demo_url, stdin=f"/image {CIRCLE}\n{QUESTION}\n/new\n{QUESTION} {CIRCLE}.png\n")
    assert done.stdout == "A red circle on a white background.\n" * 2, done.stderr


def test_the_reason_is_told_where_an_address_is_not_fetched(web: dict[str, bytes]) -> None:
    done = invoke("ask", "http://192.168.0.1/a.png", QUESTION)
    assert done.exit_code == 2
    assert f"http://192.168.0.1/a.png can't be fetched. {REASONS['not_public']}" in done.stderr
    assert invoke("ask", "http://busy.example/", QUESTION).exit_code == 1


def test_the_command_itself_dials_no_inner_address() -> None:
    done = run("ask", "http://0x7f.1/a.png", QUESTION)
    assert (done.code, done.out) == (2, "")


def test_an_address_that_comes_twice_is_one_image() -> None:
    assert split([f"{CIRCLE}.png", f"What is {CIRCLE}.png?"]) == ([f"{CIRCLE}.png"], "What is the picture?")
    assert split([QUESTION, f"{CIRCLE}.png"], paths=False) == ([QUESTION], f"{CIRCLE}.png")


def test_the_gateway_gets_the_file_and_not_the_address(demo_url: str, web: dict[str, bytes]) -> None:
    done = invoke("ask", CIRCLE, QUESTION, "--url", demo_url, "--json")
    image = json.loads(done.stdout)["images"][0]["id"]
    assert httpx2.get(f"{demo_url}/images/{image}").status_code == 200
