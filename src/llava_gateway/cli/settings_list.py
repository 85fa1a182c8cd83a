"""`llava-gateway settings`: every setting, its default and what it is for."""

from __future__ import annotations

from typing import Any

import typer


def settings() -> None:
    """List all settings with their defaults.

    Put them into a TOML file and give that as --config FILE, or into the environment as LLAVA_GATEWAY_NAME.
    """
    from pydantic_core import PydanticUndefined

    from llava_gateway.settings import Settings

    for name, field in Settings.model_fields.items():
        default = None if field.default is PydanticUndefined else field.default
        typer.echo(f"{name} = {_default(default)}\n    {field.description}")


def _default(value: Any) -> str:
    match value:
        case None | "":
            return "unset"
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)
