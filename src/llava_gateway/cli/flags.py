"""Flags that several commands take, and the settings that come of them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from llava_gateway.chat import OPTION_LIMITS, OptionLimit
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
UrlFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="LLAVA_GATEWAY_URL",
        help="A running gateway. Without it the one on this machine is asked; where none runs, one is started and ended again.",
        metavar="URL",
    ),
]
ApiKeyFlag: TypeAlias = Annotated[
    str | None, typer.Option("--api-key", envvar="LLAVA_GATEWAY_API_KEY", help="Key of that gateway.", metavar="KEY")
]
JsonFlag: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
VerboseFlag: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")]

_SAMPLING = "How the model answers"


def with_request_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the flags of a question to a command; they arrive in its `**request`, for `request_fields`."""
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=[*own, *_request_parameters()])  # type: ignore[attr-defined]
    return command


def _request_parameters() -> list[inspect.Parameter]:
    flags: dict[str, tuple[Any, Any]] = {
        "model": (str, typer.Option("--model", help="Who answers; `llava-gateway models` lists them.", metavar="NAME")),
        "preset": (str, typer.Option("--preset", help="Options by a name: factual, balanced, creative, or your own.", metavar="NAME")),
        "system": (str, typer.Option("--system", help="System prompt.", metavar="TEXT")),
        "format": (str, typer.Option("--format", help="'json', or a file with the JSON schema of the answer.", metavar="json|FILE")),
    }
    for name, limit in OPTION_LIMITS.items():
        flags[name] = (int if limit.whole else float, _option_flag(name, limit))
    flags["stop"] = (
        list[str],
        typer.Option("--stop", help="End the answer before this text; may be repeated.", rich_help_panel=_SAMPLING, metavar="TEXT"),
    )
    flags["keep_alive"] = (
        str,
        typer.Option("--keep-alive", help="How long Ollama keeps the model: 300, 5m, 0, -1.", rich_help_panel=_SAMPLING, metavar="TIME"),
    )
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])
        for name, (kind, option) in flags.items()
    ]


def _option_flag(name: str, limit: OptionLimit) -> Any:
    unit = f" ({limit.unit})" if limit.unit else ""
    reloads = " A change loads the model again." if limit.reloads else ""
    text = f"{limit.about[0].upper()}{limit.about[1:]}{unit}.{reloads}"
    low, high = (int(limit.low), int(limit.high)) if limit.whole else (limit.low, limit.high)
    return typer.Option(f"--{name.replace('_', '-')}", min=low, max=high, help=text, rich_help_panel=_SAMPLING)


def request_fields(request: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The flags that were given, as form fields of POST /ask."""
    fields = []
    for name, value in request.items():
        if value is None:
            continue
        if name == "format":
            value = _format(value)
        fields += [(name, str(one)) for one in (value if isinstance(value, list) else [value])]
    return fields


def _format(value: str) -> str:
    if value == "json":
        return value
    try:
        text = Path(value).read_text("utf-8")
        json.loads(text)
    except OSError as error:
        wrong_use(f"--format {value} can't be read: {error.strerror}.", "It is 'json' or a file with a JSON schema.")
    except ValueError:
        wrong_use(f"--format {value} is not valid JSON.", "It is 'json' or a file with a JSON schema.")
    return text


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
