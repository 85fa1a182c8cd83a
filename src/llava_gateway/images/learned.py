"""Learn the token cost of images for models whose rule is unknown, from the counts of their engines (pure, kept in memory)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from llava_gateway.chat import Label
from llava_gateway.images.plan import Size

Pieces: TypeAlias = tuple[Size, ...]
"""(width, height) in pixels of each file sent for an image."""

MOST_SAMPLES = 256
"""Samples kept for each model and profile; the least recently learned are dropped first."""


@dataclass(slots=True)
class _Samples:
    tokens: OrderedDict[Pieces, tuple[int, Label]] = field(default_factory=OrderedDict)

    def line(self) -> tuple[float, float] | None:
        """Fit tokens = pieces * a + pixels * b by least squares. Returns (a, b); None without samples.

        If the samples are too similar to separate a from b, b is 0: most models spend the same on every image.
        """
        rows = [(len(pieces), _pixels(pieces), tokens) for pieces, (tokens, _) in self.tokens.items()]
        if not rows:
            return None
        nn, np, pp = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
        nt, pt = (sum(row[i] * row[2] for row in rows) for i in (0, 1))
        determinant = nn * pp - np * np
        if determinant <= 1e-6 * nn * pp:
            return nt / nn, 0.0
        piece, pixel = (nt * pp - pt * np) / determinant, (nn * pt - np * nt) / determinant
        # No image costs fewer tokens for more pixels: a negative b is noise from rounding to whole patches.
        if pixel < 0:
            return nt / nn, 0.0
        return (piece, pixel) if piece >= 0 else (0.0, pt / pp)


class LearnedCosts:
    """Samples for each model (any hashable key) and profile key (`VisionProfile.key`)."""

    def __init__(self) -> None:
        self._of: dict[tuple[Hashable, str], _Samples] = {}

    def learn(self, model: Hashable, key: str, images: Iterable[Pieces], tokens: int, label: Label = "measured") -> None:
        """Record the combined cost of the new images of one prompt.

        Args:
            images: the pieces of each image. Images of different sizes give only an estimate (the same cost for every file), which is
                recorded only while nothing else is known.
            tokens: prompt_tokens minus the tokens of the text and of other images. Learns nothing from less than one token per piece:
                the engine ignored the images.
            label: "estimated" if the tokens of the text were only estimated; it never replaces a measured sample.
        """
        every = list(images)
        pieces = sum(map(len, every))
        if not every or tokens < pieces:
            return
        samples = self._of.setdefault((model, key), _Samples()).tokens
        alike = len(set(every)) == 1
        if not alike and samples:
            return
        for image in dict.fromkeys(every):
            cost = round(tokens * len(image) / pieces), label if alike else "estimated"
            if cost[1] == "measured" or samples.get(image, cost)[1] == "estimated":
                samples[image] = cost
                samples.move_to_end(image)
        while len(samples) > MOST_SAMPLES:
            samples.popitem(last=False)

    def predict(self, model: Hashable, key: str, image: Pieces) -> tuple[int, Label] | None:
        """Predict the tokens of an image. Returns (tokens, label), or None without samples.

        The label is that of an earlier image of the same size, or "estimated" for a prediction from images of other sizes.
        """
        samples = self._of.get((model, key))
        if samples is None:
            return None
        if (seen := samples.tokens.get(image)) is not None:
            return seen
        if (line := samples.line()) is None:
            return None
        return max(len(image), round(line[0] * len(image) + line[1] * _pixels(image))), "estimated"


def _pixels(pieces: Pieces) -> int:
    return sum(width * height for width, height in pieces)
