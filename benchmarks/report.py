"""The result of every benchmark: figures with their spread, and the machine; printed as a table, written as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
QUIET_LOAD = 0.5
"""Load per core above which other programs distort the figures."""
_PACKAGES = (
    "llava-gateway", "aiohttp", "fastapi", "httptools", "httpx-aiohttp", "httpx2", "pillow", "pillow-heif", "pyvips", "pyvips-binary",
    "starlette", "uvicorn", "uvloop", "xllamacpp",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. `goal` is the upper limit of the median; None without a goal."""

    name: str
    unit: str
    values: tuple[float, ...]
    goal: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        return sorted(self.values)[max(0, -(-len(self.values) * 95 // 100) - 1)]

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.median <= self.goal

    def to_json(self) -> dict[str, Any]:
        figure: dict[str, Any] = {"name": self.name, "unit": self.unit, "n": len(self.values)}
        figure |= {"median": self.median, "p95": self.p95, "min": min(self.values), "max": max(self.values)}
        return figure if self.goal is None else figure | {"goal": self.goal, "met": self.met}


def added(name: str, unit: str, ours: Sequence[float], direct: Sequence[float], goal: float | None = None) -> Figure:
    """Return by how much each of `ours` exceeds the `direct` value measured next to it."""
    return Figure(name, unit, tuple(a - b for a, b in zip(ours, direct, strict=True)), goal)


def ratio(name: str, ours: Sequence[float], other: Sequence[float], goal: float | None = None) -> Figure:
    """Divide each of `ours` by the `other` value measured next to it."""
    return Figure(name, "x", tuple(a / b for a, b in zip(ours, other, strict=True)), goal)


@dataclass(slots=True)
class Report:
    """The figures and notes of a benchmark.

    Attributes:
        figures, ratios: the ratios compare two of the figures, pair by pair.
        notes: skipped measurements, and other facts that a reader must know.
    """

    name: str
    about: str
    quick: bool
    figures: list[Figure] = field(default_factory=list)
    ratios: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    load_before: float | None = field(default_factory=lambda: _load())

    def print(self) -> None:
        table = Table(title=f"{self.name}: {self.about}", title_justify="left")
        table.add_column("")
        for column in ("unit", "median", "min", "max", "p95", "n", "goal"):
            table.add_column(column, justify="right")
        for figure in (*self.figures, *self.ratios):
            numbers = (_short(value) for value in (figure.median, min(figure.values), max(figure.values), figure.p95))
            table.add_row(figure.name, figure.unit, *numbers, str(len(figure.values)), _goal(figure))
        console = Console()
        console.print(table)
        for note in self.all_notes():
            console.print(f"- {note}", highlight=False)

    def all_notes(self) -> list[str]:
        notes = list(self.notes)
        if self.quick:
            notes.append("Quick mode: too few rounds to mean anything.")
        if self.load_before is not None and self.load_before > QUIET_LOAD:
            notes.append(
                f"The machine was busy before this began (load {self.load_before:.1f} per core): take the figures again when it is quiet."
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": self.quick,
            "machine": machine(),
            "load_per_core_before": self.load_before,
            "versions": versions(),
            "figures": [figure.to_json() for figure in self.figures],
            "ratios": [figure.to_json() for figure in self.ratios],
            "notes": self.all_notes(),
        }

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        content = self.to_json()
        stamp = content["date"][:19].replace("-", "").replace(":", "")
        path = folder / f"{self.name}-{stamp}.json"
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        return path


def machine() -> dict[str, str | int | None]:
    """Describe the machine as far as the figures depend on it, without anything that identifies it or its owner."""
    cpu = platform.processor()
    known = Path("/proc/cpuinfo")
    if known.is_file():
        cpu = next((line.partition(":")[2].strip() for line in known.read_text().splitlines() if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "os": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _load() -> float | None:
    """Return the processes that are ready to run, per core, averaged over the last minute."""
    return round(os.getloadavg()[0] / (os.cpu_count() or 1), 2) if hasattr(os, "getloadavg") else None


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    return f"<= {figure.goal:g} {'met' if figure.met else 'missed'}"
