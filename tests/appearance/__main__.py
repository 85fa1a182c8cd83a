"""Compare every file with what a browser draws, and print the table (make appearance)."""

from __future__ import annotations

import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import product

from playwright.sync_api import Error
from rich.console import Console
from rich.table import Table

from llava_gateway.images.sniff import Format
from tests.appearance.chromium import Chromium, drawing_chromium
from tests.appearance.compare import Difference, difference
from tests.appearance.pictures import Case, cases, picture
from tests.appearance.programs import PROGRAMS
from tests.appearance.reasons import reason
from tests.browsers import find_chromium
from tests.odd_images import saved


def main() -> int:
    """Return the number of files that differ without a reason."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            print(f"Left out {program}: it is not installed.")
    groups: dict[tuple[str, str], list[Difference]] = defaultdict(list)
    known: dict[str, int] = defaultdict(int)
    bad = []
    path = find_chromium()
    if path is None:
        raise SystemExit("There is no Chromium to compare with.")
    with drawing_chromium(path) as browser:
        for case in (*cases(), *_by_canvas(browser)):
            try:
                found = difference(case, browser)
            except Exception as error:  # whatever goes wrong is a result too
                if not _shown(case, browser):
                    known["Neither we nor Chromium can read the file that the encoder wrote."] += 1
                    continue
                found = Difference(999, 999)
                trouble = str(error).splitlines()[0][:90]
            else:
                trouble = f"median {found.median:.1f}, p99 {found.p99:.1f}"
            if not found.is_small and (why := reason(case)):
                known[why] += 1
                continue
            groups[case.encoder, case.kind].append(found)
            if not found.is_small:
                bad.append(f"{case.encoder}: {case.name}: {trouble}")
    table = Table("encoder", "format", "files", "median", "p99", "equal", title="Canonical image against Chromium (CIEDE2000)")
    for (encoder, kind), every in sorted(groups.items()):
        good = [each for each in every if each.is_small]
        worst = max((each.median for each in good), default=0), max((each.p99 for each in good), default=0)
        table.add_row(encoder, kind, str(len(every)), f"{worst[0]:.1f}", f"{worst[1]:.1f}", str(len(good)))
    console = Console(width=120)
    console.print(table)
    total = sum(map(len, groups.values())) + sum(known.values())
    console.print(f"{total} files, {len(bad)} differ, {sum(known.values())} differ for a known reason:")
    for why, count in sorted(known.items()):
        console.print(f"  {count}: {why}")
    for line in bad:
        console.print(f"  DIFFERS {line}", markup=False)
    return len(bad)


def _shown(case: Case, browser: Chromium) -> bool:
    """Return whether the browser shows a file, or the one that judges it."""
    try:
        browser.draw(case.judge or case.data, "PNG" if case.judge else case.kind)
    except Error:
        return False
    return True


def _by_canvas(browser: Chromium) -> Iterator[Case]:
    """Yield what the browser itself writes."""
    kinds: tuple[Format, ...] = ("PNG", "JPEG", "WEBP")
    for mode, kind, quality in product(("RGB", "RGBA", "L", "P"), kinds, (0.6, 0.8, 0.92)):
        if kind == "JPEG" and mode == "RGBA":
            continue
        data = browser.encode(saved(picture(mode), "PNG"), kind, quality)
        yield Case("Chromium", f"{kind} {mode} {quality}", kind, data, subsampled=kind != "PNG")


if __name__ == "__main__":
    sys.exit(min(1, main()))
