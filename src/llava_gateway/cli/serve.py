"""`llava-gateway serve`: the gateway with its page, until Ctrl+C or SIGTERM."""

from __future__ import annotations

import errno
import signal
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llava_gateway.cli.address_files import AddressFile
from llava_gateway.cli.console import Failure, console, set_up_logging, wrong_use
from llava_gateway.cli.data import failure_of_data, print_recovery
from llava_gateway.cli.flags import (
    ConfigFlag,
    DataDirFlag,
    DefaultModelFlag,
    EngineFlag,
    GgufFlag,
    MmprojFlag,
    VerboseFlag,
    load_settings,
)

if TYPE_CHECKING:
    from llava_gateway.engines.pool import PoolState
    from llava_gateway.settings import Settings

LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (recognised, not listened on)
"""The loopback address to open, by the addresses that mean every address of this machine."""


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (127.0.0.1); any other needs LLAVA_GATEWAY_API_KEY.", metavar="ADDRESS")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on (8000); 0 chooses a free one.")
    ] = None,
    engine: EngineFlag = None,
    model: DefaultModelFlag = None,
    gguf: GgufFlag = None,
    mmproj: MmprojFlag = None,
    data_dir: DataDirFlag = None,
    no_keep: Annotated[bool, typer.Option("--no-keep", help="Write no chats to disk: they are lost when the gateway stops.")] = False,
    recover: Annotated[
        bool, typer.Option("--recover", help="If the chats on disk are damaged, save what can be read, then serve.")
    ] = False,
    config: ConfigFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Serve the page and the REST API, until Ctrl+C.

    Chats are kept on disk, in the directory that `llava-gateway data path` prints.

    Settings come from --config FILE, then from LLAVA_GATEWAY_* in the environment, then from the flags; the last one counts.

    \b
    Examples:
      llava-gateway serve
      llava-gateway serve --port 9000 --model llava:13b
      llava-gateway serve --gguf llava-7b.gguf --mmproj llava-7b-mmproj.gguf
    """
    keep = "memory" if no_keep else None
    settings = load_settings(
        config, host=host, port=port, engine=engine, model=model, gguf=gguf, mmproj=mmproj, data_dir=data_dir, keep=keep
    )
    settings = settings.model_copy(update={"keep": settings.keep or "sqlite"})
    set_up_logging(verbose=verbose)
    check_files(settings)
    check_ports(settings)
    if settings.keep == "sqlite" and recover:
        print_recovery(settings.data_folder)
    from llava_gateway.api.server import run
    from llava_gateway.journal.errors import DataError

    unwritten: list[OSError] = []
    with AddressFile() as address_file:

        def listening(port: int, state: PoolState) -> None:
            address_file.write(address(settings.host, port))
            try:
                announce(settings, port, state)
            except OSError as error:  # nobody would know where it listens
                unwritten.append(error)
            except SystemExit:  # rich exits like this when the reader has gone
                unwritten.append(BrokenPipeError(errno.EPIPE, ""))
            if unwritten:
                signal.raise_signal(signal.SIGTERM)

        try:
            status = run(settings, listening)
        except DataError as error:
            raise failure_of_data(error) from error
    if unwritten:
        raise unwritten[0]
    raise typer.Exit(status)


def check_files(settings: Settings) -> None:
    """Check that the named GGUF files can be read: a server that can never answer helps nobody. Raises Failure."""
    from llava_gateway.engines.gguf import GGUFError, read_header

    for setting, path in (("gguf", settings.gguf), ("mmproj", settings.mmproj)):
        if path is None:
            continue
        try:
            read_header(path)
        except GGUFError as error:
            wrong_use(f"{path} can't be served: {error}", f"Give a GGUF file as {setting}.")
        except OSError as error:
            wrong_use(f"{path} can't be read: {error.strerror}.", f"Give the path of a GGUF file as {setting}.")


def check_ports(settings: Settings) -> None:
    """Check that the port is free on every address, before the engines are started for nothing. Raises Failure."""
    for place, host in enumerate(settings.addresses):
        try:
            check_port(host, settings.port)
        except Failure as failure:
            cause = failure.__cause__
            if not place or not isinstance(cause, OSError):
                raise
            if cause.errno == errno.EADDRINUSE:  # on other errors this machine has no IPv6
                raise Failure(failure.message, f"{failure.hint} `--host {settings.host}` listens only there.") from cause


def check_port(host: str, port: int) -> None:
    """Check that the port is free, before the engines are started for nothing. Raises Failure."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in addresses:
            with socket.socket(family, kind, protocol) as probe:
                if sys.platform != "win32":  # there it would let two programs share the port
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise listen_error(host, port, error) from error


def listen_error(host: str, port: int, error: OSError) -> Failure:
    """Explain why listening failed."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return Failure(f"{host} is not an address of this machine.", "Listen on 127.0.0.1, or on an address of this machine.")
    if error.errno == errno.EADDRINUSE:
        return Failure(f"Port {port} of {host} is taken: another program (or another llava-gateway) listens there.", _another(port))
    if error.errno in (errno.EACCES, errno.EPERM):
        return Failure(f"Listening on port {port} needs rights that this program does not have.", "Choose a port above 1023: --port 8000")
    return Failure(f"Nothing can listen on port {port} of {host}: {error.strerror}.", _another(port))


def _another(port: int) -> str:
    return f"Choose another port (--port {port + 1 if port < 65535 else 8000}), or stop the other program."


def announce(settings: Settings, port: int, state: PoolState) -> None:
    """Print where it listens, which model answers and why, and how to ask."""
    out = console()
    url = address(settings.host, port)
    out.print(f"llava-gateway listens on {url}", style="bold green")
    out.print(f"  {state.default.reason.text}")
    kept = f"Chats are kept in {settings.data_folder}." if settings.keep == "sqlite" else "Chats are lost when it stops (keep = memory)."
    for line in [*other_addresses(settings, port), *too_few_files(settings), *advice(settings, state), kept]:
        out.print(f"  {line}")
    key = ' -H "Authorization: Bearer $LLAVA_GATEWAY_API_KEY"' if settings.api_key else ""
    out.print(f"  Open {url} in a browser, or ask from a shell:")
    out.print(f"    curl{key} -F image=@photo.jpg -F prompt='What is this?' {url}/ask")
    out.print("  Press Ctrl+C to stop it.")


def address(host: str, port: int) -> str:
    """Return http://HOST:PORT to open on this machine; loopback for a gateway that listens on every address."""
    host = LOOPBACK_OF.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def other_addresses(settings: Settings, port: int) -> list[str]:
    """Return lines that say at which address other machines reach a gateway that listens on every address of this one."""
    if settings.host not in LOOPBACK_OF:
        return []
    name = own_address(settings.host)
    url = f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
    lines = [f"It listens on every address of this machine. Other machines reach it at {url}, with the key."]
    bracketed = f"[{name}]" if ":" in name else name
    if not {"*", bracketed.lower()} & {host.lower() for host in settings.allowed_hosts}:
        hosts = ",".join((*settings.allowed_hosts, bracketed))
        lines.append(f"It rejects them until allowed_hosts contains that address: LLAVA_GATEWAY_ALLOWED_HOSTS={hosts}")
    return lines


def too_few_files(settings: Settings) -> list[str]:
    """Return a line that says how to raise the limit on open files, if the slots of the settings don't fit into it."""
    from llava_gateway.gateway.files import connections_limit, files_wanted, slots_wanted

    slots, most = slots_wanted(settings), connections_limit()
    if slots <= most:
        return []
    return [
        f"It has {slots} slots, but the limit on open files has room for {most} answers. `ulimit -n {files_wanted(settings)}` raises it."
    ]


def own_address(host: str) -> str:
    """Return the address by which other machines know this one; its name if it has no network."""
    family, elsewhere = (socket.AF_INET6, "2001:db8::1") if host == "::" else (socket.AF_INET, "192.0.2.1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))  # chooses a route, and sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


def advice(settings: Settings, state: PoolState) -> list[str]:
    """Return lines that say which models there are if the requested one is missing, and how to get a larger one if only the demo model
    answers, or none.
    """
    model = state.default.model
    if model is None and settings.model and state.models:
        names = ", ".join(other.name for other in state.models)
        return [f"It answers as soon as it is installed. Until then, questions can name another model: {names}."]
    if model is not None and (model.engine != "embedded" or settings.gguf):
        return []
    ollama = next((engine for engine in state.engines if engine.name == "ollama"), None)
    lines = []
    if model is not None:
        lines.append(
            f"{model.name} is a tiny built-in model: it knows drawn shapes, colours, letters and digits, and has never seen a photo."
        )
    if settings.engine_choice not in ("auto", "ollama"):
        return [*lines, "For a larger one: --gguf FILE --mmproj FILE, or --engine auto with Ollama (https://ollama.com/download)."]
    install = "" if ollama and ollama.health.ok else "install Ollama from https://ollama.com/download, then "
    return [*lines, f"For a larger one: {install}`ollama pull llava:7b`. The gateway finds it within seconds, without a restart."]
