from __future__ import annotations

import asyncio
import errno
import signal
import socket
import time
from pathlib import Path

import httpx2
import pytest

from llava_gateway.cli.serve import address, advice, why_not
from llava_gateway.engines.base import Health, ModelInfo
from llava_gateway.engines.gguf import GGUFError
from llava_gateway.engines.pool import Default, EngineState, PoolState
from llava_gateway.notes import note
from llava_gateway.settings import Settings
from tests.cli.program import run, running, serving, until
from tests.serving import Events
from tests.synthetic_llava import ENDLESS, SyntheticPair

DEMO = ModelInfo("demo", "embedded", vision=True)
LLAVA = ModelInfo("llava:7b", "ollama", vision=True)


async def test_it_says_where_it_listens_who_answers_why_and_how_to_get_a_larger_model() -> None:
    async with running("serve", "--port", "0") as process:
        found = await until(process.stdout, r"(?s)listens on (http://127\.0\.0\.1:\d+)\n(.*)Ctrl\+C ends it")
        url, said = found[1], found[2]
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            reason = (await client.get("/readyz")).json()["reason"]
        assert reason["message"] in said
        assert reason["values"]["silent"] == ["ollama"]
        assert "`ollama pull llava:7b`" in said
        assert f"curl -F image=@photo.jpg -F prompt='What is this?' {url}/ask" in said
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        assert process.stderr is not None
        assert await process.stderr.read() == b""


async def test_sigterm_ends_a_stream_with_an_error_event_and_the_server_with_status_0(endless_pair: SyntheticPair) -> None:
    files = ("--gguf", str(endless_pair.gguf), "--mmproj", str(endless_pair.mmproj))
    async with (
        serving(*files, LLAVA_GATEWAY_SHUTDOWN_GRACE="0.2") as (url, process),
        httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as client,
        client.stream("POST", "/ask", json={"prompt": "go", "options": ENDLESS}, headers={"Accept": "text/event-stream"}) as response,
    ):
        events = Events(response)
        async for name, _ in events:
            if name == "delta":
                break
        process.terminate()
        told = time.monotonic()
        rest = await events.rest()
        assert rest[-1][0] == "error"
        assert rest[-1][1]["error"]["code"] == "shutting_down"
        assert [name for name, _ in rest].count("error") == 1
        assert await process.wait() == 0
        assert time.monotonic() - told < 10


def test_off_loopback_it_refuses_to_start_without_a_key() -> None:
    done = run("serve", "--host", "0.0.0.0")
    assert done.code == 2
    assert "set LLAVA_GATEWAY_API_KEY first" in done.err
    assert "Traceback" not in done.err


async def test_with_a_key_it_listens_off_loopback_and_names_an_address_to_open() -> None:
    async with running("serve", "--port", "0", "--host", "0.0.0.0", LLAVA_GATEWAY_API_KEY="a key") as process:
        url = (await until(process.stdout, r'curl -H "Authorization: Bearer \$LLAVA_GATEWAY_API_KEY" .* (http://127\.0\.0\.1:\d+)/ask'))[1]
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.get("/models")).status_code == 401
            assert (await client.get("/models", headers={"Authorization": "Bearer a key"})).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--mmproj", "m.gguf"), "mmproj needs gguf"),
        (("--gguf", "m.gguf", "--engine", "ollama"), "gguf runs in the embedded engine, not in ollama"),
        (("--engine", "openai"), "engine openai needs openai_base_url"),
        (("--port", "70000"), "less than or equal to 65535"),
        (("--config", "nowhere.toml"), "there is no settings file nowhere.toml"),
        (("--gguf", "nowhere.gguf"), "nowhere.gguf can't be read"),
        (("--gguf", __file__), f"can't be served: {GGUFError('gguf_none')}"),
    ],
)
def test_wrong_settings_are_said_in_a_line(arguments: tuple[str, ...], said: str) -> None:
    done = run("serve", *arguments)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("toml", "said"),
    [("port = [", "is not valid TOML"), ("prot = 1", "prot: there is no such setting"), ('port = "x"\nhost = 1', "port: Input should be")],
)
def test_wrong_settings_files_are_said_in_a_line(toml: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(toml)
    done = run("serve", "--config", str(path), LLAVA_GATEWAY_PORT="")
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_key_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('api_key = ["secret words"]')
    done = run("serve", "--config", str(path))
    assert done.code == 2
    assert "api_key" in done.err
    assert "secret words" not in done.err


def test_a_list_in_the_environment_that_is_no_json_is_explained() -> None:
    done = run("serve", LLAVA_GATEWAY_ALLOWED_HOSTS="example.org")
    assert done.code == 2
    assert "allowed_hosts" in done.err
    assert "written as JSON" in done.err


def test_a_taken_port_is_said_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port))
    assert done.code == 1
    assert f"Port {port} of 127.0.0.1 is taken" in done.err
    assert f"--port {port + 1}" in done.err
    assert done.out == ""


async def test_a_second_one_on_the_same_port_leaves_the_first_alone() -> None:
    async with serving("--engine", "embedded") as (url, process):
        second = await asyncio.to_thread(run, "serve", "--port", url.rpartition(":")[2])
        assert second.code == 1
        assert "is taken" in second.err
        assert process.returncode is None
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.get("/healthz")).status_code == 200


def test_an_address_of_another_machine_is_refused() -> None:
    done = run("serve", "--host", "192.0.2.1", LLAVA_GATEWAY_API_KEY="a key")
    assert done.code == 1
    assert "192.0.2.1 is no address of this machine" in done.err


def test_a_port_that_needs_rights_is_explained() -> None:
    failure = why_not("127.0.0.1", 80, PermissionError(errno.EACCES, "Permission denied"))
    assert "needs rights" in failure.message
    assert "--port 8000" in failure.hint


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("::", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("box.lan", "http://box.lan:80"),
    ],
)
def test_the_address_can_be_opened(host: str, shown: str) -> None:
    assert address(host, 80) == shown


def test_advice_is_given_only_where_there_is_something_better() -> None:
    def state(model: ModelInfo | None, *, ollama: bool) -> PoolState:
        return PoolState((EngineState("ollama", Health(ollama)),), Default(model, note("default_unknown")))

    assert advice(Settings(), state(LLAVA, ollama=True)) == []
    assert advice(Settings(gguf=Path("my.gguf")), state(DEMO, ollama=False)) == []
    assert "never seen a photo" in advice(Settings(), state(DEMO, ollama=False))[0]
    assert "install Ollama from" in advice(Settings(), state(DEMO, ollama=False))[1]
    assert "install Ollama" not in advice(Settings(), state(DEMO, ollama=True))[1]
    assert "--gguf" in advice(Settings(engine="embedded"), state(DEMO, ollama=False))[1]
    assert "ollama pull" in advice(Settings(), state(None, ollama=True))[0]
    assert "ollama pull" in advice(Settings(model="nope"), state(None, ollama=True))[0]


async def test_a_model_that_is_not_there_is_told_with_those_that_are() -> None:
    async with running("serve", "--port", "0", "--engine", "embedded", "--model", "nope") as process:
        said = (await until(process.stdout, r"(?s)listens on (.*)Ctrl\+C ends it"))[1]
        assert note("default_not_there", model="nope").text in said
        assert "Questions may name another one; there are demo." in said
