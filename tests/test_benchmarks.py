"""Each benchmark completes in its quick mode and writes its report; the figures themselves mean nothing here."""

from __future__ import annotations

import asyncio
import json
import platform
from pathlib import Path
from typing import Any

import pytest

from benchmarks import crash, detail, disconnects, images, overhead, page, peers, pixels, read_ahead, soak, soak_load, stalls, turn2, turns
from benchmarks.litellm import NoLiteLLM
from benchmarks.report import Figure, Report, added, ratio
from benchmarks.soak import Step

pytestmark = pytest.mark.real

PERSONAL = (platform.node(), str(Path.home()), str(Path.cwd()))


def written(report: Report, folder: Path) -> dict[str, Any]:
    """Return the JSON of a report, after checking the parts that every report must have."""
    report.print()
    text = report.write(folder).read_text("utf-8")
    assert not [word for word in PERSONAL if len(word) > 3 and word in text]
    content: dict[str, Any] = json.loads(text)
    assert set(content) == {"benchmark", "date", "quick", "machine", "load_per_core_before", "versions", "figures", "ratios", "notes"}
    assert set(content["machine"]) == {"cpu", "cores", "os", "python"}
    assert content["versions"]["llava-gateway"]
    assert any("Quick mode" in note for note in content["notes"])
    for figure in (*content["figures"], *content["ratios"]):
        assert figure["n"] >= 1
        assert figure["min"] <= figure["median"] <= figure["max"]
        assert ("goal" in figure) == ("met" in figure)
    return content


def names(figures: list[dict[str, Any]]) -> list[str]:
    return [figure["name"] for figure in figures]


def test_overhead(tmp_path: Path) -> None:
    content = written(overhead.run(quick=True), tmp_path)
    assert "llama.cpp, first word: added" in names(content["figures"])
    assert "CPU per chunk: gateway" in names(content["figures"])
    assert "CPU per chunk: ours / httpx2 alone" in names(content["ratios"])


def test_peers_without_litellm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The report has our own rows, and a line that tells what is missing: the tests install no other program."""

    def not_here() -> Path:
        raise NoLiteLLM("LiteLLM can't be installed here.")

    monkeypatch.setattr("benchmarks.litellm._installed", not_here)
    content = written(peers.run(quick=True), tmp_path)
    assert {"time of a request: added by gateway", "CPU of a request: gateway", "CPU of a chunk: aiohttp alone"} <= set(
        names(content["figures"])
    )
    assert names(content["ratios"]) == [
        "CPU of a chunk: gateway / aiohttp alone",
        "CPU of a chunk: bare relay / aiohttp alone",
        "body: read by us / json.loads",
        "body: and decoded / json.loads",
    ]
    assert any("Its rows are left out." in note for note in content["notes"])


def test_page(chromium: Path, tmp_path: Path) -> None:
    content = written(page.run(quick=True), tmp_path)
    figures = {figure["name"]: figure for figure in content["figures"]}
    assert figures["first visit: transferred"]["met"]
    assert {f"session is {what}: longest task" for what in ("opened", "scrolled", "typed in", "answered")} <= set(figures)
    assert all(figure["median"] > 0 for figure in figures.values())


def test_images(tmp_path: Path) -> None:
    content = written(images.run(quick=True), tmp_path)
    figures = {figure["name"]: figure for figure in content["figures"]}
    assert figures["JPEG to 336: ours"]["goal"] == 70
    assert "JPEG to 336: ours, through the store" in figures
    assert figures["JPEG to 672: ours: PSNR"]["median"] > 35
    assert "JPEG to 672: ours / Pillow" in names(content["ratios"])
    assert {f"{kind} to 336: ours: SSIM" for kind in images.OTHER_FORMATS} <= set(figures)
    assert "WEBP to 336: ours / Pillow, every pixel" in names(content["ratios"])


def test_pixels(tmp_path: Path) -> None:
    content = written(pixels.run(quick=True), tmp_path)
    figures = {figure["name"]: figure["median"] for figure in content["figures"]}
    assert figures[f"{pixels.OURS}, PNG: mean drift"] == 0
    assert figures[f"{pixels.OURS}, JPEG 80 4:2:0: mean drift"] > 0
    assert f"{pixels.OURS}, JPEG 92 4:4:4: reads text 30%" in figures
    assert "LANCZOS, PNG: bytes" in figures


def test_stalls(tmp_path: Path) -> None:
    content = written(stalls.run(quick=True), tmp_path)
    figures = {figure["name"]: figure for figure in content["figures"]}
    assert any(name.startswith("unknown fields, ") for name in figures)
    assert figures["longest wait of all"]["goal"] == 100
    assert figures["longest wait of all"]["median"] == max(figure["max"] for figure in figures.values())


def test_turn2(tmp_path: Path) -> None:
    content = written(turn2.run(quick=True), tmp_path)
    assert {"llama.cpp: directly", "llama.cpp: through us"} <= set(names(content["figures"]))
    assert "llama.cpp: through us / directly" in names(content["ratios"])


def test_turns(ollama_binary: Path, tmp_path: Path) -> None:
    content = written(turns.run(quick=True), tmp_path)
    figures = {figure["name"]: figure for figure in content["figures"]}
    assert figures["Ollama: directly"]["n"] == figures["Ollama: through us"]["n"] == 12
    assert "Ollama: through us / directly" in names(content["ratios"])
    assert any(note.startswith("Through the gateway, 2 of 2 were") for note in content["notes"])


def test_read_ahead(tmp_path: Path) -> None:
    content = written(read_ahead.run(quick=True), tmp_path)
    assert {"llama.cpp: no image", "llama.cpp: image, read ahead", "llama.cpp: image"} <= set(names(content["figures"]))
    assert content["ratios"][0]["name"] == "llama.cpp: read ahead / no image"
    assert content["ratios"][0]["goal"] == 1.2


def test_detail(tmp_path: Path) -> None:
    content = written(detail.run(quick=True), tmp_path)
    assert {"llama.cpp: low (576 tokens)", "llama.cpp: high (2880 tokens)"} <= set(names(content["figures"]))
    assert "llama.cpp: high / low" in names(content["ratios"])


def test_soak_measures_both_processes() -> None:
    steps = asyncio.run(soak.soak(10))
    assert [step.questions for step in steps] == list(range(11))
    assert all(step.engine > 20 and step.gateway > 20 for step in steps)
    assert soak.table(steps).row_count == 12


def test_soak_compares_the_middle_with_the_end() -> None:
    steps = [Step(0, 50, 80), Step(1, 90, 81), Step(2, 100, 81)]
    assert soak.grown(steps) == {"engine": 10, "gateway": 0}


async def test_clients_that_leave_leave_nothing_behind() -> None:
    result = await disconnects.leave(60)
    assert result.leaked == {"slots": 0, "files": 0, "tasks": 0, "bodies": 0}
    assert (result.asked, result.complete, len(result.times)) == (60, 60, 60)
    assert disconnects.table(result).row_count == 7


async def test_no_turn_is_lost_when_the_gateway_is_killed_or_its_disk_fails() -> None:
    tallies = await crash.crash(2)
    assert [tally.missing for tally in tallies] == [set()] * len(tallies)
    assert all(tally.turns and tally.refused for tally in tallies[1:])  # a kill may come before the first answer
    assert crash.table(tallies).row_count == len(tallies) >= 2


async def test_requests_of_all_kinds_have_their_statuses_and_leave_no_files_open() -> None:
    result = await soak_load.mixed(300)
    assert (result.unexpected, result.files[1] <= result.files[0]) == (0, True)
    assert result.table().row_count == 3


async def test_many_streams_at_once_are_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_load, "STREAMS", 50)
    result = await soak_load.streams(0.05, idle_sessions=3)
    assert (result.complete, result.words) == (50, 50 * 30)
    assert result.table().row_count == 4


def test_what_grows_or_fails_is_a_fault() -> None:
    assert soak_load.Mixed(10, (80, 81.9), (17, 17), 0).faults() == soak_load.Streams(1, 500, 5000, 0.4, (1000, 199)).faults() == []
    assert len(soak_load.Mixed(10, (80, 82.1), (17, 18), 1).faults()) == 3
    assert len(soak_load.Streams(1, 499, 5000, 0.6, (1000, 201)).faults()) == 3


def test_figures() -> None:
    figure = Figure("x", "ms", (3.0, 1.0, 2.0), goal=2.0)
    assert (figure.median, figure.p95, figure.met) == (2.0, 3.0, True)
    assert Figure("x", "ms", tuple(range(1, 101))).p95 == 95
    assert added("x", "ms", [5.0, 6.0], [4.0, 4.0]).values == (1.0, 2.0)
    assert ratio("x", [5.0, 6.0], [4.0, 4.0], 1.0).met is False


@pytest.mark.parametrize(("noise", "least"), [(0, 90.0), (3, 37.0)])
def test_likeness_falls_with_noise(noise: int, least: float) -> None:
    import numpy as np

    image = np.random.default_rng(1).uniform(0, 255, (64, 64, 3))
    other = image + np.random.default_rng(2).normal(0, noise, image.shape)
    assert least < images.psnr(image, other) <= 150
    assert (images.ssim(image, other) > 0.9999) == (noise == 0)
