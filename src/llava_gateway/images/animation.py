"""Read the frames of animations: composed as a viewer shows them, chosen by how much they differ, and put on one sheet.

Runs only in worker processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import accumulate

from PIL import Image, ImageChops, ImageStat

from llava_gateway.images import composing, png, sniff
from llava_gateway.images.decode import Source
from llava_gateway.images.encode import Encoded
from llava_gateway.images.sheet import sheet

ON_SHEET = 4
"""Most frames of an animation on its sheet."""
_MOST_READ = 2000
"""Most frames that are compared when some are chosen. A longer animation is read at even steps."""
_PIXELS_READ = 400_000_000
"""Most pixels of all frames that are compared, about two seconds of work."""
THUMBNAIL = 32
"""Side in pixels of the small copies that are compared."""
_SAME = 4.0
"""Mean difference, of 255, up to which two frames look the same."""
_BLANK = 2.0
"""Standard deviation, of 255, up to which a frame is blank."""


class Animation:
    """An opened animation.

    Attributes:
        count: number of frames that are there, without an image of the file that is not part of the animation.
        cut: whether the file lacks its last frames.
    """

    def __init__(self, source: Source, data: bytes) -> None:
        self.source = source
        match source.kind:
            case "GIF":
                self._frames = composing.gif_frames(data)
            case "PNG":
                self._frames = composing.png_frames(data)
            case _:
                self._frames = []
        self.cut = source.kind == "WEBP" and sniff.webp_whole(data) is not None
        if source.kind == "PNG" and self._frames and (control := png.find(data, b"acTL")):
            self.cut = int.from_bytes(control[:4]) > len(self._frames)
        if len(self._frames) > 1 and not composing.is_whole(self._frames[-1]):
            self._frames, self.cut = self._frames[:-1], True
        self.count = len(self._frames) or source.frames

    def composed(self, indexes: Sequence[int]) -> Iterator[tuple[int, Image.Image, float]]:
        """Yield (index, frame as a viewer shows it, its time in seconds) for these frames, in the order of the animation."""
        wanted = set(indexes)
        if self._frames:
            starts = self._starts()
            for index, frame in enumerate(composing.composed(self._frames, self.source.size, max(wanted))):
                if index in wanted:
                    yield index, frame.copy(), starts[index]
            return
        im = self.source.opened()
        for index in sorted(wanted):
            im.seek(index)
            im.load()
            own = im.info.get("timestamp")  # of a decoded frame, in milliseconds; a HEIC has none
            yield index, im.convert("RGBA"), own / 1000 if isinstance(own, int | float) else 0.0

    def times(self, indexes: Sequence[int]) -> dict[int, float]:
        """Return the times of frames, in seconds."""
        if self._frames:
            starts = self._starts()
            return {index: starts[index] for index in indexes}
        return {index: seconds for index, _, seconds in self.composed(indexes)}

    def _starts(self) -> list[float]:
        return list(accumulate((frame.seconds for frame in self._frames), initial=0.0))

    def scenes(self, most: int) -> list[int]:
        """Choose up to `most` frames that differ most from each other, in order. Blank frames are chosen only if there are no others.

        Begins with the first frame that is not blank, and adds the frame that is farthest from all chosen ones.
        """
        return farthest(self._thumbnails(), most)

    def _thumbnails(self) -> dict[int, Image.Image]:
        most = max(ON_SHEET, min(_MOST_READ, _PIXELS_READ // (self.source.size[0] * self.source.size[1])))
        step = max(1, -(-self.count // most))
        return {index: thumbnail(frame) for index, frame, _ in self.composed(range(0, self.count, step))}

    def file(self, index: int) -> bytes:
        """Return a frame as an image file, with the colour profile of the animation."""
        return next(_as_png(frame, self.source.icc) for _, frame, _ in self.composed([index]))

    def sheet(self, indexes: Sequence[int]) -> Encoded:
        """Put frames on one numbered sheet, in order."""
        return sheet([_as_png(frame, self.source.icc) for _, frame, _ in self.composed(indexes)])


def farthest(thumbnails: Mapping[int, Image.Image], most: int) -> list[int]:
    """Choose up to `most` of the frames whose small copies these are, as `Animation.scenes` does."""
    drawn = {index: small for index, small in thumbnails.items() if not _is_blank(small)} or dict(list(thumbnails.items())[:1])
    chosen = [next(iter(drawn))]
    nearest = {index: _distance(small, drawn[chosen[0]]) for index, small in drawn.items()}
    while len(chosen) < most:
        other = max(nearest, key=lambda index: nearest[index])
        if nearest[other] <= _SAME:
            break
        chosen.append(other)
        nearest = {index: min(known, _distance(drawn[index], drawn[other])) for index, known in nearest.items()}
    return sorted(chosen)


def thumbnail(frame: Image.Image) -> Image.Image:
    """Return a small copy of a frame on white, to compare it by."""
    ground = Image.new("RGBA", frame.size, "white")
    ground.alpha_composite(frame.convert("RGBA"))
    return ground.convert("RGB").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX, reducing_gap=2.0)


def _is_blank(small: Image.Image) -> bool:
    return max(ImageStat.Stat(small).stddev) <= _BLANK


def _distance(one: Image.Image, other: Image.Image) -> float:
    return float(sum(ImageStat.Stat(ImageChops.difference(one, other)).mean)) / 3


def _as_png(image: Image.Image, icc: bytes | None) -> bytes:
    out = BytesIO()
    image.save(out, "PNG", compress_level=1, icc_profile=icc)
    return out.getvalue()
