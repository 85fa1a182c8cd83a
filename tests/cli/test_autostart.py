"""Start at login: the three files are valid on their systems, and turning it on and off leaves nothing behind."""

from __future__ import annotations

import os
import plistlib
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llava_gateway.cli.autostart import KINDS, Kind, here, plan
from tests.cli.program import environment, run, until

ODD = ("/opt/my 100% $HOME/py\\thon", "-m", "llava_gateway", "serve", "--config", '/home/ann/"a" & <$b>.toml')
"""A command with all characters that have a meaning in one of the files."""
TASK = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the program runs systemctl on Linux only")


def content(kind: Kind, command: tuple[str, ...] = ODD, user: str = "") -> bytes:
    return plan(kind, command, home=Path("/home/ann"), user=user, environment={}).content


def test_every_system_has_its_place_for_the_file() -> None:
    def path(kind: Kind, **variables: str) -> str:
        return plan(kind, ODD, home=Path("/home/ann"), user="501", environment=variables).path.as_posix()

    assert path("systemd") == "/home/ann/.config/systemd/user/llava-gateway.service"
    assert path("systemd", XDG_CONFIG_HOME="/xdg") == "/xdg/systemd/user/llava-gateway.service"
    assert path("launchd") == "/home/ann/Library/LaunchAgents/llava-gateway.plist"
    assert path("task", LOCALAPPDATA="/local") == "/local/llava-gateway/autostart.xml"
    assert set(KINDS.values()) == {"systemd", "launchd", "task"}


def test_the_unit_keeps_every_word_of_the_command() -> None:
    line = next(line for line in content("systemd").decode().splitlines() if line.startswith("ExecStart="))
    program, *arguments = (word.replace("%%", "%") for word in shlex.split(line.removeprefix("ExecStart=")))
    assert (program, *(word.replace("$$", "$") for word in arguments)) == ODD


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """`verify` reports unknown keys and a missing program."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze to read the unit with")
    program = tmp_path / "my 100% $py"
    program.symlink_to(sys.executable)
    unit = tmp_path / "llava-gateway.service"
    unit.write_bytes(content("systemd", (str(program), *ODD[1:])))
    command = ["systemd-analyze", "verify", "--user", "--man=no", str(unit)]
    variables = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_UNIT_PATH": f"{tmp_path}:/usr/lib/systemd/user"}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])
    unit.write_bytes(unit.read_bytes().replace(b"RestartSec=5", b"RestartSecs=5"))
    broken = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert "RestartSecs" in broken.stderr, "it reads the file, then"


def test_the_launch_agent_is_a_property_list() -> None:
    agent = plistlib.loads(content("launchd"))
    assert tuple(agent["ProgramArguments"]) == ODD
    assert (agent["Label"], agent["RunAtLoad"], agent["KeepAlive"]) == ("llava-gateway", True, {"SuccessfulExit": False})


def test_the_task_is_xml_that_names_the_user_and_the_command() -> None:
    task = ElementTree.fromstring(content("task", user="HOME\\Ann & Co").decode("utf-16").partition("?>")[2])  # noqa: S314 (our own file)
    assert content("task").startswith((b"\xff\xfe", b"\xfe\xff")), "schtasks reads UTF-16 with its mark"
    assert task.findtext("t:Actions/t:Exec/t:Command", namespaces=TASK) == ODD[0]
    arguments = task.findtext("t:Actions/t:Exec/t:Arguments", namespaces=TASK)
    assert arguments == subprocess.list2cmdline(ODD[1:])
    assert task.findtext("t:Triggers/t:LogonTrigger/t:UserId", namespaces=TASK) == "HOME\\Ann & Co"
    assert task.findtext("t:Settings/t:ExecutionTimeLimit", namespaces=TASK) == "PT0S", "it may run for ever"


async def test_what_is_started_at_login_serves(tmp_path: Path) -> None:
    """Both files contain the same command: here it runs as the launch agent has it."""
    import asyncio
    from asyncio.subprocess import PIPE

    if sys.platform not in KINDS:
        pytest.skip("there is no way to start at login here")
    config = tmp_path / "gateway.toml"
    config.write_text('port = 0\nengine = "embedded"\n', "utf-8")
    command = plistlib.loads(content("launchd", _command(config)))["ProgramArguments"]
    variables = {name: value for name, value in environment().items() if name != "LLAVA_GATEWAY_PORT"}
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, env=variables, cwd="/")
    try:
        await until(process.stdout, "listens on http://127.0.0.1:")
    finally:
        process.terminate()
        await process.communicate()


def _command(config: Path) -> tuple[str, ...]:
    """Return the words of the unit for this Python."""
    unit = here(config).content.decode("utf-16" if sys.platform == "win32" else "utf-8")
    line = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    return tuple(shlex.split(line.removeprefix("ExecStart=")))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Make a home with a systemctl that only records its arguments, since a test must not change what starts at login here."""
    programs = tmp_path / "bin"
    programs.mkdir()
    log, unit = tmp_path / "log", tmp_path / ".config/systemd/user/llava-gateway.service"
    systemctl = programs / "systemctl"
    systemctl.write_text(f'#!/bin/sh\n[ -f "{unit}" ] && there=with || there=without\necho "$* $there" >> "{log}"\n', "utf-8")
    systemctl.chmod(0o755)
    (tmp_path / "any port.toml").write_text("port = 0\n", "utf-8")
    return tmp_path


def autostart(home: Path, *arguments: str) -> tuple[int, str, str]:
    variables = {"HOME": str(home), "XDG_CONFIG_HOME": "", "PATH": f"{home}/bin:/usr/bin:/bin"}
    command = [sys.executable, "-m", "llava_gateway", "autostart", *arguments]
    given = {name: value for name, value in environment(**variables).items() if name != "LLAVA_GATEWAY_PORT"}
    done = subprocess.run(command, capture_output=True, text=True, env=given, cwd=home, check=False)
    return done.returncode, done.stdout, done.stderr


@LINUX
def test_on_and_off_tell_systemd_and_leave_nothing(home: Path) -> None:
    unit = home / ".config/systemd/user/llava-gateway.service"
    assert autostart(home, "status")[:2] == (1, "off\n")
    assert autostart(home, "on", "--config", "any port.toml")[0] == 0
    assert f'"{sys.executable}" "-m" "llava_gateway" "serve" "--config" "{home}/any port.toml"' in unit.read_text("utf-8")
    assert autostart(home, "status")[:2] == (0, f"on ({unit})\n")
    assert autostart(home, "off")[0] == 0
    assert not unit.exists()
    assert autostart(home, "status")[:2] == (1, "off\n")
    assert (home / "log").read_text().splitlines() == [
        "--user daemon-reload with",
        "--user enable llava-gateway with",
        "--user restart llava-gateway with",
        "--user is-enabled --quiet llava-gateway with",
        "--user disable --now llava-gateway with",
        "--user daemon-reload without",
    ]


@LINUX
def test_what_the_system_refuses_is_said_and_undone(home: Path) -> None:
    systemctl = home / "bin/systemctl"
    systemctl.write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n", "utf-8")
    code, _, said = autostart(home, "on", "--config", "any port.toml")
    assert (code, "Failed to connect to bus" in said) == (1, True)
    assert not (home / ".config/systemd/user/llava-gateway.service").exists()


@LINUX
def test_a_port_that_is_taken_is_said_before_anything_changes(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (home / "taken.toml").write_text(f"port = {port}\n", "utf-8")
        code, _, said = autostart(home, "on", "--config", "taken.toml")
    assert (code, str(port) in said) == (1, True)
    assert not (home / ".config").exists()


@LINUX
def test_the_file_can_be_looked_at_first(home: Path) -> None:
    code, printed, _ = autostart(home, "on", "--print")
    assert (code, printed.startswith("[Unit]")) == (0, True)
    assert not (home / ".config").exists()


@LINUX
def test_settings_that_are_wrong_or_not_there_at_login_are_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("prot = 9000\n", "utf-8")
    assert run("autostart", "on", "--config", str(wrong), HOME=str(tmp_path)).code == 2
    of_the_shell = run("autostart", "on", HOME=str(tmp_path), LLAVA_GATEWAY_NUM_CTX_MAX="8192")
    assert (of_the_shell.code, "LLAVA_GATEWAY_NUM_CTX_MAX" in of_the_shell.err) == (2, True)
    assert not (tmp_path / ".config").exists()
