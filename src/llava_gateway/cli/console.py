"""Output of all commands: errors with a hint, text without control characters, the log."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130

# All control characters except tab and line feed: in an answer or a file name they could control the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Failure(Exception):
    """Ends the command: prints `message` and `hint` to stderr, exits with `exit_code`. `param` is the wrong field of the request."""

    def __init__(self, message: str, hint: str = "", *, exit_code: int = FAILED, param: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.param = param


def not_empty(value: Any) -> Any:
    """Reject an empty value; the callback of arguments and flags that mean nothing when they are empty."""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and not text.strip():
            wrong_use("An argument is empty.", 'A variable that is not set gives an empty argument. Check each "$NAME" in the command.')
    return value


def wrong_use(message: str, hint: str = "") -> NoReturn:
    """End the command with a usage error."""
    raise Failure(message, hint, exit_code=WRONG_USE)


def console(file: TextIO | None = None) -> Console:
    """Return a Rich console that keeps lines whole and reads nothing in brackets as markup; without colours if `file` (None: stdout) is
    not a terminal.
    """
    from rich.console import Console

    return Console(file=file, soft_wrap=True, markup=False, highlight=False, emoji=False)


def show_failure(failure: Failure) -> None:
    """Print the message and the hint to stderr."""
    shown = console(sys.stderr)
    shown.print(f"Error: {printable(failure.message)}", style="bold red")
    if failure.hint:
        shown.print(f"Hint: {printable(failure.hint)}")


def discard_output() -> None:
    """Discard the rest of the output to stdout: at the end of the program, Python would try to write it again and print an error."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def show_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, lead: int) -> None:
    """Print a table on stdout. On a terminal that is too narrow for it, each row becomes a few lines: its first `lead` cells, then the
    others.

    Piped output has no width: there a row is always one line.
    """
    from rich.cells import cell_len
    from rich.table import Table

    out = console()
    widths = [max(map(cell_len, column)) for column in zip(headers, *rows, strict=True)]
    if out.is_terminal and sum(widths) + 2 * (len(widths) - 1) > out.width:
        for row in rows:
            out.print("  ".join(filter(None, row[:lead])))
            for header, cell in list(zip(headers, row, strict=True))[lead:]:
                out.print(f"  {header}: {cell}")
        return
    table = Table(*headers, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    out.width = max(out.width, sum(widths) + 2 * len(widths))
    out.print(table)


def printable(text: str) -> str:
    """Return `text` without control characters."""
    return _CONTROL.sub("", text)


def set_up_logging(*, verbose: bool = False) -> None:
    """Log warnings to stderr; with `verbose` also the gateway's own log, but not every request of its HTTP client."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpx2", "aiohttp", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
