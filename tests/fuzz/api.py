"""Requests by schemathesis, which makes them from /openapi.json, to a gateway in its own process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.children import child

SCHEMATHESIS = "schemathesis==4.32.5"
FOLDER = Path(__file__).parents[2] / ".cache" / "schemathesis"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
LEFT_OUT = "^/models/pull"
"""It would download models."""


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """What came of the run: requests, whether all responses were as described and none 5xx, and whether the gateway still answers."""

    requests: int
    passed: bool
    alive: bool

    def table(self) -> Table:
        shown = Table("", "", title="odd requests")
        shown.add_row("requests", f"{self.requests:,}")
        shown.add_row("responses with a 5xx, or other than described", "none" if self.passed else "some, see above")
        shown.add_row("the gateway still answers", "yes" if self.alive else "no")
        return shown


def program() -> Path:
    """Return schemathesis; it is installed into a virtual environment of its own if it is missing."""
    found = FOLDER / ("Scripts" if sys.platform == "win32" else "bin")
    if not (found / "schemathesis").exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
        subprocess.run([str(found / "python"), "-m", "pip", "install", "--quiet", SCHEMATHESIS], check=True)
    return found / "schemathesis"


def fuzz(requests: int) -> Fuzzed:
    """Send about so many requests to all operations."""
    with child("gateway_process", json.dumps({"engine": "embedded"})) as gateway:
        url = gateway.hello["url"]
        with urllib.request.urlopen(f"{url}/openapi.json") as response:  # noqa: S310
            operations = sum(len(item) for item in json.load(response)["paths"].values())
        each = max(1, requests // operations)
        command = [str(program()), "run", f"{url}/openapi.json", "--checks", CHECKS, "--max-examples", str(each), "--no-color"]
        command += ["--phases", "examples,fuzzing", "--exclude-path-regex", LEFT_OUT, "--continue-on-failure", "--seed", "1"]
        command += ["--suppress-health-check", "all", "--generation-database", "none"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=FOLDER)
        if done.returncode:
            print(done.stdout[-20_000:], done.stderr[-2000:])
        sent = re.search(r"([\d,]+) generated", done.stdout)
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as response:  # noqa: S310
            alive = response.status == 200
    return Fuzzed(int(sent[1].replace(",", "")) if sent else 0, done.returncode == 0, alive)
