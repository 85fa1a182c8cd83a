"""Settings: which source takes precedence, how Ollama's address is read, and clear errors for invalid values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from llava_gateway.settings import Settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("LLAVA_GATEWAY_") or name == "OLLAMA_HOST":
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text('port = 8101\nmodel = "from-file"\nqueue_size = 7\n[models."llava:7b"]\nnum_ctx = 2048\n', "utf-8")
    return path


def test_defaults_need_no_file_and_no_environment() -> None:
    settings = Settings.load()
    assert (settings.host, settings.port, settings.engine, settings.is_loopback) == ("127.0.0.1", 8000, "auto", True)


def test_flags_win_over_the_environment_which_wins_over_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_GATEWAY_PORT", "8102")
    monkeypatch.setenv("LLAVA_GATEWAY_MODEL", "from-environment")
    settings = Settings.load(config, port=8103)
    assert (settings.port, settings.model, settings.queue_size) == (8103, "from-environment", 7)


def test_a_flag_that_was_not_given_is_none_and_changes_nothing(config: Path) -> None:
    assert Settings.load(config, port=None, model=None).model == "from-file"


def test_an_empty_variable_is_no_setting(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_GATEWAY_MODEL", "")
    assert Settings.load(config).model == "from-file"


def test_lists_and_pins_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_GATEWAY_ALLOWED_HOSTS", '["box.local"]')
    monkeypatch.setenv("LLAVA_GATEWAY_MODELS", '{"llava:7b": {"num_ctx": 4096, "num_gpu": 20}}')
    settings = Settings.load()
    assert settings.allowed_hosts == ("box.local",)
    assert (settings.models["llava:7b"].num_ctx, settings.models["llava:7b"].num_gpu) == (4096, 20)


@pytest.mark.parametrize(
    ("written", "fetch", "hosts"),
    [
        ("off", "off", ()),
        (" On ", "on", None),
        ("Upload.Wikimedia.org, *.example.org", ("upload.wikimedia.org", "*.example.org"), ("upload.wikimedia.org", "*.example.org")),
        ('["a.example"]', ("a.example",), ("a.example",)),
        ("[]", "off", ()),
    ],
)
def test_images_are_fetched_from_no_host_from_all_or_from_some(
    monkeypatch: pytest.MonkeyPatch, written: str, fetch: Any, hosts: tuple[str, ...] | None
) -> None:
    monkeypatch.setenv("LLAVA_GATEWAY_FETCH", written)
    settings = Settings.load()
    assert (settings.fetch, settings.fetch_hosts) == (fetch, hosts)


@pytest.mark.parametrize("given", [True, False])
def test_toml_may_write_fetch_as_a_boolean(tmp_path: Path, given: bool) -> None:
    (tmp_path / "settings.toml").write_text(f"fetch = {str(given).lower()}\n")
    assert Settings.load(tmp_path / "settings.toml").fetch == ("on" if given else "off")


@pytest.mark.parametrize("given", ["yes", "1", 5, "https://example.org", "example.org:80", "*", "*.*", ["a.example", None], "a..b"])
def test_fetch_takes_nothing_that_is_no_host(given: Any) -> None:
    with pytest.raises(ValidationError, match=r"is not a host such as upload\.wikimedia\.org"):
        Settings.load(fetch=given)


@pytest.mark.parametrize(
    ("written", "hosts"),
    [
        ("box.local", ("box.local",)),
        ("127.0.0.1, box.local,", ("127.0.0.1", "box.local")),
        ("[::1],box.local", ("[::1]", "box.local")),
        ('["[::1]", "box.local"]', ("[::1]", "box.local")),
        ("[]", ()),
    ],
)
def test_a_list_in_the_environment_has_commas_or_is_json(written: str, hosts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_GATEWAY_ALLOWED_HOSTS", written)
    monkeypatch.setenv("LLAVA_GATEWAY_IMAGE_FORMATS", "png,jpeg")
    assert Settings.load().allowed_hosts == hosts
    assert Settings.load().image_formats == ("PNG", "JPEG")


@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if isinstance(field.default, tuple)])
def test_every_list_takes_commas(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Settings.model_fields[name].default[1:]
    monkeypatch.setenv(f"LLAVA_GATEWAY_{name.upper()}", ", ".join(names))
    assert getattr(Settings.load(), name) == names


def test_one_load_leaves_nothing_for_the_next(config: Path) -> None:
    assert Settings.load(config).port == 8101
    assert Settings.load().port == 8000


@pytest.mark.parametrize(
    ("spelling", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        ("1.2.3.4:5678", "http://1.2.3.4:5678"),
        (":5678", "http://127.0.0.1:5678"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:5678", "http://127.0.0.1:5678"),
        ("http://example.com", "http://example.com:80"),
        ("https://example.com", "https://example.com:443"),
        ("https://example.com:5678", "https://example.com:5678"),
        ("http://example.com/ollama", "http://example.com:80/ollama"),
        ("example.com:5678/ollama/", "http://example.com:5678/ollama"),
        ("[::1]:5678", "http://[::1]:5678"),
        ("[::1]", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[::]:5678", "http://[::1]:5678"),
        (' "1.2.3.4:5678" ', "http://1.2.3.4:5678"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(spelling: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", spelling)
    assert Settings.load().ollama_url == url


def test_our_own_setting_wins_over_ollama_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "1.2.3.4")
    assert Settings.load(ollama_host="5.6.7.8").ollama_url == "http://5.6.7.8:11434"


@pytest.mark.parametrize("own", ["127.0.0.1:8000", "http://localhost:8000", "[::1]:8000", ":8000"])
def test_an_ollama_host_for_our_clients_says_nothing_of_ollama(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", own)
    assert Settings.load(port=8000).ollama_url == "http://127.0.0.1:11434"
    assert Settings.load(port=8001).ollama_url != "http://127.0.0.1:11434"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.20", "::", "box.local"])
def test_off_loopback_needs_a_key(host: str) -> None:
    with pytest.raises(ValidationError, match=r"set LLAVA_GATEWAY_API_KEY first, or listen on 127\.0\.0\.1"):
        Settings.load(host=host)
    assert not Settings.load(host=host, api_key="secret").is_loopback


def test_a_key_is_never_shown() -> None:
    settings = Settings.load(api_key="hush", openai_api_key="hush-too")
    assert settings.api_key == SecretStr("hush")
    assert "hush" not in repr(settings)
    with pytest.raises(ValidationError) as mistake:
        Settings.load(api_key="hush", engine="openai")
    assert "hush" not in str(mistake.value)


def test_an_unknown_key_is_refused_by_its_name(config: Path) -> None:
    config.write_text("prot = 8101\n", "utf-8")
    with pytest.raises(ValidationError, match=r"(?s)prot.*Extra inputs are not permitted"):
        Settings.load(config)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no settings file .*nowhere\.toml"):
        Settings.load(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"port": 65536}, "port"),
        ({"engine": "llamafile"}, "'auto', 'ollama', 'embedded' or 'openai'"),
        ({"engine": "openai"}, "openai_base_url"),
        ({"engine": "ollama", "gguf": "model.gguf"}, "embedded engine, not in ollama"),
        ({"mmproj": "mmproj.gguf"}, "mmproj needs gguf"),
        ({"image_formats": ["JPEG", "QOI"]}, "unknown formats QOI"),
        ({"models": {"llava:7b": {"num_ctx": 1}}}, "num_ctx"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_with_the_reason(flags: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Settings.load(**flags)


def test_gguf_implies_the_embedded_engine() -> None:
    assert Settings.load(gguf="model.gguf").engine_choice == "embedded"
    assert Settings.load().engine_choice == "auto"


def test_formats_can_be_written_in_small_letters() -> None:
    assert Settings.load(image_formats=["png", "Jpeg"]).image_formats == ("PNG", "JPEG")


def test_a_misspelt_variable_is_refused_and_those_of_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_GATEWAY_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("LLAVA_GATEWAY_MODELS__demo__NUM_CTX", "2048")
    assert Settings.load().models["demo"].num_ctx == 2048
    monkeypatch.setenv("LLAVA_GATEWAY_PROT", "9000")
    with pytest.raises(ValidationError, match="environment variable LLAVA_GATEWAY_PROT"):
        Settings.load()
