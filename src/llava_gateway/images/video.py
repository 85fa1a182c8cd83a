"""Read frames of videos with OpenCV if it is installed, else with ffmpeg if it is on the PATH. Runs only in worker processes.

ffmpeg is a child of the worker and has its limits. It gets the file as its stdin, the demuxer that the bytes of the file call for, and no
other protocol: a playlist, or a file that names other files, opens nothing. OpenCV, whose reader is ffmpeg too, gets a list of demuxers.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from typing import IO, Any

from PIL import Image

from llava_gateway.errors import ImageError, ImageParseError, UnsupportedImageType
from llava_gateway.images.animation import THUMBNAIL, farthest, thumbnail
from llava_gateway.images.decode import check_size
from llava_gateway.images.info import Limits
from llava_gateway.images.pages import video_demuxer
from llava_gateway.images.plan import Size

SCENES = 8
"""Frames that a question shows by default, if they fit."""
_SAMPLES = 240
"""Frames that are compared, at even steps."""
_EACH_FRAME_SECONDS = 120
"""Longest video of which every frame is decoded to compare some; of a longer one, only key frames are."""
_SECONDS = 8.0
"""Longest run of ffmpeg. The worker itself has a little longer."""
_DEMUXERS = ("mov", "mp4", "matroska", "webm", "avi")
_DURATION = re.compile(rb"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_STREAM = re.compile(rb"Stream #0[^\n]*Video:[^\n]*?[ ,](\d{1,6})x(\d{1,6})[ ,][^\n]*")
_RATE = re.compile(rb"([\d.]+)(k?) (?:fps|tbr)")


class Film(ABC):
    """An opened video.

    Attributes:
        size: (width, height) in pixels.
        seconds: its length.
        rate: frames in a second.
    """

    size: Size
    seconds: float
    rate: float

    @property
    def count(self) -> int:
        """The number of frames, as the length and the rate suggest."""
        return max(1, round(self.seconds * self.rate))

    def seconds_of(self, index: int) -> float:
        return index / self.rate

    @property
    def step(self) -> float:
        """Seconds between the frames that are compared."""
        return max(1.0 / self.rate, self.seconds / _SAMPLES)

    def scenes(self, most: int) -> list[int]:
        """Choose up to `most` frames that differ most from each other, in order; blank ones only if there are no others."""
        samples = self.samples()
        if not samples:
            raise ImageParseError("video_damaged", code="video_damaged")
        return sorted({min(self.count - 1, round(place * self.step * self.rate)) for place in farthest(dict(enumerate(samples)), most)})

    def thumbnails(self, indexes: Sequence[int]) -> dict[int, Image.Image]:
        return {index: Image.open(BytesIO(self.file_of(index)), formats=["PNG"]) for index in indexes}

    @abstractmethod
    def samples(self) -> list[Image.Image]:
        """Return small copies of frames at even steps."""

    @abstractmethod
    def file_of(self, index: int) -> bytes:
        """Return a frame as a PNG file, upright. Raises ImageError."""


class CvFilm(Film):
    """A video that OpenCV reads."""

    def __init__(self, path: str, limits: Limits) -> None:
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"protocol_whitelist;file|format_whitelist;{','.join(_DEMUXERS)}|threads;1"
        os.environ["OPENCV_LOG_LEVEL"] = "OFF"
        import cv2

        cv2.setNumThreads(1)
        self._cv2 = cv2
        self._film = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        width, height = (int(self._film.get(each)) for each in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if not (self._film.isOpened() and width and height):
            raise ImageParseError("video_damaged", code="video_damaged")
        self.size = width, height
        check_size(self.size, "WEBP", limits)
        self.rate = min(1000.0, max(0.1, self._film.get(cv2.CAP_PROP_FPS) or 25.0))
        self.seconds = max(0.0, self._film.get(cv2.CAP_PROP_FRAME_COUNT)) / self.rate

    def samples(self) -> list[Image.Image]:
        cv2, found = self._cv2, []
        seeks = self.seconds > _EACH_FRAME_SECONDS
        indexes = [round(place * self.step * self.rate) for place in range(min(_SAMPLES, math.ceil(self.seconds / self.step)))]
        wanted = set(indexes)
        for index in indexes if seeks else range(self.count):
            if seeks:
                self._film.set(cv2.CAP_PROP_POS_FRAMES, index)
            if not self._film.grab():
                break
            if index in wanted:
                found.append(thumbnail(self._image(self._film.retrieve())))
        return found

    def file_of(self, index: int) -> bytes:
        self._film.set(self._cv2.CAP_PROP_POS_FRAMES, index)
        out = BytesIO()
        self._image(self._film.read(), index).save(out, "PNG", compress_level=1)
        return out.getvalue()

    def _image(self, read: Any, index: int = 0) -> Image.Image:
        done, frame = read
        if not done:
            raise ImageError("frame_damaged", values={"frame": index}, code="page_damaged")
        return Image.fromarray(self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB))


class Video(Film):
    """A video that ffmpeg reads."""

    def __init__(self, file: IO[bytes], demuxer: str, limits: Limits) -> None:
        self._file = file
        self._demuxer = demuxer
        said = self._run([], check=False)[1]
        stream, duration = _STREAM.search(said), _DURATION.search(said)
        if stream is None:
            raise ImageParseError("video_damaged", code="video_damaged")
        self.size: Size = int(stream[1]), int(stream[2])
        check_size(self.size, "WEBP", limits)
        self.seconds = 3600 * int(duration[1]) + 60 * int(duration[2]) + float(duration[3]) if duration else 0.0
        rate = _RATE.search(stream[0])
        self.rate = min(1000.0, max(0.1, float(rate[1]) * (1000 if rate[2] else 1))) if rate else 25.0

    def samples(self) -> list[Image.Image]:
        before = ["-skip_frame", "nokey"] if self.seconds > _EACH_FRAME_SECONDS else []
        side = THUMBNAIL
        filters = f"fps=1/{self.step:.6f}:round=down:start_time=0,scale={side}:{side}:flags=area"
        raw, _ = self._run(["-vf", filters, "-frames:v", str(_SAMPLES), "-pix_fmt", "rgb24", "-f", "rawvideo"], before=before)
        size = 3 * side * side
        return [Image.frombytes("RGB", (side, side), raw[at : at + size]) for at in range(0, len(raw) - size + 1, size)]

    def file_of(self, index: int) -> bytes:
        at = max(0.0, (index - 0.5) / self.rate)
        frame, _ = self._run(["-frames:v", "1", "-c:v", "png", "-f", "image2pipe"], before=["-ss", f"{at:.4f}"])
        if not frame:
            raise ImageError("frame_damaged", values={"frame": index}, code="page_damaged")
        return frame

    def _run(self, after: list[str], *, before: Sequence[str] = (), check: bool = True) -> tuple[bytes, bytes]:
        """Run ffmpeg on the file. Returns (output, messages)."""
        program = ffmpeg()
        if program is None:
            raise UnsupportedImageType("video_without_reader", code="video_not_read")
        self._file.seek(0)
        guard = ["-nostdin", "-hide_banner", "-threads", "1", "-protocol_whitelist", "fd,pipe", "-max_streams", "64"]
        source = ["-f", self._demuxer, "-fd", "0", "-i", "fd:", "-map", "0:v:0", "-filter_threads", "1"]
        command = [program, *guard, *before, *source, *after, *(["pipe:1"] if after else ["-t", "0", "-f", "null", "-"])]
        try:
            done = subprocess.run(  # noqa: S603 (a fixed command; the file is its stdin)
                command, stdin=self._file, capture_output=True, timeout=_SECONDS, check=False, env={"PATH": os.environ.get("PATH", "")}
            )
        except subprocess.TimeoutExpired:
            raise ImageParseError("decoder_slow", values={"seconds": _SECONDS}) from None
        except OSError:
            raise UnsupportedImageType("video_without_reader", code="video_not_read") from None
        if check and done.returncode and not done.stdout:
            raise ImageParseError("video_damaged", code="video_damaged")
        return done.stdout, done.stderr


def has_opencv() -> bool:
    """Return whether OpenCV is installed."""
    return find_spec("cv2") is not None


def ffmpeg() -> str | None:
    """Return the path of ffmpeg; None if it is not on the PATH."""
    return shutil.which("ffmpeg")


@contextmanager
def opened(data: bytes, limits: Limits) -> Iterator[Film]:
    """Open a video. Its bytes are in a private file as long as it is open. Raises ImageError."""
    demuxer = video_demuxer(data)
    if demuxer is None:
        raise UnsupportedImageType("file_video")
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        yield CvFilm(file.name, limits) if has_opencv() else Video(file.file, demuxer, limits)
