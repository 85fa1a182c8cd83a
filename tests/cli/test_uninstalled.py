"""Without the extra `embedded`, every command says what is missing and how to install it."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from llava_gateway.notes import INSTALL_EMBEDDED
from tests.cli.program import run, running, serving, until

ENGINES = ["auto", "embedded"]


@pytest.mark.parametrize("engine", ENGINES)
def test_ask_says_what_to_install(engine: str, without_embedded: str, red_circle: Path) -> None:
    done = run("ask", str(red_circle), "What is this?", PYTHONPATH=without_embedded, LLAVA_GATEWAY_ENGINE=engine)
    assert done.code == 1
    assert INSTALL_EMBEDDED in done.err
    assert "--engine embedded" not in done.err
    assert ("ollama serve" in done.err) == (engine == "auto")


def test_chat_says_what_to_install(without_embedded: str) -> None:
    assert INSTALL_EMBEDDED in run("chat", stdin=b"Hello\n", PYTHONPATH=without_embedded).err


def test_models_says_what_to_install(without_embedded: str) -> None:
    assert INSTALL_EMBEDDED in run("models", PYTHONPATH=without_embedded).out


def test_doctor_says_what_to_install(without_embedded: str) -> None:
    assert INSTALL_EMBEDDED in run("doctor", "--no-ask", PYTHONPATH=without_embedded).out


async def test_serve_says_what_to_install(without_embedded: str) -> None:
    async with running("serve", "--port", "0", PYTHONPATH=without_embedded) as process:
        assert INSTALL_EMBEDDED in (await until(process.stdout, r"(?s)listens on (.*)Press Ctrl\+C"))[1]


async def test_an_answer_over_http_and_the_page_are_told_too(without_embedded: str) -> None:
    async with (
        serving("--engine", "embedded", PYTHONPATH=without_embedded) as (url, _),
        httpx2.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        error = (await client.post("/ask", json={"prompt": "Hello"})).json()["error"]
        setup = (await client.get("/setup")).json()
    assert (error["code"], error["reason"]) == ("upstream_unavailable", "engine_not_installed")
    assert error["values"]["uninstalled"] == ["embedded"]
    assert INSTALL_EMBEDDED in error["message"]
    assert (setup["missing"], setup["next"]) == ("embedded_not_installed", "install_embedded")
    assert setup["embedded"] == {"installed": False, "command": INSTALL_EMBEDDED}
