"""Model names by Ollama's rules."""

from __future__ import annotations

import pytest

from llava_gateway.engines.ollama_names import is_cloud, is_loopback, name_key, parse_name, tagged
from llava_gateway.errors import CloudModelRefused, InvalidModelName


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("llava", "registry.ollama.ai/library/llava:latest"),
        ("LLaVA:7B", "registry.ollama.ai/library/llava:7b"),
        ("library/llava:7b", "registry.ollama.ai/library/llava:7b"),
        ("me/llava_x-1.5", "registry.ollama.ai/me/llava_x-1.5:latest"),
        ("hf.co/me/llava-GGUF:Q4_K_M", "hf.co/me/llava-gguf:q4_k_m"),
        ("127.0.0.1:5000/library/demo", "127.0.0.1:5000/library/demo:latest"),
    ],
)
def test_all_spellings_of_a_name_have_one_key(text: str, key: str) -> None:
    assert parse_name(text).key == key


def test_what_ollama_would_reject_is_its_own_key() -> None:
    assert [name_key(text) for text in ("/models/LLaVA.gguf", "a b", "gpt-oss:Cloud")] == [
        *("/models/LLaVA.gguf", "a b", "registry.ollama.ai/library/gpt-oss:cloud")
    ]


@pytest.mark.parametrize(
    "text",
    ["", " ", ":", "llava:", ":7b", "/llava", "a//b", "a/b/c/d", "-a", ".a", "a b", "llava:7b:local", "llava:local", "hf.co/x", "a@b", "é",
     "x" * 81, "a\nb", "http://a/b/c", "a\\b", "~", "../a"],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(InvalidModelName):
        parse_name(text)


@pytest.mark.parametrize("text", ["gpt-oss:cloud", "gpt-oss:120b-cloud", "gpt-oss:20b:cloud", " x:CLOUD "])
def test_cloud_models_are_told_by_their_names(text: str) -> None:
    assert is_cloud(text)
    with pytest.raises(CloudModelRefused):
        parse_name(text)


def test_a_name_with_cloud_in_it_is_none_of_the_cloud() -> None:
    assert not is_cloud("my-cloud-model")
    assert parse_name("cloud:7b").model == "cloud"


@pytest.mark.parametrize(
    ("name", "here"), [("127.0.0.1:5000/a/b", True), ("localhost/a/b", True), ("llava", False), ("10.0.0.1/a/b", False)]
)
def test_registries_of_this_machine(name: str, here: bool) -> None:
    assert parse_name(name).from_this_machine is here


@pytest.mark.parametrize(
    ("address", "is_it"), [("127.0.0.1", True), ("::1", True), ("::ffff:127.1.1.1", True), ("::", False), ("x", False)]
)
def test_loopback_addresses(address: str, is_it: bool) -> None:
    assert is_loopback(address) is is_it


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("demo", "demo:latest"),
        ("llava:7b", "llava:7b"),
        ("hf.co:5000/me/demo", "hf.co:5000/me/demo:latest"),
        ("me/x:Q4", "me/x:Q4"),
    ],
)
def test_a_name_without_a_tag_is_listed_with_latest(name: str, listed: str) -> None:
    assert tagged(name) == listed
