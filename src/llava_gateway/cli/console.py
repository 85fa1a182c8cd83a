"""What every command says to a terminal or a pipe: errors with a hint, text made harmless, the log."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130

# All control characters but tab and line feed: in an answer or a file's name they could make the terminal do things.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Failure(Exception):
    """Ends the command: `message` and `hint` go to stderr, `exit_code` to the shell. `param` is the field of the request at fault."""

    def __init__(self, message: str, hint: str = "", *, exit_code: int = FAILED, param: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.param = param


def wrong_use(message: str, hint: str = "") -> NoReturn:
    """Ends the command as one that was called wrongly."""
    raise Failure(message, hint, exit_code=WRONG_USE)


def console(file: TextIO | None = None) -> Console:
    """Rich, but lines stay whole and nothing in brackets is taken for markup; plain where `file` (None: stdout) is no terminal."""
    from rich.console import Console

    return Console(file=file, soft_wrap=True, markup=False, highlight=False, emoji=False)


def show_failure(failure: Failure) -> None:
    """Two lines on stderr."""
    shown = console(sys.stderr)
    shown.print(f"Error: {printable(failure.message)}", style="bold red")
    if failure.hint:
        shown.print(f"Hint: {printable(failure.hint)}")


def printable(text: str) -> str:
    """`text` without control characters."""
    return _CONTROL.sub("", text)


def set_up_logging(*, verbose: bool = False) -> None:
    """Warnings to stderr; with `verbose` also what the gateway itself does, but not every request of its HTTP client."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpx2", "aiohttp", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
