"""The turns of a session as a tree, of which one path is told (pure).

A turn that is asked in another one's place makes a branch: both follow the same turn, one of them is told. So the turns are a tree, with
one path through it (`turns`) and all others beside it (`aside`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from llava_gateway.chat import ImagePart, Message, Part, Sight, TextPart
from llava_gateway.context.prompt import TYPICAL_IMAGE
from llava_gateway.context.tokens import Scale
from llava_gateway.context.window import Exchange
from llava_gateway.errors import TurnNotFound
from llava_gateway.images.info import ImageInfo
from llava_gateway.sessions.turn import FIRST, Turn


@dataclass(frozen=True, slots=True)
class Branches:
    """All turns of a session, and what a person chose for their images.

    Attributes:
        turns: the path that the model is told, in order.
        aside: all other turns; those of the path that was left last stand last.
        pins: by image id, whether a person pinned an image (True) or let it go (False).
        sights: by image id, how much of an image is to be seen from now on, where that was changed; each turn keeps its region.
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
        """By the turn that they follow (or FIRST), the ids of all turns that follow it, in the order they were asked."""
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
        """What all turns take in memory, roughly."""
        return sum(turn.bytes for turns in (self.turns, self.aside) for turn in turns)

    def exchanges(self, scale: Scale) -> tuple[tuple[Exchange, ...], tuple[Part, ...]]:
        """The path as exchanges, and the parts of the turns at its end that got no answer.

        The parts of an unanswered turn go into the next question: nothing that the person gave is lost, and roles alternate.
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
        """The image with the sight that was chosen for it since: how much is shown may change, what is looked at stays."""
        if part.image_id not in self.sights:
            return part
        return replace(part, sight=replace(self.sights[part.image_id], region=part.sight.region))

    def with_turn(self, turn: Turn) -> Branches:
        """Add a turn at the end of the path; it gets its id and parent here."""
        last = max((known.id for turns in (self.turns, self.aside) for known in turns), default=0)
        added = replace(turn, id=last + 1, parent=self.turns[-1].id if self.turns else FIRST)
        return replace(self, turns=(*self.turns, added))

    def after(self, turn_id: int) -> Branches:
        """Go back to where this turn was the last one; FIRST: to where there was none. Raises TurnNotFound."""
        return self._along(self._path_to(turn_id))

    def on_branch(self, turn_id: int) -> Branches:
        """Go along the path through this turn, on to where that branch was left. Raises TurnNotFound."""
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
        """Keep the first `at` turns of the path alone, and what was chosen for their images. Raises IndexError when there are fewer."""
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
        """Give the images other ids, each by the one it has, and `files` to turns that do not tell their own."""

        def renamed(turn: Turn) -> Turn:
            parts = (ImagePart(ids[part.image_id], part.sight) if isinstance(part, ImagePart) else part for part in turn.parts)
            return replace(turn, parts=tuple(parts), files=turn.files or tuple(files[part.image_id] for part in turn.images))

        return Branches(
            tuple(map(renamed, self.turns)),
            tuple(map(renamed, self.aside)),
            {ids[image_id]: pinned for image_id, pinned in self.pins.items()},
            {ids[image_id]: sight for image_id, sight in self.sights.items()},
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
        told = {turn.id for turn in path}
        aside = tuple(turn for turns in (self.aside, self.turns) for turn in turns if turn.id not in told)
        return replace(self, turns=path, aside=aside)


def _exchange(index: int, turns: tuple[Turn, ...], first_image: int, scale: Scale) -> Exchange:
    """The last of the turns was answered, those before it were not."""
    asked = Message("user", tuple(part for turn in turns for part in turn.parts))
    answer = turns[-1].answer
    tokens, size = (one.message(asked.text) + one.message(answer) for one in (scale, Scale()))
    costs = {part: sent.tokens for turn in turns for part, sent in zip(turn.images, turn.sent, strict=False)}
    images = tuple(costs.get(part) or TYPICAL_IMAGE for part in asked.images)
    messages = (asked, Message("assistant", (TextPart(answer),)))
    return Exchange(index, messages, tokens, images, first_image, turns[-1].id, size)


def _images_of(turns: tuple[Turn, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.image_id for turn in turns for part in turn.images))
