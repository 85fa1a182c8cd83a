"""`python -m tests.fuzz [--images COUNT] [--requests COUNT] [--seed SEED]`. It exits with status 1 if anything broke."""

from __future__ import annotations

import argparse
import asyncio
import sys

from rich.console import Console

from tests.fuzz import api, images

IMAGES = 1_000_000
REQUESTS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser("tests.fuzz", description="Sends broken images to the workers, and odd requests to the API.")
    parser.add_argument("--images", type=int, default=IMAGES, metavar="COUNT", help="broken images")
    parser.add_argument("--requests", type=int, default=REQUESTS, metavar="COUNT", help="requests by schemathesis")
    parser.add_argument("--seed", type=int, default=1, help="another one makes other images")
    arguments = parser.parse_args()
    if arguments.images:
        Console().print(images.table(asyncio.run(images.fuzz(arguments.images, arguments.seed))))
    if arguments.requests:
        fuzzed = api.fuzz(arguments.requests)
        Console().print(fuzzed.table())
        if not (fuzzed.passed and fuzzed.alive):
            sys.exit("The API did not answer as described.")


if __name__ == "__main__":
    main()
