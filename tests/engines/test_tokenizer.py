"""Our token counts against llama.cpp's own."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llava_gateway.engines.tokenizer import Tokenizer
from tests.llama_server import client_of, llama_server
from tests.synthetic_vocabulary import by_merges, by_score, gemma_4, write_model

pytestmark = pytest.mark.real

PIECES = (
    *("hello", " world", "Hello", "don't", "I'LL", "they've", "'re", "'S", " 12345", "3.14159", "2024-11-21", "00", "000"),
    *(" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n", "\n  ", "\x0b", "\x1c", "\x00", "\u00a0", "\u3000", "\u2028", "\u0085"),
    *("图片里有什么", "一个红色的圆形", "。", "，", "？", "こんにちは", "안녕하세요", "Привет, мир!", "naïve", "e\u0301"),
    *("नमस्ते", "مرحبا", "𠀀", "😀", "👨‍👩‍👧", "🇩🇪", "❤️", "Ⅷ", "½", "١٢٣", "ﬁ"),
    *(
        "def f(x):\n    return x\n",
        "camelCase",
        "XMLHttpRequest",
        "ÀbcDef",
        "==",
        "&&",
        "…",
        "$$",
        "https://x.org/a?b=%20",
        "’s",
        '"',
        "`",
        "_",
    ),
    *("</s>", "<s>", "<unk>", "<image>", "<image>s", "<|im_start|>", "<|im_end|>", "<|tool|>", "<turn|>", "<|tool_response>"),
    *("<|im_", "end|>", "<", "[INST]", "<0x0A>", "▁", "▁▁", "USER: ", "ASSISTANT:"),
)
PRES = ("default", "gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "tekken", "gpt-4o", "deepseek-v3")
VOCABULARIES: dict[str, Callable[[], dict[str, Any]]] = {
    "llama": by_score,
    "llama without a space before it": partial(by_score, space_prefix=False),
    "gemma4": gemma_4,
    **{pre: partial(by_merges, pre) for pre in PRES},
}


def texts() -> list[str]:
    """Return every piece alone, and mixtures."""
    choose = random.Random(0)
    mixed = ["".join(choose.choices(PIECES, k=choose.randint(2, 12))) for _ in range(100)]
    stray = "".join(chr(choose.choice((choose.randint(1, 127), choose.randint(128, 0x2FFF), 0x1F300 + i))) for i in range(200))
    return ["", *PIECES, *mixed, stray]


@asynccontextmanager
async def llama_cpp(gguf: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with llama_server("words", gguf, None, 256) as server, client_of(server) as client:
        yield client


async def counted(client: httpx2.AsyncClient, content: str | list[str], *, framed: bool = True) -> int:
    answer = await client.post("/tokenize", json={"content": content, "add_special": framed, "parse_special": True})
    return len(answer.json()["tokens"])


@pytest.mark.parametrize("name", VOCABULARIES)
async def test_counts_as_llama_cpp_does(name: str, tmp_path: Path) -> None:
    info = VOCABULARIES[name]()
    write_model(tmp_path / "words.gguf", info)
    tokenizer = Tokenizer.from_metadata(info)
    assert tokenizer is not None
    async with llama_cpp(tmp_path / "words.gguf") as client:
        for text in texts():
            assert (text, tokenizer.count(text)) == (text, await counted(client, text, framed=False))
        # As around images: each segment alone, BOS and EOS once.
        for segments in (["a b", " c", ""], ["", "\n图片", "</s>"], ["USER: ", "\n", " hello ASSISTANT:"]):
            assert (segments, tokenizer.count_prompt(segments)) == (segments, await counted(client, segments))


def test_patterns_of_words_make_a_difference() -> None:
    """Otherwise the test above would prove less than it claims."""
    counts, info = {}, by_merges("gpt-2")
    for pre in PRES:
        tokenizer = Tokenizer.from_metadata(info | {"tokenizer.ggml.pre": pre})
        assert tokenizer is not None
        counts[pre] = tuple(tokenizer.count(text) for text in texts())
    assert len(set(counts.values())) == len(counts)


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"tokenizer.ggml.model": "t5", "tokenizer.ggml.tokens": ["a"]},
        {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": []},
        {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["a"]},
        by_merges("a pattern of tomorrow"),
    ],
)
def test_what_is_not_known_is_not_guessed(info: dict[str, Any]) -> None:
    assert Tokenizer.from_metadata(info) is None


def test_of_phi_3_the_numbers_may_be_off() -> None:
    info = by_score()
    assert (tokenizer := Tokenizer.from_metadata(info)) is not None
    assert tokenizer.exact
    info["tokenizer.ggml.tokens"][-3:] = ["<|user|>", "<|assistant|>", "<|end|>"]
    info["tokenizer.ggml.token_type"][-3:] = [3, 3, 3]
    assert (tokenizer := Tokenizer.from_metadata(info)) is not None
    assert not tokenizer.exact
