"""The program `llava-gateway`: its commands, and how each of them ends."""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer

from llava_gateway import __version__
from llava_gateway.cli.ask import ask
from llava_gateway.cli.autostart import autostart
from llava_gateway.cli.chat import chat
from llava_gateway.cli.console import FAILED, INTERRUPTED, WRONG_USE, Failure, discard_output, show_failure
from llava_gateway.cli.data import data
from llava_gateway.cli.doctor import doctor
from llava_gateway.cli.mcp import mcp
from llava_gateway.cli.messages import failure_from_error
from llava_gateway.cli.models import models
from llava_gateway.cli.plain_help import PlainCommand, PlainGroup
from llava_gateway.cli.serve import serve
from llava_gateway.cli.sessions import sessions
from llava_gateway.cli.settings_list import settings
from llava_gateway.cli.showcase import showcase
from llava_gateway.errors import GatewayError

UNWRITTEN = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Error numbers of failed writes to stdout. Commands that write files handle their own errors."""


class Commands(PlainGroup):
    """Runs a command and prints a `Failure` without a traceback."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without Rich, whose import takes longer than everything else."""
        mode, self.rich_markup_mode = self.rich_markup_mode, None
        try:
            super().format_help(ctx, formatter)
        finally:
            self.rich_markup_mode = mode

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run and exit. Output that can't be written is an error too, except when the reader has gone."""
        try:
            try:
                return super().main(*args, **kwargs)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
        except OSError as error:
            if error.errno not in UNWRITTEN:
                raise
            discard_output()
            if error.errno != errno.EPIPE:
                with suppress(OSError):
                    show_failure(Failure(f"The output can't be written: {error.strerror}."))
            sys.exit(FAILED)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            show_failure(failure)
            raise typer.Exit(failure.exit_code) from failure
        except GatewayError as error:
            show_failure(failure_from_error(error))
            raise typer.Exit(FAILED) from error
        except UnicodeEncodeError as error:  # Python keeps bytes of the command line that are not valid text
            hint = "Check the encoding of the terminal (LANG), or pipe the text in as UTF-8."
            show_failure(Failure("An argument is not in the encoding of this terminal.", hint))
            raise typer.Exit(WRONG_USE) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    name="llava-gateway",
    cls=Commands,
    help="Talk with pictures on your own machine.",
    epilog="Examples: llava-gateway serve · llava-gateway ask photo.heic 'What is this?' · llava-gateway doctor",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
for command in (serve, ask, chat, doctor, showcase, settings, mcp):
    app.command(cls=PlainCommand)(command)
app.add_typer(models, name="models")
app.add_typer(sessions, name="sessions")
app.add_typer(data, name="data")
app.add_typer(autostart, name="autostart")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llava-gateway {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)] = False,
) -> None:
    # A terminal that can't show a character prints a question mark instead of crashing.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
