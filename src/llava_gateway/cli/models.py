"""`llava-gateway models`: list the models, and install more of them into Ollama."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from llava_gateway.cli.console import Failure, console, not_empty, printable, set_up_logging, show_table, wrong_use
from llava_gateway.cli.flags import ApiKeyFlag, ConfigFlag, FlagsAnywhere, ItsUrlFlag, JsonFlag, UrlFlag, load_settings
from llava_gateway.cli.plain_help import PlainCommand
from llava_gateway.engines.ollama_names import tagged
from llava_gateway.errors import UpstreamUnavailable

if TYPE_CHECKING:
    from llava_gateway.cli.client import JSONObject
    from llava_gateway.engines.modelfile import Modelfile
    from llava_gateway.engines.ollama_library import OllamaLibrary, Progress

FITS = {"loaded": "", "fits": ", fits", "tight": ", close other programs", "over": ", more than the main memory"}

models = typer.Typer(cls=FlagsAnywhere, invoke_without_command=True)


@models.callback()
def begin(
    context: typer.Context, as_json: JsonFlag = False, url: UrlFlag = None, api_key: ApiKeyFlag = None, config: ConfigFlag = None
) -> None:
    """List the models of all engines; pull, create or delete some.

    \b
    Examples:
      llava-gateway models
      llava-gateway models pull llava:7b
      llava-gateway models create llava-ocr -f Modelfiles/llava-7b-ocr
      llava-gateway models delete llava-ocr
    """
    set_up_logging()
    if context.invoked_subcommand is None:
        list_models(as_json, url, api_key, config)


@models.command("list", cls=PlainCommand)
def list_models(as_json: JsonFlag = False, url: UrlFlag = None, api_key: ApiKeyFlag = None, config: ConfigFlag = None) -> None:
    """List the models of all engines, and say which one answers by default."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config) as client:
        found = client.get("/models")
        if not as_json:
            _show(found, client.readiness()["reason"]["message"])
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))


def _show(found: JSONObject, reason: str) -> None:
    """Print the models. `reason`: why one answers by default, or why none does."""
    default = found["default"] or {}
    rows = [
        (
            "*" if (model["name"], model["engine"]) == (default.get("model"), default.get("engine")) else "",
            printable(model["name"]),
            model["engine"],
            "yes" if model["vision"] else "no",
            _context(model),
            "yes" if model["loaded"] else "no",
            _size(model["size_bytes"]),
            _memory(model.get("memory")),
        )
        for model in found["models"]
    ]
    if rows:
        show_table(("", "name", "engine", "vision", "context", "loaded", "size", "memory"), rows, lead=2)
    out = console()
    out.print(f"* {printable(reason)}" if default else f"No model answers by default. {printable(reason)}")


def _context(model: JSONObject) -> str:
    """Format the context: '4096', or '4096 of 32768' for a model that runs with less context than it was trained for."""
    trained, loaded = model["context_length"], model["loaded_context"]
    if loaded and trained and loaded != trained:
        return f"{loaded} of {trained}"
    return str(trained or loaded or "?")


def _size(size: int | None) -> str:
    if size is None:
        return "?"
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _memory(fit: JSONObject | None) -> str:
    """Format the memory: '5.6 GB' measured for a loaded model; else 'about 5.6 GB, fits'."""
    if fit is None:
        return "?"
    needed = _size(fit["needed"])
    return f"{'about ' if fit['estimated'] else ''}{needed}{FITS[fit['verdict']]}"


@models.command(cls=PlainCommand)
def pull(
    name: Annotated[str, typer.Argument(help="Model to download, like llava:7b.", metavar="NAME", callback=not_empty)],
    url: ItsUrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Download a model into Ollama. After Ctrl+C, the next run continues where it stopped."""
    if url is None:
        _with_library(config, lambda library: _follow(library.pull(name)))
    else:
        _install_through_gateway(url, api_key, config, "/models/pull", {"model": name})
    _print_installed(name, url)


@models.command(cls=PlainCommand)
def create(
    name: Annotated[str, typer.Argument(help="Name of the new model.", metavar="NAME", callback=not_empty)],
    file: Annotated[Path, typer.Option("--file", "-f", help="Its Modelfile.", metavar="MODELFILE")],
    url: ItsUrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Make a model in Ollama from a Modelfile; paths in it start from its folder. With --url it can't name files."""
    from llava_gateway.engines.modelfile import ModelfileError

    text, modelfile = _read(file)
    try:
        if url is None:
            _with_library(config, lambda library: _follow(library.create(name, modelfile, file.parent)))
        else:
            _install_through_gateway(url, api_key, config, "/models", {"model": name, "modelfile": text, "replace": True})
    except ModelfileError as error:
        raise Failure(f"{file}: {error}") from error
    _print_installed(name, url)


@models.command(cls=PlainCommand)
def delete(
    name: Annotated[str, typer.Argument(help="Model to delete from Ollama.", metavar="NAME", callback=not_empty)],
    url: ItsUrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Delete a model from Ollama. Files that other models use are kept."""

    async def work(library: OllamaLibrary) -> None:
        await library.delete(name)

    if url is None:
        _with_library(config, work)
    else:
        from llava_gateway.cli.client import connect

        with connect(url, api_key, config) as client:
            client.delete(f"/models/{quote(name, safe='/:')}")
    console().print(f"Deleted {printable(name)}.")


def _print_installed(name: str, url: str | None) -> None:
    """Print that the model is there, with its tag: the embedded engine may have a model of the same name without a tag."""
    where = f" --url {url}" if url else ""
    console().print(printable(f'{name} is there: llava-gateway ask photo.jpg "What is this?" --model {tagged(name)}{where}'))


def _install_through_gateway(url: str, api_key: str | None, config: Path | None, path: str, body: JSONObject) -> None:
    """Install a model through the gateway at `url`."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config) as client, closing(client.install(path, body)) as events, _steps_shown() as show:
        for event, data in events:
            if event == "progress":
                show(data["status"], data["completed"], data["total"])


def _with_library(config: Path | None, work: Callable[[OllamaLibrary], Awaitable[None]]) -> None:
    """Run `work` with the Ollama in the settings."""
    from llava_gateway.engines.ollama_library import OllamaLibrary

    settings = load_settings(config)

    async def run() -> None:
        library = OllamaLibrary(settings.ollama_url, connect_timeout=settings.connect_timeout)
        try:
            await work(library)
        finally:
            await library.aclose()

    try:
        import asyncio

        asyncio.run(run())
    except UpstreamUnavailable as error:
        raise Failure("Ollama does not answer.", "Install it from https://ollama.com/download, or start it with `ollama serve`.") from error


def _read(file: Path) -> tuple[str, Modelfile]:
    """Read a Modelfile. Returns its text and its parsed content."""
    from llava_gateway.engines.modelfile import ModelfileError, parse_modelfile

    try:
        text = file.read_text("utf-8-sig")
        return text, parse_modelfile(text)
    except OSError as error:
        wrong_use(f"{file} can't be read: {error.strerror}.")
    except UnicodeDecodeError:
        wrong_use(f"{file} is not a text file in UTF-8.")
    except ModelfileError as error:
        wrong_use(f"{file}: {error}")


async def _follow(steps: AsyncIterator[Progress]) -> None:
    """Print the steps as they arrive."""
    with _steps_shown() as show:
        async for step in steps:
            show(step.status, step.completed, step.total)


@contextmanager
def _steps_shown() -> Iterator[Callable[[str, int | None, int | None], None]]:
    """Yield a function that prints steps (name, bytes done, total bytes) to stderr: as bars on a terminal, else each new one on a line."""
    from rich import progress

    shown = console(sys.stderr)
    columns = (progress.TextColumn("{task.description}", markup=False), progress.BarColumn(), progress.DownloadColumn())
    last = ""
    with progress.Progress(*columns, console=shown, disable=not shown.is_terminal) as bars:
        task = bars.add_task("", total=None)

        def show(status: str, completed: int | None, total: int | None) -> None:
            nonlocal last
            if status != last:
                last = status
                if not shown.is_terminal:
                    shown.print(printable(last))
            bars.update(task, description=printable(last), completed=completed or 0, total=total)

        yield show
