"""`llava-gateway ask`: one question, one answer."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from llava_gateway.cli.console import Failure, console, printable, set_up_logging, wrong_use
from llava_gateway.cli.flags import (
    STDIN,
    ApiKeyFlag,
    ConfigFlag,
    JsonFlag,
    UrlFlag,
    VerboseFlag,
    kind_of,
    request_fields,
    with_request_flags,
)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")


@with_request_flags
def ask(
    arguments: Annotated[
        list[str], typer.Argument(help="Picture files (- reads one from stdin), then the question.", metavar="IMAGE... QUESTION")
    ],
    as_json: JsonFlag = False,
    url: UrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
    verbose: VerboseFlag = False,
    **request: Any,
) -> None:
    """Ask about pictures; the answer streams to stdout.

    The last argument is the question, all before it are pictures. Where the last one is a file too, the pictures are described.

    \b
    Examples:
      llava-gateway ask photo.heic "What is this?"
      llava-gateway ask before.jpg after.jpg "What has changed?"
      scanner | llava-gateway ask - "Read the text." --preset factual
      llava-gateway ask receipt.png "Read it." --format schema.json --json
      llava-gateway ask map.png "Which street is this?" --region 0.5,0,0.5,0.5
      tesseract bill.png - | llava-gateway ask bill.png "What is due?" --ocr-text -
    """
    set_up_logging()
    names, question = split(arguments)
    if [*names, request.get("ocr_text")].count(STDIN) > 1:
        wrong_use("Only one thing can come from stdin.", "Give the others as files.")
    pictures = [read_picture(name) for name in names]
    fields = request_fields(request)
    from llava_gateway.cli.answer import details, show_answer, warnings
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config) as client, _picture_named(names):
        asked: list[tuple[str, str | bytes]] = [("image", picture) for picture in pictures]
        answer = show_answer(client, "/ask", [*asked, ("prompt", question), *fields], words=not as_json)
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    for line in (*(details(answer) if verbose else ()), *(() if as_json else warnings(answer))):
        console(sys.stderr).print(printable(line), style="dim")


def split(arguments: list[str]) -> tuple[list[str], str]:
    """(pictures, question): the question is "" where the last argument is a picture too. Mistyped file names end the command."""
    *names, last = arguments
    if last == STDIN or kind_of(last) == "file":
        return arguments, ""
    looks_like_a_file = last.lower().endswith(SUFFIXES) and (not names or not any(c.isspace() for c in last))
    if looks_like_a_file or kind_of(last) == "folder":
        wrong_use(f"There is no picture file {last}.", "If this is the question, end it with a question mark.")
    return names, last


@contextmanager
def _picture_named(names: list[str]) -> Iterator[None]:
    """The gateway says which picture is at fault by its number; a person knows them by their names."""
    try:
        yield
    except Failure as failure:
        found = re.fullmatch(r"images\[(\d+)\]", failure.param)
        if found and len(names) > 1:
            failure.message = f"{names[int(found[1])]}: {failure.message}"
        raise


def read_picture(name: str) -> bytes:
    """A file's bytes, or stdin's for "-"; ends the command where there is none."""
    if name == STDIN:
        if sys.stdin.isatty():
            wrong_use("- reads a picture from stdin, but nothing is piped in.", 'cat photo.jpg | llava-gateway ask - "What is this?"')
        return sys.stdin.buffer.read()
    return read_file(name, "A question goes into quotes, after the pictures.")


def read_file(name: str, hint: str = "") -> bytes:
    """A file's bytes; ends the command where there is no such file."""
    try:
        return Path(name).expanduser().read_bytes()
    except FileNotFoundError:
        wrong_use(f"There is no picture file {name}.", hint)
    except OSError as error:
        wrong_use(f"{name} can't be read: {error.strerror}.")
