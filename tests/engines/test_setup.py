"""What is missing before the user can ask about an image, in every state that a machine can be in."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_gateway.engines.base import EngineName, Health, ModelInfo
from llava_gateway.engines.pool import EngineState, PoolState, choose_default
from llava_gateway.engines.setup import INSTALL_COMMANDS, NEXT, START_COMMANDS, Setup, advise, ollama_installed, this_platform
from llava_gateway.settings import Settings

DEMO = ("embedded", ModelInfo("demo", "embedded", vision=True))


def pool(settings: Settings, *engines: tuple[EngineName, ModelInfo | None] | EngineName) -> PoolState:
    """Return the state of a pool: each engine with its model, without one, or (only its name) not answering."""
    states = tuple(
        EngineState(one, Health(False)) if isinstance(one, str) else EngineState(one[0], Health(True, "1.0"), (one[1],) if one[1] else ())
        for one in engines
    )
    return PoolState(states, choose_default(states, settings))


def seeing(name: str = "llava:7b", *, vision: bool = True) -> tuple[EngineName, ModelInfo]:
    return "ollama", ModelInfo(name, "ollama", vision=vision)


@pytest.mark.parametrize(
    ("engines", "given", "installed", "state", "missing"),
    [
        (("ollama", DEMO), {}, False, "demo", "ollama_not_installed"),
        (("ollama", DEMO), {}, True, "demo", "ollama_not_running"),
        (("ollama", DEMO), {}, None, "demo", "ollama_not_running"),
        ((("ollama", None), DEMO), {}, True, "demo", "vision_model"),
        ((seeing(vision=False), DEMO), {}, True, "demo", "vision_model"),
        ((seeing(vision=False),), {"engine": "ollama"}, True, "no_model", "vision_model"),
        ((seeing(), DEMO), {}, True, "ready", None),
        ((seeing(), DEMO), {"model": "demo"}, True, "demo", None),
        ((seeing(), DEMO), {"model": "llava:13b"}, True, "no_model", "chosen_model"),
        ((DEMO,), {"engine": "embedded"}, True, "demo", "ollama_not_used"),
        ((DEMO,), {"gguf": Path("x.gguf")}, False, "ready", None),
        (("ollama", ("openai", ModelInfo("x", "openai", vision=True))), {"openai_base_url": "http://x/v1"}, False, "ready", None),
    ],
)
def test_the_first_thing_that_is_missing(
    engines: tuple[tuple[EngineName, ModelInfo | None] | EngineName, ...],
    given: dict[str, object],
    installed: bool | None,
    state: str,
    missing: str | None,
) -> None:
    settings = Settings(**given)  # type: ignore[arg-type]
    found = advise(pool(settings, *engines), settings, installed, "linux")
    assert (found.state, found.missing) == (state, missing)
    assert missing is None or NEXT[found.missing]  # type: ignore[index]


def test_an_engine_that_is_not_installed_is_told_where_nothing_else_is_to_be_had() -> None:
    def found(*engines: EngineState) -> Setup:
        return advise(PoolState(engines, choose_default(engines, Settings())), Settings(), False, "linux")

    absent = EngineState("embedded", Health(False, installed=False))
    assert (found(absent).missing, found(absent).embedded_installed) == ("embedded_not_installed", False)
    with_ollama = found(EngineState("ollama", Health(False)), absent)
    assert (with_ollama.missing, with_ollama.embedded_installed) == ("ollama_not_installed", False)


def test_an_ollama_that_runs_is_installed_wherever_its_program_is() -> None:
    settings = Settings()
    assert advise(pool(settings, seeing()), settings, False, "linux").installed is True
    assert advise(pool(settings, seeing()), settings, None, "linux").installed is None


def test_ollama_is_found_by_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert ollama_installed(Settings()) is False
    program = tmp_path / "ollama"
    program.touch(mode=0o755)
    assert ollama_installed(Settings()) is True
    assert ollama_installed(Settings(ollama_host="gpu-box:11434")) is None
    program.unlink()
    app = tmp_path / "local" / "Programs" / "Ollama" / "ollama.exe"
    app.parent.mkdir(parents=True)
    app.touch()
    assert ollama_installed(Settings(ollama_host="[::1]:11434")) is True


@pytest.mark.parametrize(("system", "platform"), [("linux", "linux"), ("darwin", "macos"), ("win32", "windows"), ("freebsd14", "linux")])
def test_every_platform_has_its_commands(system: str, platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", system)
    assert this_platform() == platform
    assert INSTALL_COMMANDS[this_platform()]
    assert START_COMMANDS[this_platform()]
