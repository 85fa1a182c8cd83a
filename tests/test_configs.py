"""The settings files of configs/ are ready to run: each loads, explains its use, and keeps the promise of its first line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from llava_gateway.built_in import built_in_presets
from llava_gateway.settings import Settings

CONFIGS = Path(__file__).parents[1] / "configs"
SETTINGS_FILES = sorted(CONFIGS.glob("*.toml"), key=lambda path: path.name)
SETTINGS_FILES.remove(CONFIGS / "presets.toml")
SETTINGS_FILES.remove(CONFIGS / "vision.toml")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OLLAMA_HOST", "LLAVA_GATEWAY_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("path", SETTINGS_FILES, ids=lambda path: path.stem)
def test_loads_and_tells_how_to_use_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_GATEWAY_API_KEY", "a-key-for-lan")
    settings = Settings.load(path)
    for key, value in tomllib.loads(path.read_text("utf-8")).items():
        got = getattr(settings, key)
        assert (list(got) if isinstance(got, tuple) else got) == value or key == "models"
    assert f"llava-gateway serve --config configs/{path.name}" in path.read_text("utf-8")


@pytest.mark.parametrize("path", SETTINGS_FILES, ids=lambda path: path.stem)
def test_the_commented_settings_exist_too(path: Path) -> None:
    commented = re.findall(r"^# (\w+) = ", path.read_text("utf-8"), re.MULTILINE)
    assert set(commented) <= set(Settings.model_fields)


def test_ollama_pins_what_would_load_the_model_again() -> None:
    settings = Settings.load(CONFIGS / "ollama.toml")
    assert settings.engine_choice == "ollama"
    assert settings.models["llava:7b"].num_ctx == 8192
    assert settings.preset in built_in_presets()


def test_embedded_needs_nothing_else() -> None:
    settings = Settings.load(CONFIGS / "embedded.toml")
    assert (settings.engine_choice, settings.gguf, settings.is_loopback) == ("embedded", None, True)


def test_lan_does_not_start_without_a_key() -> None:
    with pytest.raises(ValueError, match="LLAVA_GATEWAY_API_KEY"):
        Settings.load(CONFIGS / "lan.toml")


def test_presets_are_ordered_from_exact_to_free() -> None:
    presets = built_in_presets()
    assert list(presets) == ["factual", "balanced", "creative"]
    assert (presets["factual"]["temperature"], presets["creative"]["temperature"]) == (0.2, 0.7)
    assert all(preset["about"] for preset in presets.values())
