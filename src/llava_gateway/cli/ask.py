"""`llava-gateway ask`: one question, one answer."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from llava_gateway.cli.console import Failure, console, printable, set_up_logging, wrong_use
from llava_gateway.cli.flags import (
    STDIN,
    ApiKeyFlag,
    ConfigFlag,
    JsonFlag,
    NoPathsFlag,
    UrlFlag,
    VerboseFlag,
    kind_of,
    request_fields,
    with_request_flags,
)
from llava_gateway.cli.named import SUFFIXES, Named, find_images, is_address, local_path
from llava_gateway.cli.stdin import Piped, holds_unread, on_terminal, piped
from llava_gateway.images.sniff import sniff

_STDIN_SECONDS = 5.0
"""How long a question without an image waits for something to come through a pipe."""
_FROM_STDIN = "the image from stdin"


@with_request_flags
def ask(
    arguments: Annotated[
        list[str], typer.Argument(help="Image files (- reads one from stdin), then the question.", metavar="IMAGE... QUESTION")
    ],
    no_paths: NoPathsFlag = False,
    as_json: JsonFlag = False,
    url: UrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
    verbose: VerboseFlag = False,
    **request: Any,
) -> None:
    """Ask about images; the answer streams to stdout.

    The last argument is the question, all before it are images. Where the last one is a file too, the images are described.

    Image files that the question names are attached too.

    A question without an image takes what is piped in: an image, or text that is put before the question.

    \b
    Examples:
      llava-gateway ask photo.heic "What is this?"
      llava-gateway ask before.jpg after.jpg "What has changed?"
      llava-gateway ask "What is in ./photo.jpg?"
      scanner | llava-gateway ask - "Read the text." --preset factual
      cat notes.txt | llava-gateway ask "Summarise this."
      llava-gateway ask receipt.png "Read it." --format schema.json --json
      llava-gateway ask map.png "Which street is this?" --region 0.5,0,0.5,0.5
      tesseract bill.png - | llava-gateway ask bill.png "What is due?" --ocr-text -
    """
    set_up_logging()
    names, question = split(arguments, paths=not no_paths)
    readers = [*names, request.get("ocr_text")].count(STDIN)
    if readers > 1:
        wrong_use("Only one thing can come from stdin.", "Give the others as files.")
    images = [read_image(name) for name in names]
    _note(f"Attached {name}." for name in names if name not in arguments)
    fields = request_fields(request)
    descriptor = piped()
    stdin = Piped(descriptor) if descriptor is not None and not readers and not images else None
    if stdin is not None:
        images, question = _with_stdin(stdin, question)
    from llava_gateway.cli.answer import details, show_answer, warnings
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config) as client, _image_named(names):
        asked: list[tuple[str, str | bytes]] = [("image", image) for image in images]
        answer = show_answer(client, "/ask", [*asked, ("prompt", question), *fields], words=not as_json)
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    _note((*(details(answer) if verbose else ()), *(() if as_json else warnings(answer))))
    if stdin is not None and stdin.is_late:
        raise Failure("The question went out before anything came through stdin.", f"With -, {_FROM_STDIN} is waited for.")
    if names and not readers and holds_unread():
        _note(["warning: stdin is not read where images are given. - stands for an image from it; < /dev/null gives it none."])


def _note(lines: Iterable[str]) -> None:
    for line in lines:
        console(sys.stderr).print(printable(line), style="dim")


def _with_stdin(stdin: Piped, question: str) -> tuple[list[bytes], str]:
    """(images, question) with what is piped in: an image, or text before the question. What is neither ends the command."""
    came = stdin.whole(_STDIN_SECONDS)
    if came is None:
        _note(
            [f"Nothing came through stdin for {_STDIN_SECONDS:.0f} seconds: the question goes out without it. < /dev/null spares the wait."]
        )
        return [], question
    if sniff(came):
        _note([f"Attached {_FROM_STDIN}."])
        return [came], question
    try:
        text = came.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        wrong_use("What came through stdin is neither an image that we read nor text.", "With < /dev/null, nothing is piped in.")
    return [], f"{text}\n\n{question}" if text else question


def split(arguments: list[str], *, paths: bool = True) -> tuple[list[str], str]:
    """(images, question), with `paths` also the images that the question names. The question is "" where the last argument is an image
    too. Mistyped file names end the command."""
    *names, last = arguments
    if last == STDIN or kind_of(last) == "file":
        return arguments, ""
    named = find_images(last) if paths else Named((last,))
    if named.names:
        return _attached(names, named)
    looks_like_a_file = paths and last.lower().endswith(SUFFIXES) and (not names or not any(c.isspace() for c in last))
    if looks_like_a_file or kind_of(last) == "folder":
        wrong_use(f"There is no image file {last}.", "If this is the question, end it with a question mark.")
    return names, last


def _attached(names: list[str], named: Named) -> tuple[list[str], str]:
    """The images with those that the question names, each of them once, and the question."""
    places = {local_path(name).resolve(): number for number, name in reversed([*enumerate(names, 1)])}
    for name in named.names:
        if local_path(name).resolve() not in places:
            names = [*names, name]
            places[local_path(name).resolve()] = len(names)
    return names, named.question([places[local_path(name).resolve()] for name in named.names], len(names))


@contextmanager
def _image_named(names: list[str]) -> Iterator[None]:
    """The gateway says which image is at fault by its number; a person knows them by their names."""
    try:
        yield
    except Failure as failure:
        found = re.fullmatch(r"images\[(\d+)\]", failure.param)
        if found:
            name = names[int(found[1])] if names else _FROM_STDIN
            failure.message = f"{name}: {failure.message}"
        raise


def read_image(name: str) -> bytes:
    """A file's bytes, or stdin's for "-"; ends the command where there is none."""
    if name == STDIN:
        if sys.stdin is None or on_terminal():
            wrong_use("- reads an image from stdin, but nothing is piped in.", 'cat photo.jpg | llava-gateway ask - "What is this?"')
        return sys.stdin.buffer.read()
    return read_file(name, "A question goes into quotes, after the images.")


def read_file(name: str, hint: str = "") -> bytes:
    """A file's bytes; ends the command where there is no such file."""
    if is_address(name):
        wrong_use(f"{name} is not fetched.", "Save the image and give the file.")
    try:
        return local_path(name).read_bytes()
    except FileNotFoundError:
        wrong_use(f"There is no image file {name}.", hint)
    except OSError as error:
        wrong_use(f"{name} can't be read: {error.strerror}.")
