"""The program `llava-gateway`: its commands, and how each of them ends."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from llava_gateway import __version__
from llava_gateway.cli.ask import ask
from llava_gateway.cli.chat import chat
from llava_gateway.cli.console import FAILED, INTERRUPTED, Failure, show_failure
from llava_gateway.cli.doctor import doctor
from llava_gateway.cli.models import models
from llava_gateway.cli.serve import serve
from llava_gateway.cli.sessions import sessions
from llava_gateway.cli.showcase import showcase
from llava_gateway.errors import GatewayError


class Commands(TyperGroup):
    """Runs a command; a `Failure` is shown without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            show_failure(failure)
            raise typer.Exit(failure.exit_code) from failure
        except GatewayError as error:
            show_failure(Failure(error.message, error.hint))
            raise typer.Exit(FAILED) from error
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
for command in (serve, ask, chat, doctor, showcase):
    app.command()(command)
app.add_typer(models, name="models")
app.add_typer(sessions, name="sessions")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llava-gateway {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)] = False,
) -> None:
    # A terminal that can't show a character gets a question mark, not a crash.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
