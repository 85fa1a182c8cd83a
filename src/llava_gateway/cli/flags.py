"""Flags that several commands share, and the settings made from them."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

import typer

from llava_gateway.cli.complete import model_names
from llava_gateway.cli.console import not_empty, wrong_use
from llava_gateway.cli.plain_help import PlainGroup
from llava_gateway.options import OPTION_LIMITS, Detail, OptionLimit, Policy

if TYPE_CHECKING:
    from pydantic import ValidationError

    from llava_gateway.settings import Settings

# Each flag with a default of its own is None unless given, so that environment and file apply.
ConfigFlag: TypeAlias = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.", metavar="FILE")]
EngineFlag: TypeAlias = Annotated[
    Literal["auto", "ollama", "embedded", "openai"] | None,
    typer.Option(
        "--engine",
        help="Engine that answers; auto uses Ollama if it has a vision model, else openai_base_url if set, else embedded.",
        metavar="auto|ollama|embedded|openai",
    ),
]
DefaultModelFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Default model. Without it: the best installed one.",
        metavar="NAME",
        autocompletion=model_names,
        callback=not_empty,
    ),
]
GgufFlag: TypeAlias = Annotated[
    Path | None,
    typer.Option("--gguf", help="GGUF file of a text model for the embedded engine; implies --engine embedded.", metavar="FILE"),
]
MmprojFlag: TypeAlias = Annotated[
    Path | None, typer.Option("--mmproj", help="GGUF file of the projector that belongs to it.", metavar="FILE")
]
DataDirFlag: TypeAlias = Annotated[Path | None, typer.Option("--data-dir", help="Directory in which chats are kept.", metavar="DIR")]
UrlFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="LLAVA_GATEWAY_URL",
        help="Address of a running gateway. Without it: the one on this machine, or one that is started and stopped again.",
        metavar="URL",
    ),
]
RunningUrlFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="LLAVA_GATEWAY_URL", help="Address of a running gateway. Without it: the one on this machine.", metavar="URL"
    ),
]
ItsUrlFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="LLAVA_GATEWAY_URL",
        help="Address of a running gateway, to use its Ollama. Without it: the Ollama of the settings.",
        metavar="URL",
    ),
]
ApiKeyFlag: TypeAlias = Annotated[
    str | None, typer.Option("--api-key", envvar="LLAVA_GATEWAY_API_KEY", help="Key of that gateway.", metavar="KEY")
]
JsonFlag: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
NoPathsFlag: TypeAlias = Annotated[
    bool, typer.Option("--no-paths", help="Treat paths in a question as text. Without this, their images are attached.")
]
VerboseFlag: TypeAlias = Annotated[bool, typer.Option("--verbose", "-v", help="Print details to stderr.")]

STDIN = "-"


class FlagsAnywhere(PlainGroup):
    """A group of commands whose own flags may also come before the command's name. They apply to the command; it rejects those that it
    does not have. A flag after the name takes precedence.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, [*_given(ctx), *rest]


def _given(ctx: Any) -> Iterator[str]:
    """Return the group's options from the command line; the command itself reads those from the environment."""
    for option in ctx.command.params:
        value = ctx.params.get(option.name)
        source = ctx.get_parameter_source(option.name)
        if source is not None and source.name == "COMMANDLINE":
            yield from (option.opts[0],) if option.is_flag else (option.opts[0], str(value))


_SAMPLING = "How the model answers"
_SIGHT = "How images are looked at"


def with_request_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Add the flags of a question to a command; they arrive in its `**request`, for `request_fields`."""
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=[*own, *_request_parameters()])  # type: ignore[attr-defined]
    return command


def _request_parameters() -> list[inspect.Parameter]:
    flags: dict[str, tuple[Any, Any]] = {
        "model": (
            str,
            typer.Option(
                "--model",
                help="Model that answers; `llava-gateway models` lists them.",
                metavar="NAME",
                autocompletion=model_names,
                callback=not_empty,
            ),
        ),
        "preset": (
            str,
            typer.Option(
                "--preset", help="Named set of options: factual, balanced, creative, or your own.", metavar="NAME", callback=not_empty
            ),
        ),
        "system": (str, typer.Option("--system", help="System prompt.", metavar="TEXT")),
        "format": (str, typer.Option("--format", help="'json', or a file with the JSON schema of the answer.", metavar="json|FILE")),
        "policy": (
            Policy,
            typer.Option(
                "--policy",
                help="What happens when the conversation no longer fits the model's context.",
                metavar="|".join(get_args(Policy)),
            ),
        ),
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
                "|".join(get_args(Detail)),
            ),
        ),
        "region": (str, flag("--region", "Look closely at this part, in fractions: 0.5,0,0.5,0.5 is the top right quarter.", "X,Y,W,H")),
        "background": (
            str,
            flag("--background", "Colour behind transparency, such as #336699; auto takes white or, where white hides, gray.", "COLOUR"),
        ),
        "image_size": (str, flag("--image-size", "Pixels that a grid of tiles may have at most, such as 672x672.", "WxH")),
        "max_image_tokens": (
            int,
            flag("--max-image-tokens", "Tokens that an image may cost at most; one tile is sent in any case.", "COUNT"),
        ),
        "pages": (
            str,
            flag("--pages", "Pages of a PDF or TIFF, from 1; without it, those that fit. As file.pdf#1-3,7 for one file.", "1-3,7"),
        ),
        "frames": (str, flag("--frames", "Frames of an animation, from 0, or so many that differ most.", "0,5|scenes:N")),
        "text_layer": (
            Literal["auto", "off"],
            flag("--text-layer", "off sends only the images of PDF pages, without their text.", "auto|off"),
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
    flag, kind = f"--{name.replace('_', '-')}", "COUNT" if limit.whole else "NUMBER"
    return typer.Option(flag, min=low, max=high, help=text, rich_help_panel=_SAMPLING, metavar=kind)


def request_fields(request: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the given flags as form fields of POST /ask."""
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
    """Return the text of a file or of stdin, else the value itself; a mistyped file name ends the command."""
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
    """Return the type of the file of this name; None if there is none or the text is too long for a name."""
    try:
        return "file" if Path(name).is_file() else "folder" if Path(name).is_dir() else None
    except OSError:
        return None


def load_settings(config: Path | None, **flags: Any) -> Settings:
    """Load the settings from file, environment and flags; errors in them end the command, with a line for each."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from llava_gateway.settings import Settings, broken_variable

    try:
        return Settings.load(config, **flags)
    except ValidationError as error:
        given = {name for name, value in flags.items() if value is not None}
        wrong_use("\n".join(_mistakes(error, config, given)), "`llava-gateway settings` lists all settings.")
    except SettingsError as error:
        variable = broken_variable()
        wrong_use(
            f"{variable} is not valid JSON." if variable else f"The settings can't be read: {error}.",
            'In the environment, tables are written as JSON: {"llava:7b": {"num_ctx": 8192}}.',
        )
    except IsADirectoryError:
        wrong_use(f"{config} is a folder, not a settings file.", "Give --config a TOML file.")
    except FileNotFoundError:
        wrong_use(f"There is no settings file {config}.", "Check the path given with --config.")
    except OSError as error:
        wrong_use(f"{config} can't be read: {error.strerror}.", "Check the path given with --config.")
    except ValueError as error:  # not TOML, or not UTF-8
        wrong_use(f"{config} is not valid TOML: {error}.")


def _mistakes(error: ValidationError, config: Path | None, flags: Collection[str]) -> list[str]:
    """Return 'gateway.toml: port: Input should be ...' for each error, without the value, which may be a key."""
    from llava_gateway.settings import did_you_mean, names_at, variable_of

    lines = []
    for mistake in error.errors(include_url=False, include_input=False, include_context=False):
        place = mistake["loc"]
        what = mistake["msg"].removeprefix("Value error, ")
        if not place:
            lines.append(what)
            continue
        name = ".".join(str(step) for step in place)
        if mistake["type"] == "extra_forbidden":
            what = f"there is no setting {name}.{did_you_mean(str(place[-1]), names_at(place))}"
        first = str(place[0])
        file = config or "the settings"
        if first in flags:
            lines.append(f"--{first.replace('_', '-')}: {what}")
        elif variable := variable_of(first):
            lines.append(f"{variable}: {what}")
        else:
            lines.append(f"{file}: {what}" if mistake["type"] == "extra_forbidden" else f"{file}: {name}: {what}")
    return lines
