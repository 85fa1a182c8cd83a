"""GGUF headers: the facts in the shipped and the written models, and files that are no GGUF."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from llava_gateway.engines.gguf import GGUFError, read_header
from llava_gateway.images.facts import VisionFacts
from tests.synthetic_llava import PINPOINTS_16, write_pair

DEMO = Path(__file__).parents[2] / "src" / "llava_gateway" / "demo"


def test_the_demo_model_tells_what_it_is() -> None:
    header = read_header(DEMO / "demo.gguf")
    assert header.architecture == "llama"
    assert header.name == "llava-demo"
    assert header.quantization == "F16"
    assert header.context_length == 4096
    assert "ASSISTANT:" in header.chat_template
    assert not header.is_projector
    assert header.size_bytes == (DEMO / "demo.gguf").stat().st_size


def test_its_projector_tells_what_it_sees() -> None:
    header = read_header(DEMO / "demo-mmproj.gguf")
    assert header.is_projector
    assert header.context_length is None
    assert header.vision_facts == VisionFacts("mlp", 112, 14)


def test_the_grids_of_llava_1_6_are_pairs(tmp_path: Path) -> None:
    facts = read_header(write_pair(tmp_path, side=336, pinpoints=PINPOINTS_16).mmproj).vision_facts
    assert facts == VisionFacts("mlp", 336, 14, ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)))


def test_long_lists_are_stepped_over() -> None:
    metadata = read_header(DEMO / "demo.gguf").metadata
    assert "tokenizer.ggml.tokens" not in metadata  # 900 words
    assert "tokenizer.ggml.token_type" not in metadata  # 900 numbers
    assert metadata["tokenizer.ggml.eos_token_id"] == 1  # comes after both arrays


def gguf(*pairs: bytes, version: int = 3, count: int | None = None) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs) if count is None else count) + b"".join(pairs)


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def test_a_projector_without_a_type_is_the_first_llavas(tmp_path: Path) -> None:
    path = tmp_path / "old.gguf"
    path.write_bytes(gguf(string(b"clip.has_llava_projector") + struct.pack("<I?", 7, True)))
    assert read_header(path).vision_facts.projector_type == "mlp"


@pytest.mark.parametrize(
    ("data", "reason", "values"),
    [
        (b"", "gguf_none", {}),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "gguf_none", {}),
        (b"GGUF", "gguf_damaged", {}),
        (gguf(version=1), "gguf_version", {"version": 1}),
        (gguf(count=2**60), "gguf_damaged", {}),
        (gguf(struct.pack("<Q", 2**63) + b"key"), "gguf_damaged", {}),
        (gguf(string(b"key") + struct.pack("<I", 99)), "gguf_type", {"kind": 99}),
        (gguf(string(b"key") + struct.pack("<IIQ", 9, 9, 1)), "gguf_type", {"kind": 9}),
        (gguf(string(b"key") + struct.pack("<IIQ", 9, 4, 2**62)), "gguf_damaged", {}),
        (gguf(string(b"key") + struct.pack("<IIQ", 9, 8, 2**62)), "gguf_damaged", {}),
        (gguf(string(b"key") + struct.pack("<I", 8) + string(b"\xff")), "gguf_damaged", {}),
    ],
)
def test_what_is_no_gguf_is_refused_without_its_path(tmp_path: Path, data: bytes, reason: str, values: dict[str, int]) -> None:
    path = tmp_path / "secret-name.gguf"
    path.write_bytes(data)
    with pytest.raises(GGUFError) as caught:
        read_header(path)
    assert (caught.value.reason, caught.value.values) == (reason, values)
    assert "secret-name" not in str(caught.value)


def test_every_cut_of_a_real_header_is_refused_or_read(tmp_path: Path) -> None:
    whole = (DEMO / "demo-mmproj.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    for length in range(0, 800, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(GGUFError):
            read_header(path)
