"""Flags that several commands take, and the settings that come of them."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer
from typer.core import TyperGroup

from llava_gateway.chat import Detail, Policy
from llava_gateway.cli.console import wrong_use
from llava_gateway.options import OPTION_LIMITS, OptionLimit

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
ItsUrlFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="LLAVA_GATEWAY_URL",
        help="A running gateway, whose Ollama is meant. Without it the Ollama of the settings.",
        metavar="URL",
    ),
]
ApiKeyFlag: TypeAlias = Annotated[
    str | None, typer.Option("--api-key", envvar="LLAVA_GATEWAY_API_KEY", help="Key of that gateway.", metavar="KEY")
]
JsonFlag: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
NoPathsFlag: TypeAlias = Annotated[
    bool, typer.Option("--no-paths", help="Take paths in a question for text; otherwise the images are attached.")
]
VerboseFlag: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")]

STDIN = "-"


class FlagsAnywhere(TyperGroup):
    """A group of commands whose own flags may stand before the command's name: they count for the command, and one that it does not take
    is refused by it. What stands behind the name wins."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, [*_given(ctx), *rest]


def _given(ctx: Any) -> Iterator[str]:
    """The options of this group as they stood on the command line; those from the environment the command reads itself."""
    for option in ctx.command.params:
        value = ctx.params.get(option.name)
        source = ctx.get_parameter_source(option.name)
        if source is not None and source.name == "COMMANDLINE":
            yield from (option.opts[0],) if option.is_flag else (option.opts[0], str(value))


_SAMPLING = "How the model answers"
_SIGHT = "How images are looked at"


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
        "policy": (Policy, typer.Option("--policy", help="What happens when the conversation no longer fits the model's context.")),
        **_sight_flags(),
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


def _sight_flags() -> dict[str, tuple[Any, Any]]:
    def flag(name: str, text: str, metavar: str | None = None) -> Any:
        return typer.Option(name, help=text, rich_help_panel=_SIGHT, metavar=metavar)

    return {
        "detail": (
            Detail,
            flag(
                "--detail",
                "low is one tile, high the best grid of tiles; auto takes high where model, room and speed allow it.",
            ),
        ),
        "region": (str, flag("--region", "Look closely at this part, in fractions: 0.5,0,0.5,0.5 is the top right quarter.", "X,Y,W,H")),
        "image_size": (str, flag("--image-size", "Pixels that a grid of tiles may have at most, such as 672x672.", "WxH")),
        "max_image_tokens": (
            int,
            flag("--max-image-tokens", "Tokens that an image may cost at most; one tile is sent in any case.", "COUNT"),
        ),
        "ocr_text": (
            str,
            flag("--ocr-text", "Text that another program read in the image: a file, - for stdin, or the text itself.", "FILE|-|TEXT"),
        ),
    }


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
        elif name == "ocr_text":
            value = _ocr_text(value)
        fields += [(name, str(one)) for one in (value if isinstance(value, list) else [value])]
    return fields


def _format(value: str) -> str:
    if value == "json":
        return value
    try:
        text = Path(value).read_text("utf-8-sig")
        json.loads(text)
    except OSError as error:
        wrong_use(f"--format {value} can't be read: {error.strerror}.", "It is 'json' or a file with a JSON schema.")
    except ValueError:
        wrong_use(f"--format {value} is not valid JSON.", "It is 'json' or a file with a JSON schema.")
    return text


def _ocr_text(value: str) -> str:
    """The text of a file or of stdin, else the value itself; a file name that is mistyped ends the command."""
    try:
        if value == STDIN:
            return "" if sys.stdin is None else sys.stdin.buffer.read().decode("utf-8-sig")
        if kind_of(value) == "file":
            return Path(value).read_text("utf-8-sig")
    except OSError as error:
        wrong_use(f"--ocr-text {value} can't be read: {error.strerror}.")
    except UnicodeDecodeError:
        wrong_use(f"--ocr-text {value} is not UTF-8 text.")
    if value.lower().endswith(".txt") and len(value.split()) == 1:
        wrong_use(f"There is no file {value} for --ocr-text.")
    return value


def kind_of(name: str) -> Literal["file", "folder"] | None:
    """What there is of this name; None also for what is too long to be a name."""
    try:
        return "file" if Path(name).is_file() else "folder" if Path(name).is_dir() else None
    except OSError:
        return None


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
