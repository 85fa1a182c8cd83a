"""One case of a suite, and the cases in the reports of pytest, of Node and of Go."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.dialects.reasons import REASONS

_TOLD_BY_GO = re.compile(r"^\s*\w+_test\.go:\d+: ")


@dataclass(frozen=True)
class Case:
    """A case of a suite; `fault` is the first line of its failure, or "" if it passed. A skipped case has a `skipped` reason."""

    suite: str
    name: str
    fault: str = ""
    skipped: str = ""

    @property
    def reason(self) -> str:
        """Why its failure is no fault of the gateway; "" if nobody knows."""
        told = f"{self.name}: {self.fault}"
        return next((reason for (suite, pattern), reason in REASONS.items() if suite == self.suite and re.search(pattern, told)), "")


def cases_of_junit(suite: str, report: Path) -> list[Case]:
    """Read a report in JUnit's format, which pytest and Node write."""
    return [_case(suite, found) for found in ET.parse(report).iter("testcase")]  # noqa: S314 - our own command wrote it


def _case(suite: str, found: ET.Element) -> Case:
    name = f"{found.get('classname', '').rpartition('.')[2]}.{found.get('name')}"
    for kind in ("failure", "error"):
        if (fault := found.find(kind)) is not None:
            return Case(suite, name, fault=" ".join((fault.get("message") or "failed").split()))
    skipped = found.find("skipped")
    return Case(suite, name) if skipped is None else Case(suite, name, skipped=skipped.get("message") or "skipped")


def cases_of_go(suite: str, lines: Iterable[str]) -> list[Case]:
    """Read the events of `go tool test2json`. A test with tests inside is a case only if it fails by itself."""
    said: dict[str, list[str]] = defaultdict(list)
    ends: dict[str, str] = {}
    for event in map(json.loads, lines):
        name = event.get("Test", "")
        if event["Action"] == "output" and _TOLD_BY_GO.match(event["Output"]):
            said[name].append(_TOLD_BY_GO.sub("", event["Output"]).strip())
        elif event["Action"] in ("pass", "fail", "skip") and name:
            ends[name] = event["Action"]
    return list(_go_cases(suite, ends, said))


def _go_cases(suite: str, ends: dict[str, str], said: dict[str, list[str]]) -> Iterator[Case]:
    for name, end in ends.items():
        inside = [other for other in ends if other.startswith(f"{name}/")]
        told = " ".join(" ".join(said[name]).split())
        if end == "fail" and not any(ends[other] == "fail" for other in inside):
            yield Case(suite, name, fault=told or "failed")
        elif not inside:
            yield Case(suite, name, skipped=told or "skipped") if end == "skip" else Case(suite, name)
