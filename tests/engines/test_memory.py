"""Whether a model fits, from figures that follow from its files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llava_gateway.engines.base import ModelInfo
from llava_gateway.engines.memory import Machine, cache_bytes_per_token, fit, gpu_in_use, machine, prompt_cache
from llava_gateway.settings import MiB

GB = 10**9
LLAVA = ModelInfo("llava:7b", "ollama", vision=True, context_length=32768, size_bytes=4_700_000_000, cache_bytes_per_token=131_072)
MISTRAL = {"llama.block_count": 32, "llama.embedding_length": 4096, "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8}


@pytest.mark.parametrize(
    ("total", "available", "gpu", "verdict"),
    [(16, 8, 0, "fits"), (16, 4, 0, "tight"), (16, 4, 2, "fits"), (4, 3, 0, "over"), (4, 3, 4, "fits")],
)
def test_verdicts_on_a_model_that_is_not_loaded(total: int, available: int, gpu: int, verdict: str) -> None:
    found = fit(LLAVA, Machine(total * GB, available * GB), gpu_bytes=gpu * GB)
    assert found
    assert (found.verdict, found.estimated, found.gpu, found.context) == (verdict, True, None, 4096)
    assert found.needed == 4_700_000_000 + 470_000_000 + 4096 * 131_072


@pytest.mark.parametrize(("pinned", "own", "context"), [(None, None, 4096), (None, 8192, 8192), (2048, 8192, 2048), (10**6, None, 32768)])
def test_the_context_is_the_pinned_one_or_the_models_own(pinned: int | None, own: int | None, context: int) -> None:
    found = fit(replace(LLAVA, own_context=own), Machine(16 * GB, 8 * GB), num_ctx=pinned)
    assert found
    assert found.context == context


def test_what_the_engine_has_measured_is_no_estimate() -> None:
    loaded = replace(LLAVA, loaded=True, loaded_context=8192, memory_bytes=6 * GB, gpu_bytes=5 * GB)
    found = fit(loaded, Machine(4 * GB, GB))
    assert found
    assert (found.verdict, found.needed, found.gpu, found.context, found.estimated) == ("loaded", 6 * GB, 5 * GB, 8192, False)


def test_a_figure_below_the_size_of_the_files_is_not_taken_for_a_measurement() -> None:
    guessed = replace(LLAVA, loaded=True, loaded_context=8192, memory_bytes=4 * GB, gpu_bytes=4 * GB)
    found = fit(guessed, Machine(4 * GB, GB))
    assert found
    assert (found.verdict, found.gpu, found.estimated, found.needed > 5 * GB) == ("loaded", None, True, True)
    known = replace(guessed, memory_bytes=6 * GB, gpu_bytes=5 * GB)
    assert gpu_in_use([guessed, known, LLAVA]) == 5 * GB


def test_a_loaded_model_whose_engine_does_not_measure() -> None:
    found = fit(replace(LLAVA, engine="embedded", loaded=True, loaded_context=4096), Machine(4 * GB, GB))
    assert found
    assert (found.verdict, found.estimated) == ("loaded", True)


def test_the_prompt_cache_counts_in_the_verdict() -> None:
    bare = fit(LLAVA, Machine(16 * GB, 6 * GB))
    found = fit(replace(LLAVA, prompt_cache_bytes=GB), Machine(16 * GB, 6 * GB))
    assert bare
    assert found
    assert found.needed == bare.needed + GB
    assert (bare.verdict, found.verdict) == ("fits", "tight")


@pytest.mark.parametrize(
    ("weights", "cache_per_token", "context", "bytes_"),
    [
        (4_000_000_000, 100_000, 8192, 819_200_000),  # as much as the context
        (4_000_000_000, 500_000, 4096, 1_000_000_000),  # at most a quarter of the files
        (4_000_000_000, None, 8192, 1_000_000_000),
        (5_000_000, 2560, 4096, 16 * MiB),
    ],
)
def test_the_prompt_cache_is_in_proportion_to_the_model(weights: int, cache_per_token: int | None, context: int, bytes_: int) -> None:
    assert prompt_cache(weights, cache_per_token, context) == bytes_


def test_nothing_is_said_of_a_model_of_unknown_size() -> None:
    assert fit(replace(LLAVA, size_bytes=None), Machine(16 * GB, 8 * GB)) is None


@pytest.mark.parametrize(
    ("change", "bytes_"),
    [
        ({}, 32 * 8 * (128 + 128) * 2),
        ({"llama.attention.key_length": 64, "llama.attention.value_length": 96}, 32 * 8 * (64 + 96) * 2),
        ({"llama.attention.head_count_kv": None}, None),  # Ollama leaves out lists, because they differ from layer to layer
        ({"llama.block_count": None}, None),
    ],
)
def test_what_a_token_takes_follows_from_layers_and_heads(change: dict[str, Any], bytes_: int | None) -> None:
    assert cache_bytes_per_token({**MISTRAL, **change}, "llama") == bytes_


def test_without_shared_heads_every_head_has_its_own() -> None:
    plain = {key: value for key, value in MISTRAL.items() if not key.endswith("_kv")}
    assert cache_bytes_per_token(plain, "llama") == 32 * 4096 * 2 * 2
    assert cache_bytes_per_token({}, "") is None


def test_this_machine_has_memory() -> None:
    memory = machine()
    assert 0 < memory.available <= memory.total
