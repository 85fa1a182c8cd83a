"""What is still missing until an image can be asked about, and what to do about it (pure, but for `ollama_installed`).

It speaks in codes: whoever shows them has the words, in the person's language.
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
Missing: TypeAlias = Literal["ollama_not_used", "ollama_not_installed", "ollama_not_running", "vision_model", "chosen_model"]
Next: TypeAlias = Literal["change_settings", "install_ollama", "start_ollama", "pull_model"]
Platform: TypeAlias = Literal["linux", "macos", "windows"]

NEXT: dict[Missing, Next] = {
    "ollama_not_used": "change_settings",
    "ollama_not_installed": "install_ollama",
    "ollama_not_running": "start_ollama",
    "vision_model": "pull_model",
    "chosen_model": "pull_model",
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
    """A model with vision that Ollama's library has: bytes to download, and what a token of context takes in memory."""

    name: str
    download_bytes: int
    cache_bytes_per_token: int


SUGGESTIONS = (
    Suggestion("llava:7b", 4_700_000_000, 131_072),
    Suggestion("llava:13b", 8_000_000_000, 819_200),
    Suggestion("llava:34b", 20_000_000_000, 245_760),
)
"""Sizes as https://ollama.com/library/llava/tags gives them; the cache follows from layers, key-value heads and their width, as in
memory.py: 32, 8, 128 (Mistral 7B); 40, 40, 128 (Vicuna 13B); 60, 8, 128 (Yi 34B)."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How far the set-up is.

    Attributes:
        state: "ready": a model that sees answers; "demo": the built-in one does, which has never seen a photo; "no_model".
        missing: the first thing between here and "ready"; None where nothing is missing.
        installed: whether Ollama is on this machine; None where it runs on another.
        running, version: what the Ollama of the settings says of itself.
    """

    state: State
    missing: Missing | None
    platform: Platform
    installed: bool | None
    running: bool
    version: str


def advise(pool: PoolState, settings: Settings, installed: bool | None, platform: Platform) -> Setup:
    """`installed` is what `ollama_installed` says."""
    ollama = next((engine for engine in pool.engines if engine.name == "ollama"), None)
    running = ollama is not None and ollama.health.ok
    return Setup(
        state=_state(pool, settings),
        missing=_missing(pool, settings, ollama, installed),
        platform=platform,
        installed=True if running and installed is not None else installed,
        running=running,
        version=ollama.health.version if ollama else "",
    )


def _state(pool: PoolState, settings: Settings) -> State:
    model = pool.default.model
    if model is None or not model.vision:
        return "no_model"
    return "demo" if model.engine == "embedded" and settings.gguf is None else "ready"


def _missing(pool: PoolState, settings: Settings, ollama: EngineState | None, installed: bool | None) -> Missing | None:
    if _state(pool, settings) == "ready":
        return None
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
    """Whether this machine has Ollama, by its program or its app; None where the settings name one on another machine."""
    host = urlsplit(settings.ollama_url).hostname or ""
    if host != "localhost" and not is_loopback(host):
        return None
    windows = Path(os.environ.get("LOCALAPPDATA", ""), "Programs", "Ollama", "ollama.exe")
    return shutil.which("ollama") is not None or windows.is_file() or Path("/Applications/Ollama.app").is_dir()
