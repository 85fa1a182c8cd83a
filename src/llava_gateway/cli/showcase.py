"""`llava-gateway showcase`: asks about odd images, directly and through the gateway, side by side."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llava_gateway.cli.console import FAILED, console, printable, set_up_logging, wrong_use
from llava_gateway.cli.flags import ConfigFlag, DefaultModelFlag, JsonFlag, load_settings

if TYPE_CHECKING:
    from llava_gateway.cli.side_by_side import Reply, Row, Setting
    from llava_gateway.settings import Settings

STYLES = {"right": "green", "wrong": "bold red", "unknown": "yellow"}
IN_WORDS = {"right": "right", "wrong": "**wrong**", "unknown": "not judged"}
LONGEST = 160


def showcase(
    model: DefaultModelFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a page of Markdown.")] = False,
    save: Annotated[
        Path | None, typer.Option("--save", help="Also write the images into this folder, to try them elsewhere.", metavar="FOLDER")
    ] = None,
) -> None:
    """Ask about odd images directly and through the gateway, side by side.

    It needs an Ollama with a model that can see. An image is left out of the count if the model is wrong about
    the plain image too. Exits with status 1 if an answer through the gateway is wrong.

    \b
    Examples:
      llava-gateway showcase
      llava-gateway showcase --model llava:13b
      llava-gateway showcase --markdown > showcase.md
      llava-gateway showcase --save odd-images
    """
    set_up_logging()
    if as_json and as_markdown:
        wrong_use("--json and --markdown can't be combined.", "Give only one of them.")
    settings = load_settings(config, engine="ollama", model=model)
    if save is not None:
        _save(save)
    import asyncio

    setting, rows = asyncio.run(_ask(settings, show=not (as_json or as_markdown)))
    if as_json:
        typer.echo(json.dumps({"setting": asdict(setting), "rows": [asdict(row) for row in rows]}, ensure_ascii=False, indent=2))
    elif as_markdown:
        typer.echo(page(setting, rows), nl=False)
    else:
        console().print(f"\n{summary(setting, rows)}")
    raise typer.Exit(FAILED if any(row.ours.verdict == "wrong" for row in rows) else 0)


def _save(folder: Path) -> None:
    from llava_gateway.cli.odd_images import odd_images

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for odd in odd_images():
            (folder / odd.name).write_bytes(odd.data)
    except OSError as error:
        wrong_use(f"{folder} can't be written: {error.strerror}.")


async def _ask(settings: Settings, *, show: bool) -> tuple[Setting, list[Row]]:
    from llava_gateway.cli.side_by_side import SideBySide

    rows = []
    async with SideBySide(settings) as asking:
        if show:
            console().print(f"{asking.setting.model} in Ollama {asking.setting.ollama}: directly, and through the gateway.\n")
        async for row in asking.rows():
            rows.append(row)
            if show:
                _show(row)
    return asking.setting, rows


def _show(row: Row) -> None:
    out = console()
    out.print(f"{row.title}. {row.question}")
    for who, said in (("Ollama", row.direct), ("gateway", row.ours)):
        out.print(f"  {who:<8}", end="")
        out.print(f"{IN_WORDS[said.verdict].strip('*'):<14}", style=STYLES[said.verdict], end="")
        notes = f" ({'; '.join(said.notes)})" if said.notes and who == "gateway" else ""
        out.print(printable(_words(said) + notes))
    if row.ours.verdict == "unknown":
        out.print(f"  about a plain image of the same thing, the model says: {printable(_words(row.plain))}")


def summary(setting: Setting, rows: list[Row]) -> str:
    """Count the correct answers among the rows that are judged."""
    judged_rows = [row for row in rows if row.ours.verdict != "unknown"]
    direct, ours = (
        sum(said.verdict == "right" for said in side) for side in ([r.direct for r in judged_rows], [r.ours for r in judged_rows])
    )
    left = len(rows) - len(judged_rows)
    unknown = f" Not judged: {left}, because {setting.model} does not recognise the plain image." if left else ""
    return f"Correct answers for {len(judged_rows)} images: {direct} from Ollama directly, {ours} through the gateway.{unknown}"


def page(setting: Setting, rows: list[Row]) -> str:
    """Write the comparison as Markdown."""
    lines = [
        "# Odd images, directly and through the gateway",
        "",
        f"Written by `llava-gateway showcase --markdown` on {setting.date}: model {_cell(setting.model)}, Ollama {setting.ollama},",
        f"llava-gateway {setting.gateway}; {_cell(setting.machine)}.",
        "",
        "Each file goes unchanged to Ollama's `/api/chat` and through the gateway, with the same question, at temperature 0. An answer is",
        "*right* if it says what is in the image. For a damaged file, *right* means that it is refused. If the model does not recognise",
        "a plain image of the same thing, the row is not judged. `--save FOLDER` saves the files, so that you can try them elsewhere.",
        "",
        summary(setting, rows),
        "",
        "| image | question | right | Ollama directly | through the gateway | what was done |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        sides = (f"{IN_WORDS[said.verdict]}: {_cell(_words(said))}" for said in (row.direct, row.ours))
        cells = (row.title, row.question, " ".join(row.right) or "to refuse it")
        lines.append(f"| {' | '.join(map(_cell, cells))} | {' | '.join(sides)} | {_cell('; '.join(row.ours.notes))} |")
    return "\n".join([*lines, ""])


def _words(said: Reply) -> str:
    text = " ".join((f"refused, {said.error}" if said.error else said.answer or "(no words)").split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _cell(text: str) -> str:
    """Escape text for a table cell."""
    return printable(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
