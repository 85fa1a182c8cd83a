"""`llava-gateway ask`: one question, one answer."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from llava_gateway.cli.console import Failure, console, not_empty, printable, set_up_logging, wrong_use
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
from llava_gateway.cli.image_paths import (
    SUFFIXES,
    SplitQuestion,
    find_images,
    is_address,
    is_document,
    is_known,
    is_same,
    local_path,
    mentions_image,
)
from llava_gateway.cli.pages import choice_of, file_of, page_fields
from llava_gateway.cli.stdin import Piped, has_unread_input, on_terminal, piped

_STDIN_SECONDS = 5.0
"""Seconds that a question without an image waits for piped input."""
_FROM_STDIN = "the file from stdin"


@with_request_flags
def ask(
    arguments: Annotated[
        list[str],
        typer.Argument(
            help="Image files or addresses (- reads one from stdin), then the question.", metavar="[IMAGE...] QUESTION", callback=not_empty
        ),
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

    The last argument is the question; those before it are images. If the last one is a file too, the images are described.

    Image files that the question names are attached too. Images at public http and https addresses are fetched.

    A question without an image uses piped input: an image, or text that goes before the question.

    \b
    Examples:
      llava-gateway ask photo.heic "What is this?"
      llava-gateway ask before.jpg after.jpg "What has changed?"
      llava-gateway ask https://example.org/photo.jpg "What is this?"
      llava-gateway ask "What is in ./photo.jpg?"
      scanner | llava-gateway ask - "Read the text." --preset factual
      cat notes.txt | llava-gateway ask "Summarise this."
      llava-gateway ask receipt.png "Read it." --format schema.json --json
      llava-gateway ask report.pdf#3-5 "What was decided?"
      llava-gateway ask map.png "Which street is this?" --region 0.5,0,0.5,0.5
      tesseract bill.png - | llava-gateway ask bill.png "What is due?" --ocr-text -
    """
    set_up_logging()
    names, question = split(arguments, paths=not no_paths)
    readers = [*names, request.get("ocr_text")].count(STDIN)
    if readers > 1:
        wrong_use("Only one thing can come from stdin.", "Give the others as files.")
    images = read_images(names)
    choices = [choice_of(name) for name in names]
    _note(f"Attached {name}." for name in names if name not in arguments)
    of_pages = {name: request.pop(name, None) or "" for name in ("pages", "frames")}
    fields = request_fields(request)
    descriptor = piped()
    stdin = Piped(descriptor) if descriptor is not None and not readers and not images else None
    if stdin is not None:
        images, question = _with_stdin(stdin, question)
        choices = [""] * len(images)
    if not images and mentions_image(question):
        _note([f"warning: The question mentions an image, but none was given: llava-gateway ask photo.jpg {shlex.quote(question)}"])
    from llava_gateway.cli.answer import details, show_answer, warnings
    from llava_gateway.cli.client import connect

    with connect(url, api_key, config, verbose=verbose) as client, _image_named(names):
        asked: list[tuple[str, str | bytes]] = [("image", image) for image in images]
        asked += page_fields([*zip(images, choices, strict=True)], of_pages)
        answer = show_answer(client, "/ask", [*asked, ("prompt", question), *fields], words=not as_json)
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    _note((*(details(answer) if verbose else ()), *(() if as_json else warnings(answer))))
    if stdin is not None and stdin.is_late:
        raise Failure("The question was sent before any input arrived on stdin.", f"With -, the command waits for {_FROM_STDIN}.")
    if names and not readers and has_unread_input():
        _note(["warning: stdin is not read if images are given. Give - for an image from stdin, or < /dev/null for none."])


def _note(lines: Iterable[str]) -> None:
    for line in lines:
        console(sys.stderr).print(printable(line), style="dim")


def _with_stdin(stdin: Piped, question: str) -> tuple[list[bytes], str]:
    """Add piped input to the question. Returns (images, question): an image is added to the images, text goes before the question.
    Other input ends the command.
    """
    came = stdin.whole(_STDIN_SECONDS)
    if came is None:
        _note(
            [f"No input arrived on stdin for {_STDIN_SECONDS:.0f} seconds: the question is sent without it. < /dev/null avoids the wait."]
        )
        return [], question
    if is_known(came):
        _note([f"Attached {_FROM_STDIN}."])
        return [came], question
    try:
        text = came.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        wrong_use("The input on stdin is neither a supported file nor text.", "With < /dev/null, nothing is piped in.")
    return [], f"{text}\n\n{question}" if text else question


def split(arguments: list[str], *, paths: bool = True) -> tuple[list[str], str]:
    """Split the arguments into (images, question); with `paths`, include the images that the question names. The question is "" if the
    last argument is an image too. Mistyped file names end the command.
    """
    *names, last = arguments
    is_file = "file" in (kind_of(last), kind_of(file_of(last)))
    if last == STDIN or is_file or (paths and is_address(last) and not any(c.isspace() for c in last)):
        return [*_once(arguments)], ""
    named = find_images(last) if paths else SplitQuestion((last,))
    if named.names:
        return _attached(names, named)
    looks_like_a_file = paths and file_of(last).lower().endswith(SUFFIXES) and (not names or not any(c.isspace() for c in last))
    if looks_like_a_file or kind_of(last) == "folder":
        _no_file(last, "If this is the question, end it with a question mark.")
    return [*_once(names)], last


def _attached(names: list[str], named: SplitQuestion) -> tuple[list[str], str]:
    """Return the files including those that the question names, and the question."""
    places = _once([*names, *named.names])
    numbers = {place: number for number, place in enumerate(places.values(), 1)}
    question = named.question([numbers[_place(name)] for name in named.names], len(places), by_name=any(map(is_document, places)))
    return [*places], question


def _once(names: Iterable[str]) -> dict[str, tuple[str | Path, str]]:
    """Return each file once, by its first name, with what identifies it: the same pages of a file are one attachment."""
    first: dict[tuple[str | Path, str], str] = {}
    for name in names:
        first.setdefault(_place(name), name)
    return {name: place for place, name in first.items()}


def _place(name: str) -> tuple[str | Path, str]:
    return (name, "") if name == STDIN else (is_same(file_of(name)), choice_of(name))


@contextmanager
def _image_named(names: list[str]) -> Iterator[None]:
    """Replace the image's number in the gateway's error by the name that the user knows."""
    try:
        yield
    except Failure as failure:
        name_in(failure, names or [_FROM_STDIN])
        raise


def name_in(failure: Failure, names: Sequence[str]) -> None:
    """Begin the message with the name of the file that an error is about, and name a choice behind it in place of the flag.

    Args:
        names: those of the files of the request, in order; "" for one that has no name.
    """
    found = re.fullmatch(r"images\[(\d+)\](?:\.(?:pages|frames))?", failure.param)
    if found is None and (failure.param not in ("pages", "frames") or len(names) != 1):
        return
    if name := names[int(found[1]) if found else 0]:
        choice = choice_of(name)
        if choice:
            failure.message = re.sub(r"^--(?:pages|frames)\b", f"#{choice}", failure.message)
        failure.message = f"{file_of(name)}: {failure.message}"


def read_images(names: Sequence[str]) -> list[bytes]:
    """Read files, as `read_image` does. What is at an address is fetched once, whatever pages of it are chosen."""
    files = {name: file_of(name) if is_address(name) else name for name in names}
    read = {file: read_image(file) for file in dict.fromkeys(files.values())}
    return [read[files[name]] for name in names]


def read_image(name: str) -> bytes:
    """Read a file, or stdin for "-"; ends the command if there is none."""
    if name == STDIN:
        if sys.stdin is None or on_terminal():
            wrong_use("- reads an image from stdin, but nothing is piped in.", 'cat photo.jpg | llava-gateway ask - "What is this?"')
        return sys.stdin.buffer.read()
    return read_file(name, "A question goes into quotes, after the images.")


def read_file(name: str, hint: str = "") -> bytes:
    """Read a file, or fetch an address; ends the command if there is no such file."""
    if is_address(name):
        from llava_gateway.cli.fetched import fetched

        return fetched(file_of(name))
    try:
        path = local_path(name)
        return (path if path.is_file() else local_path(file_of(name))).read_bytes()
    except FileNotFoundError:
        _no_file(name, hint)
    except OSError as error:
        if local_path(name).is_dir():
            _no_file(name, hint)
        wrong_use(f"{name} can't be read: {error.strerror}.")


def _no_file(name: str, hint: str) -> NoReturn:
    """End the command: say why there is no such file, and what to write instead, else `hint`."""
    before, choice, _ = name.rpartition("#")
    if kind_of(name) == "folder":
        wrong_use(f"{name} is a folder.", f"Give the files in it, such as {name.rstrip('/')}/*.jpg. {hint}".strip())
    if choice and kind_of(before) == "file":
        wrong_use(f"There is no file {name}.", f"Pages of {before} are chosen by their numbers, such as {before}#1-3,7.")
    if any(character in name for character in "*?["):
        wrong_use(f"No file matches {name}.", "The shell finds the files only if their name is not in quotes.")
    wrong_use(f"There is no file {name}.", hint)
