"""`llava-gateway autostart`: start the gateway at login, by a file for the system's service manager."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from llava_gateway.cli.console import FAILED, Failure, console, wrong_use
from llava_gateway.cli.flags import ConfigFlag, load_settings
from llava_gateway.cli.plain_help import PlainCommand, PlainGroup
from llava_gateway.cli.serve import address, check_files, check_ports

Kind: TypeAlias = Literal["systemd", "launchd", "task"]
Command: TypeAlias = tuple[str, ...]

KINDS: dict[str, Kind] = {"linux": "systemd", "darwin": "launchd", "win32": "task"}
NAME = "llava-gateway"
ABOUT = "llava_gateway: talk with pictures on your own machine"

autostart = typer.Typer(
    cls=PlainGroup,
    help="Start the gateway at login: a systemd user unit on Linux, a launch agent on macOS, a scheduled task on Windows.",
    epilog="Examples: llava-gateway autostart on --config gateway.toml · llava-gateway autostart status · llava-gateway autostart off",
    no_args_is_help=True,
)


@dataclass(frozen=True, slots=True)
class Autostart:
    """One file, and the commands that make the system load it, unload it and report on it."""

    path: Path
    content: bytes
    start: tuple[Command, ...]
    stop: Command
    forget: tuple[Command, ...]
    ask: Command
    log: str


def systemd_unit(command: Sequence[str]) -> str:
    """Write a systemd user unit. A wrong setting (status 2) must not restart it; a crash and a port in use must."""
    program, *arguments = command
    return f"""[Unit]
Description={ABOUT}

[Service]
ExecStart={" ".join([_systemd_word(program), *(_systemd_word(word.replace("$", "$$")) for word in arguments)])}
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2
TimeoutStopSec=20

[Install]
WantedBy=default.target
"""


def _systemd_word(word: str) -> str:
    """Quote `word` as systemd.service(5) requires. systemd expands $NAME in arguments, but not in the program's path."""
    for special, plain in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%")):
        word = word.replace(special, plain)
    return f'"{word}"'


def launch_agent(command: Sequence[str], log: Path) -> bytes:
    """Write a property list for launchd.plist(5)."""
    import plistlib

    return plistlib.dumps(
        {
            "Label": NAME,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "StandardOutPath": str(log),
            "StandardErrorPath": str(log),
        },
        sort_keys=False,
    )


def scheduled_task(command: Sequence[str], user: str) -> str:
    """Write a task for the Task Scheduler that starts when `user` logs on, and again after a crash."""
    from html import escape
    from subprocess import list2cmdline

    program, *arguments = command
    return f"""<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>{escape(ABOUT)}</Description></RegistrationInfo>
  <Triggers><LogonTrigger><Enabled>true</Enabled><UserId>{escape(user)}</UserId></LogonTrigger></Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{escape(user)}</UserId><LogonType>InteractiveToken</LogonType><RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure><Interval>PT1M</Interval><Count>3</Count></RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec><Command>{escape(program)}</Command><Arguments>{escape(list2cmdline(arguments))}</Arguments></Exec>
  </Actions>
</Task>
"""


def plan(kind: Kind, command: Sequence[str], *, home: Path, user: str, environment: Mapping[str, str]) -> Autostart:
    """Return the file and commands for `kind`. `user` is a number on macOS, DOMAIN\\NAME on Windows, and unused on Linux."""
    match kind:
        case "systemd":
            path = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "systemd/user" / f"{NAME}.service"
            control = ("systemctl", "--user")
            return Autostart(
                path,
                systemd_unit(command).encode(),
                start=((*control, "daemon-reload"), (*control, "enable", NAME), (*control, "restart", NAME)),
                stop=(*control, "disable", "--now", NAME),
                forget=((*control, "daemon-reload"),),
                ask=(*control, "is-enabled", "--quiet", NAME),
                log=f"journalctl --user -u {NAME}",
            )
        case "launchd":
            log = home / "Library/Logs" / f"{NAME}.log"
            return Autostart(
                path := home / "Library/LaunchAgents" / f"{NAME}.plist",
                launch_agent(command, log),
                start=(("launchctl", "bootstrap", f"gui/{user}", str(path)),),
                stop=("launchctl", "bootout", f"gui/{user}/{NAME}"),
                forget=(),
                ask=("launchctl", "print", f"gui/{user}/{NAME}"),
                log=str(log),
            )
        case "task":
            return Autostart(
                path := Path(environment.get("LOCALAPPDATA") or home / "AppData/Local") / NAME / "autostart.xml",
                scheduled_task(command, user).encode("utf-16"),
                start=(("schtasks", "/Create", "/TN", NAME, "/XML", str(path), "/F"), ("schtasks", "/Run", "/TN", NAME)),
                stop=("schtasks", "/End", "/TN", NAME),
                forget=(("schtasks", "/Delete", "/TN", NAME, "/F"),),
                ask=("schtasks", "/Query", "/TN", NAME),
                log="the Task Scheduler",
            )


def here(config: Path | None = None) -> Autostart:
    """Return the plan for this system and this Python. Raises Failure on an unsupported system."""
    kind = KINDS.get(sys.platform)
    if kind is None:
        raise Failure(
            f"llava-gateway can't start at login on {sys.platform}.", "Start `llava-gateway serve` with this system's own service manager."
        )
    command = [_python(kind), "-m", "llava_gateway", "serve", *(["--config", str(config.resolve())] if config else [])]
    return plan(kind, command, home=Path.home(), user=_user(kind), environment=os.environ)


def _python(kind: Kind) -> str:
    """Return the path of this Python; on Windows, of the one that opens no window."""
    without_window = Path(sys.executable).with_name("pythonw.exe")
    return str(without_window) if kind == "task" and without_window.exists() else sys.executable


def _user(kind: Kind) -> str:
    match kind:
        case "systemd":
            return ""
        case "launchd":
            return str(os.getuid())
        case "task":
            import getpass

            return "\\".join(filter(None, (os.environ.get("USERDOMAIN"), getpass.getuser())))


@autostart.command("on", cls=PlainCommand)
def on(
    config: ConfigFlag = None,
    show: Annotated[bool, typer.Option("--print", help="Print the file, and change nothing.")] = False,
) -> None:
    """Start the gateway now and at every login.

    It reads its settings from the file of --config. Variables LLAVA_GATEWAY_* of this shell are not set at login.

    \b
    Examples:
      llava-gateway autostart on
      llava-gateway autostart on --config gateway.toml
      llava-gateway autostart on --print
    """
    settings = load_settings(config)
    check_files(settings)
    wanted = here(config)
    if show:
        typer.echo(wanted.content.decode("utf-16" if wanted.path.suffix == ".xml" else "utf-8"), nl=False)
        return
    lost = sorted(name for name in os.environ if name.startswith("LLAVA_GATEWAY_") and name != "LLAVA_GATEWAY_URL")
    if lost:
        wrong_use(f"At login, {', '.join(lost)} is not set.", "Write the setting into a file, and give the file as --config.")
    if not wanted.path.exists():  # otherwise the restarted gateway would find the port in use
        check_ports(settings)
    turn_on(wanted)
    where = f" on {address(settings.host, settings.port)}" if settings.port else ""
    console().print(f"llava-gateway is started{where}, and starts at every login ({wanted.path}).\nIts log: {wanted.log}")


@autostart.command("off", cls=PlainCommand)
def off() -> None:
    """Stop the gateway, and turn off its start at login."""
    known = here()
    if not known.path.exists():
        console().print("llava-gateway does not start at login.")
        return
    turn_off(known)
    console().print("llava-gateway is stopped, and no longer starts at login.")


@autostart.command("status", cls=PlainCommand)
def status() -> None:
    """Print on or off, and where the file is. Exits with status 1 if it is off."""
    known = here()
    is_on = known.path.exists() and _run(known.ask) is None
    console().print(f"on ({known.path})" if is_on else "off")
    raise typer.Exit(0 if is_on else FAILED)


def turn_on(wanted: Autostart) -> None:
    """Write the file and load it; if loading fails, removes the file again. Raises Failure."""
    if wanted.path.exists():
        turn_off(wanted)  # if the old one is loaded, the system would keep using it
    wanted.path.parent.mkdir(parents=True, exist_ok=True)
    wanted.path.write_bytes(wanted.content)
    for command in wanted.start:
        if why := _run(command):
            turn_off(wanted)
            raise Failure(f"The gateway can't be started at login: {why}", "Nothing was changed. `--print` shows the file to use by hand.")


def turn_off(known: Autostart) -> None:
    """Unload it and remove the file. Ignores errors of the system: it may never have loaded the file."""
    _run(known.stop)
    known.path.unlink(missing_ok=True)
    for command in known.forget:
        _run(command)


def _run(command: Command) -> str | None:
    """Run a command of the system. Returns None on success, else its output."""
    import subprocess

    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603 (our own words)
    except OSError as error:
        return f"{command[0]}: {error.strerror}."
    said = (done.stderr or done.stdout).strip()
    return None if done.returncode == 0 else f"{' '.join(command)} failed: {said or f'status {done.returncode}'}"
