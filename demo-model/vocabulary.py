"""Make tokenizer.json: a byte-level BPE over questions and answers, in which quoted text is split into single letters.

python vocabulary.py [FILE]
"""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from demo_images import draw_scene
from questions import GREETINGS, ask

FILE = Path(__file__).with_name("tokenizer.json")
BOS, EOS, PAD = 0, 1, 2
SPECIAL = ("<s>", "</s>", "<pad>")


def make_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=20,
    )
    tokenizer.train_from_iterator([_without_text(line) for line in _corpus()], trainer)
    return tokenizer


def _corpus() -> list[str]:
    r = random.Random(0)
    lines: list[str] = []
    for _ in range(20_000):
        scene = draw_scene(r).scene
        lines += [*ask(r, scene, False), *ask(r, scene, True)]
    return lines + [line for pair in GREETINGS for line in pair] * 50 + ["USER:", "ASSISTANT:"] * 2000


def _without_text(line: str) -> str:
    """Remove quoted text of images, so that BPE learns no merges from it and the model reads it letter by letter."""
    return re.sub(r"“[A-Z0-9]{1,4}”", "“”", re.sub(r'"[A-Z0-9]{1,4}"', '""', line))


if __name__ == "__main__":
    make_tokenizer().save(sys.argv[1] if len(sys.argv) > 1 else str(FILE))
