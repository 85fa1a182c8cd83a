"""The turns of a session as a tree, of which one path is sent to the model (pure).

A turn that replaces another one makes a branch: both follow the same turn, and one of them is on the path. So the turns form a tree,
with one path through it (`turns`) and all other turns beside it (`aside`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import compress

from llava_gateway.chat import Message
from llava_gateway.context.prompt import TYPICAL_IMAGE
from llava_gateway.context.tokens import Scale
from llava_gateway.context.window import Exchange
from llava_gateway.errors import TurnNotFound
from llava_gateway.images.info import ImageInfo
from llava_gateway.parts import ImagePart, Part, Sight, TextPart
from llava_gateway.sessions.turn import FIRST, Turn


@dataclass(frozen=True, slots=True)
class Branches:
    """All turns of a session, and the user's choices for their images.

    Attributes:
        turns: the path that is sent to the model, in order.
        aside: all other turns. Those of the most recently left path come last.
        pins: by image id, whether the user pinned an image (True) or released it (False).
        sights: by image id, how much of an image the model sees from now on, if the user changed that. Each turn keeps its region.
    """

    turns: tuple[Turn, ...] = ()
    aside: tuple[Turn, ...] = ()
    pins: Mapping[str, bool] = field(default_factory=dict)
    sights: Mapping[str, Sight] = field(default_factory=dict)

    @property
    def every_turn(self) -> tuple[Turn, ...]:
        """The turns of all branches, in the order they were asked."""
        return tuple(sorted((*self.aside, *self.turns), key=lambda turn: turn.id))

    @property
    def siblings(self) -> Mapping[int, tuple[int, ...]]:
        """The ids of all turns that follow a turn (or FIRST), by its id, in the order they were asked."""
        found: dict[int, tuple[int, ...]] = {}
        for turn in self.every_turn:
            found[turn.parent] = (*found.get(turn.parent, ()), turn.id)
        return found

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Every image of the path once, in order of appearance."""
        return _images_of(self.turns)

    @property
    def every_image_id(self) -> tuple[str, ...]:
        """Every image of every branch once."""
        return _images_of(self.every_turn)

    @property
    def turn_count(self) -> int:
        """The number of turns of all branches."""
        return len(self.turns) + len(self.aside)

    @property
    def bytes(self) -> int:
        """What all turns take in memory, in bytes, roughly."""
        return sum(turn.bytes for turns in (self.turns, self.aside) for turn in turns)

    def exchanges(self, scale: Scale) -> tuple[tuple[Exchange, ...], tuple[Part, ...]]:
        """Return the path as exchanges, and the parts of the turns at its end that have no answer.

        The parts of an unanswered turn go into the next question, so that nothing the user sent is lost and roles alternate.
        """
        exchanges: list[Exchange] = []
        unanswered: tuple[Turn, ...] = ()
        first_image = 1
        for index, turn in enumerate(self.turns):
            unanswered += (turn,)
            if turn.answer:
                exchanges.append(_exchange(index, unanswered, first_image, scale))
                first_image += len(exchanges[-1].images)
                unanswered = ()
        return tuple(exchanges), tuple(part for turn in unanswered for part in turn.parts)

    def seen(self, part: ImagePart) -> ImagePart:
        """Return the image with the sight that the user chose later. The amount shown may change; the region stays."""
        if part.image_id not in self.sights:
            return part
        return replace(part, sight=replace(self.sights[part.image_id], region=part.sight.region))

    def with_turn(self, turn: Turn) -> Branches:
        """Add a turn at the end of the path. The turn gets its id and parent here. If it already has the id of the last turn, it takes that
        turn's place."""
        if self.turns and self.turns[-1].id == turn.id:
            return replace(self, turns=(*self.turns[:-1], turn))
        last = max((known.id for turns in (self.turns, self.aside) for known in turns), default=0)
        added = replace(turn, id=last + 1, parent=self.turns[-1].id if self.turns else FIRST)
        return replace(self, turns=(*self.turns, added))

    def after(self, turn_id: int) -> Branches:
        """Go back to where this turn was the last one (FIRST: to where there was no turn). Raises TurnNotFound."""
        return self._along(self._path_to(turn_id))

    def on_branch(self, turn_id: int) -> Branches:
        """Follow the path through this turn to the point where that branch was left. Raises TurnNotFound."""
        if turn_id == FIRST:
            raise TurnNotFound
        if any(turn.id == turn_id for turn in self.turns):
            return self
        path = list(self._path_to(turn_id))
        left_last = {turn.parent: turn for turn in self.aside}
        while path[-1].id in left_last:
            path.append(left_last[path[-1].id])
        return self._along(tuple(path))

    def first(self, at: int) -> Branches:
        """Keep only the first `at` turns of the path, and the user's choices for their images. Raises IndexError if there are fewer
        turns."""
        if not 0 <= at <= len(self.turns):
            raise IndexError(at)
        turns = self.turns[:at]
        shown = set(_images_of(turns))
        return Branches(
            turns,
            pins={image_id: pinned for image_id, pinned in self.pins.items() if image_id in shown},
            sights={image_id: sight for image_id, sight in self.sights.items() if image_id in shown},
        )

    def with_images(self, ids: Mapping[str, str], files: Mapping[str, ImageInfo]) -> Branches:
        """Replace each image id by `ids[id]`, and add `files` to turns that have no facts about their files."""

        def renamed(turn: Turn) -> Turn:
            parts = (ImagePart(ids[part.image_id], part.sight) if isinstance(part, ImagePart) else part for part in turn.parts)
            return replace(turn, parts=tuple(parts), files=turn.files or tuple(files[part.image_id] for part in turn.images))

        return Branches(
            tuple(map(renamed, self.turns)),
            tuple(map(renamed, self.aside)),
            {ids[image_id]: pinned for image_id, pinned in self.pins.items()},
            {ids[image_id]: sight for image_id, sight in self.sights.items()},
        )

    def without_images(self, ids: Collection[str]) -> Branches:
        """Remove these images from all turns, and the user's choices for them."""

        def reduced(turn: Turn) -> Turn:
            stays = [part.image_id not in ids for part in turn.images]
            parts = tuple(part for part in turn.parts if not (isinstance(part, ImagePart) and part.image_id in ids))
            sent, files = tuple(compress(turn.sent, stays)), tuple(compress(turn.files, stays))
            return turn if all(stays) else replace(turn, parts=parts or (TextPart(""),), sent=sent, files=files)

        return Branches(
            tuple(map(reduced, self.turns)),
            tuple(map(reduced, self.aside)),
            {image_id: pinned for image_id, pinned in self.pins.items() if image_id not in ids},
            {image_id: sight for image_id, sight in self.sights.items() if image_id not in ids},
        )

    def _path_to(self, turn_id: int) -> tuple[Turn, ...]:
        by_id = {turn.id: turn for turns in (self.aside, self.turns) for turn in turns}
        path: list[Turn] = []
        while turn_id != FIRST:
            if turn_id not in by_id:
                raise TurnNotFound
            path.append(by_id[turn_id])
            turn_id = path[-1].parent
        return tuple(reversed(path))

    def _along(self, path: tuple[Turn, ...]) -> Branches:
        if path == self.turns:
            return self
        on_path = {turn.id for turn in path}
        aside = tuple(turn for turns in (self.aside, self.turns) for turn in turns if turn.id not in on_path)
        return replace(self, turns=path, aside=aside)


def _exchange(index: int, turns: tuple[Turn, ...], first_image: int, scale: Scale) -> Exchange:
    """Return the turns as one exchange: the last turn was answered, the turns before it were not."""
    asked = Message("user", tuple(part for turn in turns for part in turn.parts))
    answer = turns[-1].answer
    tokens, size = (one.message(asked.text) + one.message(answer) for one in (scale, Scale()))
    costs = {part: sent.tokens for turn in turns for part, sent in zip(turn.images, turn.sent, strict=False)}
    images = tuple(costs.get(part) or TYPICAL_IMAGE for part in asked.images)
    messages = (asked, Message("assistant", (TextPart(answer),)))
    return Exchange(index, messages, tokens, images, first_image, turns[-1].id, size)


def _images_of(turns: tuple[Turn, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.image_id for turn in turns for part in turn.images))
