"""Fetches images and documents for the commands, in their own process: the gateway's setting `fetch` is about its clients."""

from __future__ import annotations

import asyncio

from llava_gateway.cli.console import wrong_use
from llava_gateway.cli.messages import failure_from_error
from llava_gateway.errors import GatewayError
from llava_gateway.fetching.addresses import NotFetched
from llava_gateway.fetching.fetcher import Fetcher
from llava_gateway.settings import Settings


def fetched(address: str) -> bytes:
    """Fetch an image or a document, with all checks of the gateway. Ends the command, with the reason, if that is not possible."""
    try:
        return asyncio.run(_fetched(address))
    except NotFetched as error:
        wrong_use(f"{address} can't be fetched. {error}", "Save it in a browser, and give the file.")
    except GatewayError as error:
        raise failure_from_error(error) from error


async def _fetched(address: str) -> bytes:
    most: int = max(Settings.model_fields[f"{kind}_max_bytes"].default for kind in ("image", "document", "video"))
    async with Fetcher(hosts=None, most_bytes=most, most_held=2 * most).fetch(address) as data:
        return data
