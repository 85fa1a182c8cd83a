"""Train the demo model on generated conversations, on two CPU cores; README.md describes the runs that made the shipped files.

python train.py --steps N --batch B --rate LR [--seconds S] [--go-on CHECKPOINT] [--out CHECKPOINT]
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from conversations import Conversation, sample
from model import VISION, TextModel, Vision
from vocabulary import BOS, EOS, FILE, PAD

IMAGE = -1
"""The placeholder id for a token of an image."""
LABELS = (40, 12, 12)
"""Number of classes for (form or character, colour, background)."""


@dataclass(slots=True)
class Encoded:
    """A conversation as tokens; the three lists have the same length.

    Attributes:
        ids: token ids; IMAGE for a token of an image.
        learned: 1 for the tokens of answers, which the model learns to predict, else 0.
        positions: positions of the tokens.
    """

    ids: list[int]
    learned: list[int]
    positions: list[int]


class Batch(NamedTuple):
    """A batch of conversations and their images.

    Attributes:
        ids, learned, positions: (batch, length), as in `Encoded`, padded at the end.
        images: (count, 3, side, side), values from -1 to 1.
        labels: (count, tokens, 3), the classes of each patch.
    """

    ids: Tensor
    learned: Tensor
    positions: Tensor
    images: Tensor
    labels: Tensor


class Conversations(torch.utils.data.IterableDataset[Batch]):
    """An endless dataset of batches of `size` conversations."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed

    def __iter__(self) -> Iterator[Batch]:
        tokenizer = Tokenizer.from_file(str(FILE))
        r = random.Random(self.seed)
        while True:
            yield from make_batches(tokenizer, self.size, r)


def make_batches(tokenizer: Tokenizer, size: int, r: random.Random, count: int = 6) -> list[Batch]:
    """Make `count` batches of `size` conversations; conversations of similar length share a batch."""
    drawn = (sample(r) for _ in range(count * size))
    pairs = [(encode(tokenizer, conversation, r), conversation) for conversation in drawn]
    pairs.sort(key=lambda pair: len(pair[0].ids))
    groups = [pairs[i : i + size] for i in range(0, count * size, size)]
    r.shuffle(groups)
    return [make_batch(group) for group in groups]


def encode(tokenizer: Tokenizer, conversation: Conversation, r: random.Random) -> Encoded:
    """Encode a conversation as `USER: <picture> question ASSISTANT: answer</s>`.

    Positions sometimes jump after a turn, so that the model learns to find images far back.
    """
    encoded = Encoded([BOS], [0], [0])
    jump = 0

    def add(ids: list[int], learned: bool = False) -> None:
        for i in ids:
            encoded.ids.append(i)
            encoded.learned.append(int(learned))
            encoded.positions.append(len(encoded.positions) + jump)

    def add_text(text: str) -> None:
        add(tokenizer.encode(text).ids)

    if conversation.system:
        add_text(conversation.system + " ")
    turns = conversation.turns
    jump_at = r.randrange(len(turns)) if len(turns) > 1 and r.random() < 0.55 else 0
    for i, turn in enumerate(turns):
        if i and i == jump_at:
            jump = int(3400 * r.random() ** 1.5)
        lead = "USER: "
        if turn.images and turn.numbered:
            for j in range(len(turn.images)):
                add_text(f"{'USER: ' if j == 0 else ' '}Picture {j + 1}: ")
                add([IMAGE] * VISION.tokens)
        elif turn.images:
            add_text("USER: ")
            add([IMAGE] * VISION.tokens * len(turn.images))
        if turn.images:
            lead = r.choice((" ", "\n", ""))
        add_text(f"{lead}{turn.question} ASSISTANT:")
        add([*tokenizer.encode(" " + turn.answer).ids, EOS], learned=True)
    return encoded


def make_batch(pairs: list[tuple[Encoded, Conversation]]) -> Batch:
    images, labels = [], []
    for _, conversation in pairs:
        for turn in conversation.turns:
            for image, label in turn.images:
                images.append(np.asarray(image))
                labels.append(np.asarray(label).reshape(8, 7, 8, 7, 3)[:, 3, :, 3])  # the label in the centre of each patch
    shape = (len(pairs), max(len(encoded.ids) for encoded, _ in pairs))
    ids = torch.full(shape, PAD)
    learned = torch.zeros(shape)
    positions = torch.zeros(shape, dtype=torch.long)
    for row, (encoded, _) in enumerate(pairs):
        length = len(encoded.ids)
        ids[row, :length] = torch.tensor(encoded.ids)
        learned[row, :length] = torch.tensor(encoded.learned, dtype=torch.float)
        positions[row, :length] = torch.tensor(encoded.positions)
    return Batch(
        ids,
        learned,
        positions,
        (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5,
        torch.from_numpy(np.stack(labels)).long().reshape(len(labels), VISION.tokens, 3),
    )


def losses(vision: Vision, text: TextModel, labeller: nn.Linear, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return (loss of the answers' tokens, loss of the vision encoder's classes for each patch)."""
    embedded = text.emb(batch.ids.clamp(min=0))
    tokens, features = vision(batch.images)
    guesses = labeller(features).split(LABELS, -1)
    seen = sum(functional.cross_entropy(guess.flatten(0, 1), batch.labels[..., k].flatten()) for k, guess in enumerate(guesses))
    place = (batch.ids == IMAGE).unsqueeze(-1)
    embedded = embedded.masked_scatter(place, tokens.reshape(-1, tokens.shape[-1]))
    wanted = batch.learned[:, 1:] > 0
    logits = text(embedded[:, :-1], wanted, batch.positions[:, :-1])
    return functional.cross_entropy(logits, batch.ids[:, 1:][wanted]), seen


def learning_rate(peak: float, step: int, done: float) -> float:
    """Return the learning rate: a warm-up of 100 steps, and a cosine from `peak` down to 3 % of it at `done` = 1."""
    return peak * min(1, (step + 1) / 100) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))


def train(options: argparse.Namespace) -> None:
    vocabulary = Tokenizer.from_file(str(FILE)).get_vocab_size()
    vision, text = Vision(), TextModel(vocabulary)
    labeller = nn.Linear(VISION.width, sum(LABELS))
    if options.go_on:
        checkpoint = torch.load(options.go_on)
        vision.load_state_dict(checkpoint["vis"])
        text.load_state_dict(checkpoint["lm"])
    parameters = [*labeller.parameters(), *vision.parameters(), *text.parameters()]
    print(f"{sum(p.numel() for p in vision.parameters())} parameters see, {sum(p.numel() for p in text.parameters())} speak", flush=True)

    def save() -> None:
        torch.save({"vis": vision.state_dict(), "lm": text.state_dict(), "V": vocabulary}, options.out)

    optimizer = torch.optim.AdamW(parameters, lr=options.rate, weight_decay=0.02, betas=(0.9, 0.98), fused=True)
    conversations = Conversations(options.batch, time.time_ns())
    batches: Iterator[Any] = iter(torch.utils.data.DataLoader(conversations, batch_size=None, num_workers=1, prefetch_factor=8))
    start = time.time()
    average = 0.0
    for step in range(options.steps):
        done = max(step / options.steps, (time.time() - start) / options.seconds)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(options.rate, step, done)
        said, seen = losses(vision, text, labeller, next(batches))
        optimizer.zero_grad(set_to_none=True)
        (said + (0.7 if done < 0.7 else 0.1) * seen).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        average = said.item() if step == 0 else 0.98 * average + 0.02 * said.item()
        if step % 50 == 0:
            print(
                f"step {step}: loss {said.item():.3f}, average {average:.3f}, vision {seen.item():.3f}, {time.time() - start:.0f} s",
                flush=True,
            )
        if step % 500 == 499:
            save()
    save()


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.set_flush_denormal(True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True, help="conversations in a step")
    parser.add_argument("--rate", type=float, required=True, help="highest learning rate")
    parser.add_argument("--seconds", type=float, default=1e9, help="end after this time, with the learning rate down by then")
    parser.add_argument("--go-on", type=Path, metavar="CHECKPOINT", help="start from this checkpoint")
    parser.add_argument("--out", type=Path, default=Path("checkpoint.pt"))
    train(parser.parse_args())
