"""`llava-gateway serve`: the gateway with its page, until Ctrl+C or SIGTERM."""

from __future__ import annotations

import errno
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llava_gateway.cli.console import Failure, console, set_up_logging, wrong_use
from llava_gateway.cli.flags import ConfigFlag, DefaultModelFlag, EngineFlag, GgufFlag, MmprojFlag, VerboseFlag, load_settings

if TYPE_CHECKING:
    from llava_gateway.engines.pool import PoolState
    from llava_gateway.settings import Settings

ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (recognised, not listened on)


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (127.0.0.1); any other needs LLAVA_GATEWAY_API_KEY.", metavar="ADDRESS")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on (8000); 0 takes a free one.")] = None,
    engine: EngineFlag = None,
    model: DefaultModelFlag = None,
    gguf: GgufFlag = None,
    mmproj: MmprojFlag = None,
    config: ConfigFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Serve the page and the REST API, until Ctrl+C.

    Settings come from --config FILE, then from LLAVA_GATEWAY_* in the environment, then from the flags; the last one counts.

    \b
    Examples:
      llava-gateway serve
      llava-gateway serve --port 9000 --model llava:13b
      llava-gateway serve --gguf llava-7b.gguf --mmproj llava-7b-mmproj.gguf
    """
    settings = load_settings(config, host=host, port=port, engine=engine, model=model, gguf=gguf, mmproj=mmproj)
    set_up_logging(verbose=verbose)
    check_files(settings)
    check_port(settings.host, settings.port)
    from llava_gateway.api.server import run

    raise typer.Exit(run(settings, lambda bound, state: announce(settings, bound, state)))


def check_files(settings: Settings) -> None:
    """Raises Failure when a GGUF file that was named can't be read: a server that can never answer helps nobody."""
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


def check_port(host: str, port: int) -> None:
    """Raises Failure when nothing can listen there: said now, before engines are started for nothing."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in addresses:
            with socket.socket(family, kind, protocol) as probe:
                if sys.platform != "win32":  # there it would let two programs share the port
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise why_not(host, port, error) from error


def why_not(host: str, port: int, error: OSError) -> Failure:
    """What to say where listening failed."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return Failure(f"{host} is no address of this machine.", "Listen on 127.0.0.1, or on an address that this machine has.")
    if error.errno == errno.EADDRINUSE:
        return Failure(f"Port {port} of {host} is taken: another program (or another llava-gateway) listens there.", _another(port))
    if error.errno in (errno.EACCES, errno.EPERM):
        return Failure(f"Listening on port {port} needs rights that this program does not have.", "Take one above 1023: --port 8000")
    return Failure(f"Nothing can listen on port {port} of {host}: {error.strerror}.", _another(port))


def _another(port: int) -> str:
    return f"Take another one: --port {port + 1 if port < 65535 else 8000}, or end the other program."


def announce(settings: Settings, port: int, state: PoolState) -> None:
    """Where it listens, who answers and why, and how to ask."""
    out = console()
    url = address(settings.host, port)
    out.print(f"llava-gateway listens on {url}", style="bold green")
    out.print(f"  {state.default.reason.text}")
    for line in advice(settings, state):
        out.print(f"  {line}")
    key = ' -H "Authorization: Bearer $LLAVA_GATEWAY_API_KEY"' if settings.api_key else ""
    out.print(f"  Open {url} in a browser, or ask from a shell:")
    out.print(f"    curl{key} -F image=@photo.jpg -F prompt='What is this?' {url}/ask")
    out.print("  Ctrl+C ends it.")


def address(host: str, port: int) -> str:
    """http://HOST:PORT to open on this machine; one that listens everywhere is reached on loopback."""
    if host in ANY_ADDRESS:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def advice(settings: Settings, state: PoolState) -> list[str]:
    """Which models there are, where the one asked for is not; how to get a larger one, where only the demo model answers or none."""
    model = state.default.model
    if model is None and settings.model and state.models:
        names = ", ".join(other.name for other in state.models)
        return [f"It answers as soon as it is there. Questions may name another one; there are {names}."]
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
    return [*lines, f"For a larger one: {install}`ollama pull llava:7b`. It is noticed within seconds, without a restart."]
