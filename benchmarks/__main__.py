"""`python -m benchmarks [NAME ...] [--quick] [--results FOLDER]`"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from benchmarks import detail, dialects, images, overhead, page, peers, pixels, read_ahead, stalls, turn2, turns
from benchmarks.report import RESULTS

BENCHMARKS = {
    "overhead": overhead.run,
    "page": page.run,
    "images": images.run,
    "pixels": pixels.run,
    "stalls": stalls.run,
    "turn2": turn2.run,
    "turns": turns.run,
    "dialects": dialects.run,
}
LONG = {"read_ahead": read_ahead.run, "detail": detail.run, "peers": peers.run}
"""Benchmarks that run only by name: they need a model of real size, or another program that is installed for them."""


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks", description="Measures the gateway beside other ways to do the same.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)} (none means all these); {', '.join(LONG)}")
    parser.add_argument("--quick", action="store_true", help="a few rounds, to see that it works")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where the JSON goes")
    arguments = parser.parse_args()
    known = BENCHMARKS | LONG
    if unknown := set(arguments.names) - set(known):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name in arguments.names or BENCHMARKS:
        report = known[name](quick=arguments.quick)
        report.print()
        Console().print(f"written to {report.write(arguments.results).name}\n", highlight=False)


if __name__ == "__main__":
    main()
