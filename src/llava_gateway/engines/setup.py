"""Finds out what is missing before the user can ask about an image, and what to do about it (pure, except `ollama_installed`).

It returns codes. The page and the command line have the words, in the user's language.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from llava_gateway.engines.ollama_names import is_loopback
from llava_gateway.engines.pool import EngineState, PoolState
from llava_gateway.settings import Settings

State: TypeAlias = Literal["ready", "demo", "no_model"]
Missing: TypeAlias = Literal[
    "ollama_not_used", "ollama_not_installed", "ollama_not_running", "vision_model", "chosen_model", "embedded_not_installed"
]
Next: TypeAlias = Literal["change_settings", "install_ollama", "start_ollama", "pull_model", "install_embedded"]
Platform: TypeAlias = Literal["linux", "macos", "windows"]

NEXT: dict[Missing, Next] = {
    "ollama_not_used": "change_settings",
    "ollama_not_installed": "install_ollama",
    "ollama_not_running": "start_ollama",
    "vision_model": "pull_model",
    "chosen_model": "pull_model",
    "embedded_not_installed": "install_embedded",
}
DOWNLOAD_PAGE = "https://ollama.com/download"
INSTALL_COMMANDS: dict[Platform, str] = {
    "linux": "curl -fsSL https://ollama.com/install.sh | sh",
    "macos": "curl -fsSL https://ollama.com/install.sh | sh",
    "windows": "irm https://ollama.com/install.ps1 | iex",
}
START_COMMANDS: dict[Platform, str] = {"linux": "ollama serve", "macos": "open -a Ollama", "windows": "ollama serve"}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A vision model in Ollama's library: bytes to download, and bytes of memory for each token of context."""

    name: str
    download_bytes: int
    cache_bytes_per_token: int


SUGGESTIONS = (
    Suggestion("llava:7b", 4_700_000_000, 131_072),
    Suggestion("llava:13b", 8_000_000_000, 819_200),
    Suggestion("llava:34b", 20_000_000_000, 245_760),
)
"""Sizes from https://ollama.com/library/llava/tags. The cache follows from layers, key-value heads and their width, as in memory.py:
32, 8, 128 (Mistral 7B); 40, 40, 128 (Vicuna 13B); 60, 8, 128 (Yi 34B)."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The state of the set-up.

    Attributes:
        state: "ready": a vision model answers; "demo": the built-in model answers, which has never seen a photo; "no_model".
        missing: the first step towards "ready"; None if nothing is missing.
        installed: whether Ollama is on this machine; None if the settings name another machine.
        running, version: the state of the Ollama in the settings.
        embedded_installed: whether the package of the embedded engine is installed; true as well if the settings don't use it.
    """

    state: State
    missing: Missing | None
    platform: Platform
    installed: bool | None
    running: bool
    version: str
    embedded_installed: bool


def advise(pool: PoolState, settings: Settings, installed: bool | None, platform: Platform) -> Setup:
    """Return the state of the set-up. `installed` is the result of `ollama_installed`."""
    ollama = next((engine for engine in pool.engines if engine.name == "ollama"), None)
    running = ollama is not None and ollama.health.ok
    return Setup(
        state=_state(pool, settings),
        missing=_missing(pool, settings, ollama, installed),
        platform=platform,
        installed=True if running and installed is not None else installed,
        running=running,
        version=ollama.health.version if ollama else "",
        embedded_installed=all(engine.health.installed for engine in pool.engines),
    )


def _state(pool: PoolState, settings: Settings) -> State:
    model = pool.default.model
    if model is None or not model.vision:
        return "no_model"
    return "demo" if model.engine == "embedded" and settings.gguf is None else "ready"


def _missing(pool: PoolState, settings: Settings, ollama: EngineState | None, installed: bool | None) -> Missing | None:
    if _state(pool, settings) == "ready":
        return None
    if ollama is None and not all(engine.health.installed for engine in pool.engines):
        return "embedded_not_installed"
    if ollama is None:
        return "ollama_not_used"
    if not ollama.health.ok:
        return "ollama_not_installed" if installed is False else "ollama_not_running"
    if not any(model.vision for model in ollama.models):
        return "vision_model"
    return "chosen_model" if pool.default.model is None else None


def this_platform() -> Platform:
    if sys.platform == "darwin":
        return "macos"
    return "windows" if sys.platform == "win32" else "linux"


def ollama_installed(settings: Settings) -> bool | None:
    """Look for Ollama's program or app on this machine. Returns None if the settings name an Ollama on another machine."""
    host = urlsplit(settings.ollama_url).hostname or ""
    if host != "localhost" and not is_loopback(host):
        return None
    windows = Path(os.environ.get("LOCALAPPDATA", ""), "Programs", "Ollama", "ollama.exe")
    return shutil.which("ollama") is not None or windows.is_file() or Path("/Applications/Ollama.app").is_dir()
