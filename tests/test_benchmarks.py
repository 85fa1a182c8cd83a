"""Each benchmark runs through in its quick mode and writes what it found; the figures themselves mean nothing here."""

from __future__ import annotations

import asyncio
import json
import platform
from pathlib import Path
from typing import Any

import pytest

from benchmarks import detail, images, overhead, page, pixels, read_ahead, soak, stalls, turn2, turns
from benchmarks.report import Figure, Report, added, ratio
from benchmarks.soak import Step

PERSONAL = (platform.node(), str(Path.home()), str(Path.cwd()))


def written(report: Report, folder: Path) -> dict[str, Any]:
    """The JSON of a report, after what every report must have was found in it."""
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
    assert "CPU per chunk: httpx2 over aiohttp / httpx2 alone" in names(content["ratios"])


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
    assert any(note.startswith("Through us, 2 of 2 were") for note in content["notes"])


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
