"""`llava-gateway models`: which models there are, and getting more of them into Ollama."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from llava_gateway.cli.console import Failure, console, printable, set_up_logging, wrong_use
from llava_gateway.cli.flags import ApiKeyFlag, ConfigFlag, FlagsAnywhere, ItsUrlFlag, JsonFlag, UrlFlag, load_settings
from llava_gateway.engines.ollama_names import tagged
from llava_gateway.errors import UpstreamUnavailable

if TYPE_CHECKING:
    from llava_gateway.cli.client import JSONObject
    from llava_gateway.engines.modelfile import Modelfile
    from llava_gateway.engines.ollama_library import OllamaLibrary, Progress

_WIDE = 200
FITS = {"loaded": "", "fits": ", fits", "tight": ", close other programs", "over": ", more than the main memory"}

models = typer.Typer(cls=FlagsAnywhere, invoke_without_command=True)


@models.callback()
def list_models(
    context: typer.Context, as_json: JsonFlag = False, url: UrlFlag = None, api_key: ApiKeyFlag = None, config: ConfigFlag = None
) -> None:
    """List the models of all engines; pull or create more.

    \b
    Examples:
      llava-gateway models
      llava-gateway models pull llava:7b
      llava-gateway models create llava-ocr -f Modelfiles/llava-7b-ocr
      llava-gateway models delete llava-ocr
    """
    set_up_logging()
    if context.invoked_subcommand is not None:
        return
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config) as client:
        found = client.get("/models")
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _show(found)


def _show(found: JSONObject) -> None:
    from rich.table import Table

    default = found["default"] or {}
    table = Table("", "name", "engine", "vision", "context", "loaded", "size", "memory", box=None, pad_edge=False)
    for model in found["models"]:
        is_default = (model["name"], model["engine"]) == (default.get("model"), default.get("engine"))
        table.add_row(
            "*" if is_default else "",
            printable(model["name"]),
            model["engine"],
            "yes" if model["vision"] else "no",
            _context(model),
            "yes" if model["loaded"] else "no",
            _size(model["size_bytes"]),
            _memory(model.get("memory")),
        )
    out = console()
    if not out.is_terminal:
        out.width = _WIDE  # a pipe has no edge to break names at
    if found["models"]:
        out.print(table)
    out.print(
        f"* {printable(default['reason']['message'])}" if default else "No model answers by default. `llava-gateway doctor` says why."
    )


def _context(model: JSONObject) -> str:
    """'4096', or '4096 of 32768' where it runs with less than it was trained for."""
    trained, loaded = model["context_length"], model["loaded_context"]
    if loaded and trained and loaded != trained:
        return f"{loaded} of {trained}"
    return str(trained or loaded or "?")


def _size(size: int | None) -> str:
    if size is None:
        return "?"
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _memory(fit: JSONObject | None) -> str:
    """'5.6 GB', measured while it is loaded; else 'about 5.6 GB, fits'."""
    if fit is None:
        return "?"
    needed = _size(fit["needed"])
    return f"{'about ' if fit['estimated'] else ''}{needed}{FITS[fit['verdict']]}"


@models.command()
def pull(
    name: Annotated[str, typer.Argument(help="Model to download, like llava:7b.")],
    url: ItsUrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Download a model into Ollama. Stopped with Ctrl+C, it goes on where it was when it is run again."""
    if url is None:
        _with_library(config, lambda library: _follow(library.pull(name)))
    else:
        _have(url, api_key, "/models/pull", {"model": name})
    _say_it_is_there(name, url)


@models.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the new model.")],
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
            _have(url, api_key, "/models", {"model": name, "modelfile": text, "replace": True})
    except ModelfileError as error:
        raise Failure(f"{file}: {error}") from error
    _say_it_is_there(name, url)


@models.command()
def delete(
    name: Annotated[str, typer.Argument(help="Model to delete from Ollama.")],
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
    console().print(f"{printable(name)} is gone.")


def _say_it_is_there(name: str, url: str | None) -> None:
    """With its tag: the embedded engine may have a model of the same name without one."""
    where = f" --url {url}" if url else ""
    console().print(printable(f'{name} is there: llava-gateway ask photo.jpg "What is this?" --model {tagged(name)}{where}'))


def _have(url: str, api_key: str | None, path: str, body: JSONObject) -> None:
    """Has the gateway at `url` bring a model in."""
    from llava_gateway.cli.client import connect

    with connect(url, api_key, None) as client, closing(client.install(path, body)) as events, _steps_shown() as show:
        for event, data in events:
            if event == "progress":
                show(data["status"], data["completed"], data["total"])


def _with_library(config: Path | None, work: Callable[[OllamaLibrary], Awaitable[None]]) -> None:
    """Does work with the Ollama of the settings."""
    from llava_gateway.engines.ollama_library import OllamaLibrary

    settings = load_settings(config)

    async def run() -> None:
        library = OllamaLibrary(settings.ollama_url, connect_timeout=settings.connect_timeout)
        try:
            await work(library)
        finally:
            await library.aclose()

    try:
        asyncio.run(run())
    except UpstreamUnavailable as error:
        raise Failure("Ollama does not answer.", "Install it from https://ollama.com/download, or start it with `ollama serve`.") from error


def _read(file: Path) -> tuple[str, Modelfile]:
    """A Modelfile's text, and what it says."""
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
    """Shows the steps as they come."""
    with _steps_shown() as show:
        async for step in steps:
            show(step.status, step.completed, step.total)


@contextmanager
def _steps_shown() -> Iterator[Callable[[str, int | None, int | None], None]]:
    """Shows steps (what is done, bytes done, bytes in all) on stderr: with bars on a terminal, else each new one on a line."""
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
