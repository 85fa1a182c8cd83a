"""`llava-gateway mcp`: the tools for agents over stdin and stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llava_gateway.cli.console import set_up_logging
from llava_gateway.cli.flags import ApiKeyFlag, ConfigFlag, UrlFlag, VerboseFlag, load_settings
from llava_gateway.errors import NotFound


def mcp(
    root: Annotated[
        list[Path] | None, typer.Option("--root", help="Folder whose images the agent may name by path; repeatable.", metavar="DIR")
    ] = None,
    url: UrlFlag = None,
    api_key: ApiKeyFlag = None,
    config: ConfigFlag = None,
    verbose: VerboseFlag = False,
) -> None:
    """Let an agent look at images: the tools of the Model Context Protocol, over stdin and stdout.

    Agents start this command themselves. It asks the gateway that runs on this machine, or starts one. The agent may name images by path
    inside the folders that it works in: its roots, those of --root or, without either, the working directory.

    \b
    Examples:
      claude mcp add llava -- llava-gateway mcp
      llava-gateway mcp --root ~/Pictures --url http://127.0.0.1:8000
    """
    from llava_gateway.api.mcp.http import is_installed

    set_up_logging(verbose=verbose)
    if not is_installed():
        raise NotFound("mcp_missing")
    load_settings(config)  # so that wrong settings end the command now, and not at the first question
    from llava_gateway.cli.mcp_server import serve

    serve(root or [], url, api_key, config)
