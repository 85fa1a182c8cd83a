"""Sends every chat of a backup to the gateway that uses the data directory; without one, to one that is started for this."""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from pathlib import Path

from llava_gateway.cli.address_files import published_address
from llava_gateway.cli.client import GatewayClient, connect, own_gateway
from llava_gateway.cli.console import Failure
from llava_gateway.journal.errors import DataError
from llava_gateway.settings import Settings


def import_file(file: Path, settings: Settings, config: Path | None) -> int:
    """Import the chats of the zip. Returns how many came in. Raises OSError, DataError, Failure.

    Those that came in before a failure stay; the failure names the one at which it happened.
    """
    try:
        zipped = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise Failure(f"{file} is not a zip of chats.", "Give a file that `llava-gateway data export` wrote.") from error
    with zipped, ExitStack() as stack:
        members = [info for info in zipped.infolist() if info.filename.startswith("chats/") and info.filename.endswith(".json")]
        if not members:
            raise Failure(f"There are no chats in {file}.", "To import a single session, use `llava-gateway sessions import`.")
        client = _client(stack, settings, config)
        for number, info in enumerate(members):
            if info.file_size > settings.body_max_bytes:
                raise Failure(f"{info.filename} is larger than body_max_bytes allows.", _imported(number))
            try:
                client.send("/sessions/import", zipped.read(info))
            except (Failure, zipfile.BadZipFile) as error:
                raise Failure(f"{info.filename}: {error}", _imported(number)) from error
    return len(members)


def _imported(number: int) -> str:
    return f"{number} {'chat' if number == 1 else 'chats'} came in before it."


def _client(stack: ExitStack, settings: Settings, config: Path | None) -> GatewayClient:
    """Connect to a gateway that uses the data directory."""
    # It answers no questions, so no engine has to start; an Ollama that is not there costs nothing.
    importing = settings.model_copy(update={"engine": "ollama", "gguf": None, "mmproj": None, "model": None})
    try:
        return stack.enter_context(own_gateway(importing))
    except DataError as error:
        if error.reason != "data_in_use":
            raise
        return stack.enter_context(connect(published_address(error.process), _key(settings), config, own=False))


def _key(settings: Settings) -> str | None:
    return settings.api_key.get_secret_value() if settings.api_key else None
