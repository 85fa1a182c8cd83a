from __future__ import annotations

import asyncio
import errno
import re
import signal
import socket
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from llava_gateway.cli.main import app
from llava_gateway.cli.serve import address, advice, listen_error
from llava_gateway.engines.base import Health, ModelInfo
from llava_gateway.engines.gguf import GGUFError
from llava_gateway.engines.pool import Default, EngineState, PoolState
from llava_gateway.notes import note
from llava_gateway.settings import Settings
from tests.cli.program import LIMIT, run, running, serving, until
from tests.serving import NEEDS_IPV6, Events
from tests.synthetic_llava import ENDLESS, SyntheticPair

DEMO = ModelInfo("demo", "embedded", vision=True)
LLAVA = ModelInfo("llava:7b", "ollama", vision=True)


async def test_it_says_where_it_listens_who_answers_why_and_how_to_get_a_larger_model() -> None:
    async with running("serve", "--port", "0") as process:
        found = await until(process.stdout, r"(?s)listens on (http://127\.0\.0\.1:\d+)\n(.*)Press Ctrl\+C")
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
        httpx2.AsyncClient(base_url=url, timeout=LIMIT, trust_env=False) as client,
        client.stream("POST", "/ask", json={"prompt": "go", "options": ENDLESS}, headers={"Accept": "text/event-stream"}) as response,
    ):
        events = Events(response)
        async for name, _ in events:
            if name == "delta":
                break
        process.terminate()
        async with asyncio.timeout(LIMIT):  # it does not end by itself
            rest = await events.rest()
        assert rest[-1][0] == "error"
        assert rest[-1][1]["error"]["code"] == "shutting_down"
        assert [name for name, _ in rest].count("error") == 1
        assert await asyncio.wait_for(process.wait(), LIMIT) == 0


def test_off_loopback_it_refuses_to_start_without_a_key() -> None:
    done = run("serve", "--host", "0.0.0.0")
    assert done.code == 2
    assert "set LLAVA_GATEWAY_API_KEY first" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(("host", "here"), [("0.0.0.0", r"127\.0\.0\.1"), pytest.param("::", r"\[::1\]", marks=NEEDS_IPV6)])
async def test_with_a_key_it_listens_off_loopback_and_names_an_address_to_open(host: str, here: str) -> None:
    async with running("serve", "--port", "0", "--host", host, LLAVA_GATEWAY_API_KEY="a key") as process:
        pattern = rf'curl -H "Authorization: Bearer \$LLAVA_GATEWAY_API_KEY" .* (http://{here}:\d+)/ask'
        url = (await until(process.stdout, pattern))[1]
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.get("/models")).status_code == 401
            assert (await client.get("/models", headers={"Authorization": "Bearer a key"})).status_code == 200


async def test_on_every_address_it_says_so_with_the_address_that_others_use() -> None:
    """The address belongs to this machine, and requests to it are answered once it is among the allowed hosts."""
    key = {"LLAVA_GATEWAY_API_KEY": "a key"}
    pattern = r"(?s)Other machines reach it at (http://\S+:\d+), with the key\.(.*)Press Ctrl\+C"
    async with running("serve", "--port", "0", "--host", "0.0.0.0", "--engine", "embedded", **key) as process:
        said = await until(process.stdout, pattern)
    hosts = re.search(r"LLAVA_GATEWAY_ALLOWED_HOSTS=(\S+)", said[2])
    assert hosts is not None
    async with running(
        "serve", "--port", "0", "--host", "0.0.0.0", "--engine", "embedded", **key, LLAVA_GATEWAY_ALLOWED_HOSTS=hosts[1]
    ) as process:
        said = await until(process.stdout, pattern)
        assert "allowed_hosts" not in said[2]
        async with httpx2.AsyncClient(base_url=said[1], trust_env=False) as client:
            assert (await client.get("/models", headers={"Authorization": "Bearer a key"})).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--mmproj", "m.gguf"), "mmproj needs gguf"),
        (("--gguf", "m.gguf", "--engine", "ollama"), "gguf runs in the embedded engine, not in ollama"),
        (("--engine", "openai"), "engine openai needs openai_base_url"),
        (("--port", "70000"), "less than or equal to 65535"),
        (("--config", "nowhere.toml"), "There is no settings file nowhere.toml"),
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
    [
        ("port = [", "is not valid TOML"),
        ("prot = 1", "there is no setting prot. Did you mean port?"),
        ('[models."llava:7b"]\nnum_ctxx = 1', "there is no setting models.llava:7b.num_ctxx. Did you mean num_ctx?"),
        ('port = "x"\nhost = 1', "port: Input should be"),
    ],
)
def test_wrong_settings_files_are_said_in_a_line(toml: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(toml)
    done = run("serve", "--config", str(path), LLAVA_GATEWAY_PORT="")
    assert done.code == 2
    assert f"{path}: {said}" in done.err or f"{path} {said}" in done.err
    assert "Traceback" not in done.err


def test_a_key_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('api_key = ["secret words"]')
    done = run("serve", "--config", str(path))
    assert done.code == 2
    assert "api_key" in done.err
    assert "secret words" not in done.err


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LLAVA_GATEWAY_ALLOWED_HOSTS", '["one"', 'a list is written as one,two or as ["one", "two"]'),
        ("LLAVA_GATEWAY_MODELS", "llava:7b", "tables are written as JSON"),
        ("LLAVA_GATEWAY_MODELS__demo__NUM_CTXX", "4096", "there is no setting models.demo.num_ctxx. Did you mean num_ctx?"),
        ("LLAVA_GATEWAY_QUEUE_SIZE", "many", "Input should be a valid integer"),
        ("LLAVA_GATEWAY_PROT", "9000", "Did you mean LLAVA_GATEWAY_PORT?"),
    ],
)
def test_a_wrong_variable_is_named_with_what_it_takes(variable: str, value: str, said: str) -> None:
    done = run("serve", **{variable: value})  # type: ignore[arg-type]
    assert done.code == 2
    assert variable in done.err
    assert said in done.err


@pytest.mark.parametrize(
    "command",
    [
        *(("ask", "Hello"), ("chat",), ("models",), ("models", "list"), ("models", "pull", "x"), ("models", "delete", "x")),
        *(("sessions",), ("sessions", "show", "x"), ("doctor", "--no-ask"), ("showcase",), ("serve",)),
    ],
    ids=" ".join,
)
def test_every_command_refuses_a_wrong_settings_file(command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with the address of a gateway: an error in the file is never ignored."""
    monkeypatch.setenv("LLAVA_GATEWAY_URL", "http://127.0.0.1:9")
    unknown = tmp_path / "settings.toml"
    unknown.write_text("queue_sise = 1\n")
    for config, said in (
        (unknown, f"{unknown}: there is no setting queue_sise. Did you mean queue_size?"),
        (tmp_path, f"{tmp_path} is a folder, not a settings file."),
        (tmp_path / "Missing.toml", f"There is no settings file {tmp_path / 'Missing.toml'}."),
    ):
        done = CliRunner().invoke(app, [*command, "--config", str(config)])
        assert (done.exit_code, done.stdout) == (2, "")
        assert said in done.stderr


def test_a_taken_port_is_said_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port))
    assert done.code == 1
    assert f"Port {port} of 127.0.0.1 is taken" in done.err
    assert f"--port {port + 1}" in done.err
    assert done.out == ""


@NEEDS_IPV6
def test_a_port_that_is_taken_only_on_ipv6_is_said_with_the_way_around() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free, socket.socket(socket.AF_INET6) as taken:
        port = free.getsockname()[1]
        taken.bind(("::1", port))
        free.close()
        taken.listen()
        done = run("serve", "--port", str(port))
    assert done.code == 1
    assert f"Port {port} of ::1 is taken" in done.err
    assert "`--host 127.0.0.1` listens only there" in " ".join(done.err.split())


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
    assert "192.0.2.1 is not an address of this machine" in done.err


def test_a_port_that_needs_rights_is_explained() -> None:
    failure = listen_error("127.0.0.1", 80, PermissionError(errno.EACCES, "Permission denied"))
    assert "needs rights" in failure.message
    assert "--port 8000" in failure.hint


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("::", "http://[::1]:80"),
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
        said = (await until(process.stdout, r"(?s)listens on (.*)Press Ctrl\+C"))[1]
        assert note("default_not_there", model="nope").text in said
        assert "questions can name another model: demo." in said
