"""`llava-gateway doctor`: what works on this machine, what does not, and what to do about it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from llava_gateway.cli.console import FAILED, console, printable, set_up_logging
from llava_gateway.cli.flags import ConfigFlag, DefaultModelFlag, EngineFlag, GgufFlag, JsonFlag, MmprojFlag, load_settings

if TYPE_CHECKING:
    from llava_gateway.cli.checks import Check
    from llava_gateway.settings import Settings

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    engine: EngineFlag = None,
    model: DefaultModelFlag = None,
    gguf: GgufFlag = None,
    mmproj: MmprojFlag = None,
    config: ConfigFlag = None,
    ask: Annotated[bool, typer.Option("--ask/--no-ask", help="Ask the model about nine test images; slow without a GPU.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Check what works here: limits, decoders, port, engines, and whether the model really sees.

    Exits with status 1 if a check failed. It needs no running gateway, and does not disturb one.

    \b
    Examples:
      llava-gateway doctor
      llava-gateway doctor --model llava:13b
      llava-gateway doctor --json --no-ask
    """
    set_up_logging()
    settings = load_settings(config, engine=engine, model=model, gguf=gguf, mmproj=mmproj)
    import asyncio

    checks = asyncio.run(_examine(settings, ask=ask, show=not as_json))
    failed = any(check.status == "fail" for check in checks)
    if as_json:
        typer.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}, ensure_ascii=False, indent=2))
    raise typer.Exit(FAILED if failed else 0)


async def _examine(settings: Settings, *, ask: bool, show: bool) -> list[Check]:
    from llava_gateway.cli.checks import examine

    checks = []
    async for check in examine(settings, ask=ask):
        checks.append(check)
        if show:
            _show(check)
    return checks


def _show(check: Check) -> None:
    out = console()
    out.print(f"{check.status:<5}", style=STYLES[check.status], end="")
    out.print(f"{check.name}: {printable(check.detail)}")
    if check.advice:
        out.print(f"     -> {printable(check.advice)}")
