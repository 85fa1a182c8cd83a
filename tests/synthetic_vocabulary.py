"""Small vocabularies for each kind of tokenizer, and a minimal model around each, so that the real llama.cpp can count with them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
TEXT = """
The quick brown fox jumps over the lazy dog. It's what they've said: we'll see, I'm sure, you'd say. Don't! CamelCase and snake_case, HTML5.
def count(self, text: str) -> int:\n    return sum(1 for word in text.split())\n\n\nprint("hello, world!", 12345, 3.14159, 0xFF)
12345 12345 2024-11-21 2024-11-21 000 000 they've they've XMLHttpRequest XMLHttpRequest camelCase camelCase HTML5's HTML5's
== == $$ $$ नमस्ते नमस्ते
图片里有什么？一个红色的圆形在白色的背景上。这张图片显示了什么文字？请用中文回答。第一张图片中，圆形是什么颜色的？
Ünïcödé naïve café Straße été ñandú. Привет, мир! Что на картинке? こんにちは世界。画像には何がありますか？ 안녕하세요 세계
"""
"""The text from which the vocabularies are learned."""


def by_score(*, space_prefix: bool = True) -> dict[str, Any]:
    """Build a vocabulary as in llama 2 (and gemma, without the space before the first word): scored pieces, bytes for the rest."""
    words = Counter(word for line in TEXT.splitlines() for word in ("\u2581" + line.strip().replace(" ", " \u2581")).split(" "))
    merges = _learn({tuple(word): count for word, count in words.items()}, 400)
    letters = sorted({letter for word in words for letter in word if letter not in "чрñ界"})  # some letters are left to bytes
    parts = [*merges, *letters, "\u2581\u2581", "\u2581\u2581\u2581\u2581"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *parts, "<|tool|>", "<image>", "<image>s"]
    return _info("llama") | {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * 259 + [-float(i // 2) for i in range(len(parts))] + [0.0] * 3,
        "tokenizer.ggml.token_type": [
            UNKNOWN,
            CONTROL,
            CONTROL,
            *[BYTE] * 256,
            *[NORMAL] * len(parts),
            CONTROL,
            USER_DEFINED,
            USER_DEFINED,
        ],
        "tokenizer.ggml.add_space_prefix": space_prefix,
    }


def by_merges(pre: str) -> dict[str, Any]:
    """Build a vocabulary as in GPT-2, with the pre-tokenizer `pre`."""
    letters = _gpt2_letters()
    words = Counter("".join(letters[byte] for byte in word.encode()) for word in TEXT.replace("\n", " \n").replace(" ", "\0 ").split("\0"))
    pairs = _learn_pairs({tuple(word): count for word, count in words.items() if word}, 500)
    parts = [*letters, *dict.fromkeys(left + right for left, right in pairs)]
    tokens = ["<s>", "</s>", *parts, "<|im_start|>", "<|im_end|>", "<image>", "<image>s", letters[32] * 3 + "x"]
    return _info("gpt2") | {
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in pairs],
        "tokenizer.ggml.token_type": [CONTROL, CONTROL, *[NORMAL] * len(parts), CONTROL, NORMAL, USER_DEFINED, USER_DEFINED, NORMAL],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }


def gemma_4() -> dict[str, Any]:
    """Build a vocabulary with merges over whole lines, spaces as in `by_score`, and bytes for the rest."""
    words = Counter("\u2581" + word for word in TEXT.replace("\n", " ").split())
    pairs = [*_learn_pairs({tuple(word): count for word, count in words.items()}, 300), ("\n", "\n")]
    letters = sorted({letter for word in words for letter in word if letter not in "чрñ界"})
    parts = [*letters, "\n", *dict.fromkeys(left + right for left, right in pairs)]
    tokens = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *parts,
        "<|turn>",
        "<turn|>",
        "</s>",
        "<|tool_response>",
    ]
    return _info("gemma4") | {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in pairs],
        "tokenizer.ggml.token_type": [CONTROL, CONTROL, CONTROL, UNKNOWN, *[BYTE] * 256, *[NORMAL] * len(parts), *[CONTROL] * 4],
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
    }


def write_model(path: Path, info: dict[str, Any], width: int = 32) -> None:
    """Write a GGUF of one layer with this vocabulary, for llama.cpp."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 2)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for key, value in info.items():
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case str():
                writer.add_string(key, value)
            case _:
                writer.add_array(key, value)
    for name, shape in {
        "token_embd.weight": (len(info["tokenizer.ggml.tokens"]), width),
        "output_norm.weight": (width,),
        **{f"blk.0.{part}_norm.weight": (width,) for part in ("attn", "ffn")},
        **{
            f"blk.0.{part}.weight": (width, width)
            for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
        },
    }.items():
        writer.add_tensor(name, np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _info(model: str) -> dict[str, Any]:
    return {"tokenizer.ggml.model": model}


def _learn(words: dict[tuple[str, ...], int], count: int) -> list[str]:
    return list(dict.fromkeys(left + right for left, right in _learn_pairs(words, count)))


def _learn_pairs(words: dict[tuple[str, ...], int], count: int) -> list[tuple[str, str]]:
    """Learn byte pair encoding: repeatedly join the most frequent pair."""
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        seen: Counter[tuple[str, str]] = Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                seen[pair] += times
        if not seen:
            break
        best = max(seen, key=lambda pair: (seen[pair], pair))
        pairs.append(best)
        words = _joined(words, best)
    return pairs


def _joined(words: dict[tuple[str, ...], int], pair: tuple[str, str]) -> dict[tuple[str, ...], int]:
    joined: Counter[tuple[str, ...]] = Counter()
    for word, times in words.items():
        parts: list[str] = []
        for part in word:
            if parts and (parts[-1], part) == pair:
                parts[-1] += part
            else:
                parts.append(part)
        joined[tuple(parts)] += times
    return joined


def _gpt2_letters() -> list[str]:
    """Return the letter for each byte."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
