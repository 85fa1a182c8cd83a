"""Output to a full disk, to a reader that has gone, and to a narrow terminal; and help like that of other programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llava_gateway.cli.console import show_table
from llava_gateway.cli.main import app
from tests.cli.program import COMMAND, LIMIT, Done, environment, run

FULL = Path("/dev/full")
COMMANDS = [
    ("--help",),
    ("--version",),
    ("ask", "Hello"),
    ("ask", "Hello", "--json"),
    ("chat",),
    ("models",),
    ("models", "--json"),
    ("sessions",),
    ("sessions", "--help"),
    ("doctor", "--no-ask"),
    ("serve", "--port", "0"),
]
HEADERS = ("", "name", "engine", "memory")
ROWS = [("*", "llava:7b", "ollama", "about 5.6 GB, close other programs"), ("", "图像模型", "ollama", "?")]


def into(out: int, *arguments: str, url: str) -> Done:
    """Run a command whose output goes to a descriptor."""
    variables = {} if arguments[0] in ("serve", "doctor") else {"LLAVA_GATEWAY_URL": url}
    env = environment(**variables, LLAVA_GATEWAY_ENGINE="embedded")
    done = subprocess.run([*COMMAND, *arguments], input=b"Hello\n", stdout=out, stderr=subprocess.PIPE, env=env, timeout=LIMIT, check=False)
    return Done(done.returncode, "", done.stderr.decode())


@pytest.mark.skipif(not FULL.exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_is_told_in_one_line(arguments: tuple[str, ...], demo_url: str) -> None:
    with FULL.open("wb") as full:
        done = into(full.fileno(), *arguments, url=demo_url)
    assert done.code == 1
    assert done.err.splitlines()[-1] == "Error: The output can't be written: No space left on device."
    assert "Traceback" not in done.err
    assert "Exception" not in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break in other ways there")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_that_left_is_no_news(arguments: tuple[str, ...], demo_url: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = into(writer, *arguments, url=demo_url)
    finally:
        os.close(writer)
    assert (done.code, done.err.replace("[stopped]\n", "")) == (1, "")


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        (("ask",), "ask [OPTIONS] [IMAGE...] QUESTION"),
        (("chat",), "chat [OPTIONS] [IMAGE...]"),
        (("models", "pull"), "models pull [OPTIONS] NAME"),
        (("sessions", "search"), "sessions search [OPTIONS] WORD..."),
        (("sessions", "delete"), "sessions delete [OPTIONS] ID..."),
        (("sessions", "import"), "sessions import [OPTIONS] FILE..."),
        (("serve",), "serve [OPTIONS]"),
        (("models",), "models [OPTIONS] COMMAND [ARGS]..."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_help_reads_as_that_of_other_programs(command: tuple[str, ...], usage: str) -> None:
    said = CliRunner().invoke(app, [*command, "--help"], prog_name="llava-gateway", env={"COLUMNS": "120"}).stdout
    assert f"Usage: llava-gateway {usage} " in said
    assert [kind for kind in ("<bool>", "<str>", "list[", "<int", "<float", "{") if kind in said] == []


def test_the_help_of_sessions_promises_no_gateway_of_its_own() -> None:
    for command in (["sessions"], ["sessions", "list"], ["sessions", "export"]):
        assert "is started" not in " ".join(CliRunner().invoke(app, [*command, "--help"]).stdout.split())


def test_a_table_that_fits_is_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    show_table(HEADERS, ROWS, lead=2)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_narrow_terminal_gets_lines_instead(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    show_table(HEADERS, ROWS, lead=2)
    said = capsys.readouterr().out
    assert said.splitlines()[:3] == ["*  llava:7b", "  engine: ollama", "  memory: about 5.6 GB, close other programs"]
    assert "图像模型" in said.splitlines()


def test_a_pipe_has_a_row_in_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    show_table(HEADERS, ROWS, lead=2)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_models_are_readable_at_40_columns(demo_url: str) -> None:
    said = run("models", "--url", demo_url, FORCE_COLOR="1", COLUMNS="40", TERM="xterm").out
    assert "  engine: embedded\n" in said
    assert all(len(line) <= 40 for line in said.splitlines() if line.startswith("  "))


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", ""),
        ("ask", "photo.jpg", " "),
        ("ask", "Hello", "--model", ""),
        ("chat", ""),
        ("models", "pull", ""),
        ("sessions", "delete", ""),
        ("sessions", "show", ""),
        ("sessions", "search", ""),
    ],
    ids=repr,
)
def test_an_empty_argument_has_its_own_sentence(arguments: tuple[str, ...], demo_url: str) -> None:
    """Such as `"$ID"` if ID is not set: `sessions delete` would read it as the beginning of every id."""
    done = run(*arguments, LLAVA_GATEWAY_URL=demo_url)
    assert (done.code, done.out) == (2, "")
    assert "An argument is empty." in done.err


@pytest.mark.skipif(sys.platform != "linux", reason="a command line holds any bytes there")
@pytest.mark.parametrize(
    "arguments",
    [("ask", "a\udcff"), ("ask", "Hello", "--system", "\udcff"), ("sessions", "search", "\udcff"), ("sessions", "show", "\udcff" * 32)],
    ids=repr,
)
def test_bytes_that_are_no_text_have_their_own_sentence(arguments: tuple[str, ...], demo_url: str) -> None:
    done = run(*arguments, LLAVA_GATEWAY_URL=demo_url)
    assert "is not in the encoding of this terminal" in done.err
    assert "Traceback" not in done.err
    assert done.code == 2
