"""Flags that several commands take, and the settings that come of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from llava_gateway.cli.console import wrong_use

if TYPE_CHECKING:
    from pydantic import ValidationError

    from llava_gateway.settings import Settings

# Each flag with a default of its own is None when it is not given, so that environment and file count.
ConfigFlag: TypeAlias = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.", metavar="FILE")]
EngineFlag: TypeAlias = Annotated[
    Literal["auto", "ollama", "embedded", "openai"] | None,
    typer.Option("--engine", help="Who answers; auto takes Ollama when it has a vision model, else embedded."),
]
DefaultModelFlag: TypeAlias = Annotated[
    str | None, typer.Option("--model", help="Default model; without it the best one that is installed.", metavar="NAME")
]
GgufFlag: TypeAlias = Annotated[
    Path | None,
    typer.Option("--gguf", help="GGUF file of a text model for the embedded engine; implies --engine embedded.", metavar="FILE"),
]
MmprojFlag: TypeAlias = Annotated[
    Path | None, typer.Option("--mmproj", help="GGUF file of the projector that belongs to it.", metavar="FILE")
]
JsonFlag: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
VerboseFlag: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")]


def load_settings(config: Path | None, **flags: Any) -> Settings:
    """Settings from file, environment and flags; what is wrong with them ends the command, a line for each mistake."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from llava_gateway.settings import Settings

    try:
        return Settings.load(config, **flags)
    except ValidationError as error:
        wrong_use("\n".join(_mistakes(error)), "Flags, LLAVA_GATEWAY_* in the environment and --config FILE all set these.")
    except SettingsError as error:
        wrong_use(f"The settings can't be read: {error}.", "In the environment, lists and tables are written as JSON.")
    except OSError as error:
        wrong_use(f"The settings file can't be read: {error.strerror or error}.", "Check the path given with --config.")
    except ValueError as error:  # not TOML, or not UTF-8
        wrong_use(f"{config} is not valid TOML: {error}.")


def _mistakes(error: ValidationError) -> list[str]:
    """'port: Input should be ...' for each; the value itself is not repeated, since it may be a key."""
    lines = []
    for mistake in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(str(step) for step in mistake["loc"])
        what = "there is no such setting" if mistake["type"] == "extra_forbidden" else mistake["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {what}" if where else what)
    return lines
