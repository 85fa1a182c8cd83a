"""What a message is made of: texts, images in all the ways in which they arrive, tool calls. All values are frozen."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, TypeAlias

from llava_gateway.options import Detail

# JSON from a client: a schema goes to the engine unchanged, so we can't define its fields.
JSON: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text in a message.

    Attributes:
        note: whether we added the text for the model (a label, a hint); it is not shown as part of the question.
        recalls: number of the image that a note recalls; None for any other text.
    """

    text: str
    note: bool = False
    recalls: int | None = None


Box: TypeAlias = tuple[float, float, float, float]
"""(x, y, width, height) as fractions of the upright image, from its top left corner."""


@dataclass(frozen=True, slots=True)
class Sight:
    """How much of an image to show to the model.

    Attributes:
        detail: "low" for one tile, "high" for the best grid, "auto" for the best grid if it is within `max_image_tokens`, else one tile.
        image_size: most (width, height) of a grid in pixels.
        num_visual_tokens: token count to meet exactly if possible, and not to exceed.
        max_image_tokens: most tokens that the image may cost.
        region: a part to show in detail; it is sent after an overview of the whole image.
    """

    detail: Detail = "auto"
    image_size: tuple[int, int] | None = None
    num_visual_tokens: int | None = None
    max_image_tokens: int | None = None
    region: Box | None = None

    @property
    def undecided(self) -> bool:
        """Whether the client leaves the decision to us, except for `max_image_tokens`."""
        return self.detail == "auto" and self.image_size is None and self.num_visual_tokens is None

    @property
    def key(self) -> str:
        """A text that identifies the sight: the same profile and the same key give the same bytes."""
        return _key(self)

    def to_json(self) -> JSON:
        """Return the fields that are set, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    @classmethod
    def from_json(cls, value: JSON) -> Sight:
        fields_: JSON = {name: tuple(given) if isinstance(given, list) else given for name, given in value.items()}
        return cls(**fields_)


@lru_cache(256)
def _key(sight: Sight) -> str:
    return json.dumps(sight.to_json(), separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class ImagePart:
    image_id: str
    sight: Sight = Sight()


@dataclass(frozen=True, slots=True)
class Selection:
    """The pages or frames of a file that a question shows. Without `pages`, `frames` and `scenes`, those that fit the context.

    Attributes:
        pages: ranges (first, last) of the pages of a document, counted from 1.
        frames: indexes of the frames of an animation or a video, counted from 0.
        scenes: number of frames to choose where the scene changes.
        text_layer: whether the text of a PDF page goes along with its image.
    """

    pages: tuple[tuple[int, int], ...] = ()
    frames: tuple[int, ...] = ()
    scenes: int | None = None
    text_layer: bool = True

    @property
    def is_default(self) -> bool:
        return not (self.pages or self.frames or self.scenes)

    def to_json(self) -> JSON:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, value: JSON) -> Selection:
        pages = tuple((low, high) for low, high in value["pages"])
        return cls(**{**value, "pages": pages, "frames": tuple(value["frames"])})


@dataclass(frozen=True, slots=True)
class Page:
    """One page or frame of a file.

    Attributes:
        file: sha256 of the file, in hex.
        kind: format of the file.
        index: its place in the file, counted from 0.
        number: its number as people count: pages from 1, frames from 0.
        count: number of pages or frames in the file; 0 if nobody has counted them.
        seconds: its time in an animation or a video.
        frames: the frames of one contact sheet, instead of `index`.
    """

    file: str
    kind: str
    index: int
    number: int
    count: int
    seconds: float | None = None
    frames: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """A text that identifies the image of this page."""
        return f"{self.file} {self.kind} {self.index} {self.frames}"

    def to_json(self) -> JSON:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, value: JSON) -> Page:
        return cls(**{**value, "frames": tuple(value["frames"])})


@dataclass(frozen=True, slots=True)
class Upload:
    """An image or a document as a client sent it, not yet examined. It has no file name: the parser drops the name because nothing uses it.

    Attributes:
        selection: the pages or frames that the client wants.
        page: the page or frame of the file that this part stands for; None for the whole file.
        address: where the gateway fetched the file; "" for one that the client sent.
    """

    data: bytes
    sight: Sight = Sight()
    selection: Selection = Selection()
    page: Page | None = None
    background: str | None = None
    """The colour behind transparent parts, "#rrggbb"; None to choose it."""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """The http or https address of an image or a document, not yet fetched; `selection` and `background` are as in an Upload."""

    address: str
    sight: Sight = Sight()
    selection: Selection = Selection()
    background: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A tool call that the model made in an assistant message; `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """The start of a tool message: the parts after it are the result of the call `call_id` of the tool `name` ("" if unknown)."""

    call_id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """The model's reasoning before an earlier answer."""

    text: str


Attached: TypeAlias = ImagePart | Upload | Link
Part: TypeAlias = TextPart | Attached | ToolCallPart | ToolResultPart | ReasoningPart
"""A part of a message. An engine never gets an Upload or a Link: the gateway replaces it with an ImagePart."""
