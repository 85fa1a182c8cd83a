"""Shell completion: asks running programs for names, and stays silent if none runs."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import typer


def model_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the model names with this beginning, of the running gateway; if none runs, of Ollama."""
    from llava_gateway.cli.client import names_of_models
    from llava_gateway.cli.console import Failure

    url = ctx.params.get("url") or os.environ.get("LLAVA_GATEWAY_URL")  # click does not read the environment during completion
    key = ctx.params.get("api_key") or os.environ.get("LLAVA_GATEWAY_API_KEY")
    config = ctx.params.get("config")
    with suppress(Failure, OSError, ValueError):
        names = names_of_models(url or None, key or None, Path(config) if config else None)
        return [name for name in names if name.startswith(incomplete)]
    return []
