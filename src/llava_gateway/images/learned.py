"""What images cost models whose rule is not known, learned from the tokens that their engines counted (pure, kept in memory)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from llava_gateway.chat import Label
from llava_gateway.images.plan import Size

Pieces: TypeAlias = tuple[Size, ...]
"""(width, height) of each file that is sent of an image."""

MOST_SAMPLES = 256
"""Kept of each model and profile; those not seen for longest go first."""


@dataclass(slots=True)
class _Samples:
    tokens: OrderedDict[Pieces, tuple[int, Label]] = field(default_factory=OrderedDict)

    def line(self) -> tuple[float, float] | None:
        """(tokens of a piece, tokens of a pixel) that fit the samples best: least squares of tokens = pieces * a + pixels * b. None without
        samples. Where they are too alike to tell the two apart, all is put on the pieces: most models cost the same for every image."""
        rows = [(len(pieces), _pixels(pieces), tokens) for pieces, (tokens, _) in self.tokens.items()]
        if not rows:
            return None
        nn, np, pp = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
        nt, pt = (sum(row[i] * row[2] for row in rows) for i in (0, 1))
        determinant = nn * pp - np * np
        if determinant <= 1e-6 * nn * pp:
            return nt / nn, 0.0
        piece, pixel = (nt * pp - pt * np) / determinant, (nn * pt - np * nt) / determinant
        # No engine takes tokens back: what looks so is noise of rounding to whole patches.
        if pixel < 0:
            return nt / nn, 0.0
        return (piece, pixel) if piece >= 0 else (0.0, pt / pp)


class LearnedCosts:
    """Samples by model, however that is named, and profile key (`VisionProfile.key`)."""

    def __init__(self) -> None:
        self._of: dict[tuple[Hashable, str], _Samples] = {}

    def learn(self, model: Hashable, key: str, images: Iterable[Pieces], tokens: int, label: Label = "measured") -> None:
        """Takes note of what new images of one prompt cost together.

        Args:
            images: the pieces of each. Those of different sizes tell only about what one costs: all files as much, and only until
                something better is known.
            tokens: prompt_tokens less those of the text and of other images. Below one a piece nothing is learned: the engine has
                ignored the images.
            label: "estimated" where the text was only reckoned; that takes no measured one's place.
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
        """What an image costs: "measured" where one of this size was seen and its text counted, "estimated" by its area where others were,
        else None."""
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
