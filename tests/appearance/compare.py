"""Compare canonical images with what a browser draws."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from llava_gateway.images.encode import Encoded
from llava_gateway.images.info import ImageInfo, Limits
from llava_gateway.images.ingest import Ready, ingest
from tests.appearance.chromium import Chromium
from tests.appearance.pictures import Case

MEDIAN, P99 = 1.0, 4.0
_EDGE = 24
_GROUNDS = {"white_ground": "#ffffff", "gray_ground": "#808080"}


@dataclass(frozen=True, slots=True)
class Difference:
    """The colour difference of an image (CIEDE2000): its median and 99th percentile; of edges apart if chroma is subsampled."""

    median: float
    p99: float
    edges: float = 0.0

    @property
    def is_small(self) -> bool:
        return self.median <= MEDIAN and self.p99 <= P99


def difference(case: Case, browser: Chromium) -> Difference:
    """Compare one file. Raises the errors of the ingest and of the browser, and ValueError for another size."""
    ours, info = canonical(case.data)
    ground = next((_GROUNDS[change.code] for change in info.changes if change.code in _GROUNDS), "#ffffff")
    theirs = browser.draw(case.judge, "PNG", ground) if case.judge else browser.draw(case.data, case.kind, ground)
    if ours.size != theirs.size:
        raise ValueError(f"{ours.size} instead of {theirs.size}")
    apart = delta_e(ours, theirs)
    if not case.subsampled:
        return Difference(float(np.median(apart)), float(np.percentile(apart, 99)))
    spread = np.asarray(theirs.filter(ImageFilter.MaxFilter(5)), int) - np.asarray(theirs.filter(ImageFilter.MinFilter(5)), int)
    edge = spread.max(axis=2) > _EDGE
    flat, edges = apart[~edge], apart[edge]
    return Difference(float(np.median(flat)), float(np.percentile(flat, 99)), float(np.percentile(edges, 99)) if edges.size else 0.0)


def canonical(data: bytes) -> tuple[Image.Image, ImageInfo]:
    """Return the canonical image of a file, and what was said about it."""
    ready, encoded = ingest(data, Limits(), None)
    assert isinstance(ready, Ready)
    assert isinstance(encoded, Encoded)
    return Image.open(BytesIO(encoded.data)).convert("RGB"), ready.info


def delta_e(one: Image.Image, other: Image.Image) -> NDArray[np.float64]:
    """Return the colour difference of each pixel (CIEDE2000: Sharma, Wu and Dalal, 2005)."""
    l1, a1, b1 = _lab(one)
    l2, a2, b2 = _lab(other)
    mean_c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(mean_c7 / (mean_c7 + 25.0**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    gray = c1 * c2 == 0
    turn = (h2 - h1 + 180) % 360 - 180
    dh = np.where(gray, 0, 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2))
    mean_h = np.where(gray, h1 + h2, (h1 + turn / 2) % 360)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    t = 1 - 0.17 * np.cos(np.radians(mean_h - 30)) + 0.24 * np.cos(np.radians(2 * mean_h))
    t = t + 0.32 * np.cos(np.radians(3 * mean_h + 6)) - 0.2 * np.cos(np.radians(4 * mean_h - 63))
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    r = -2 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7)) * np.sin(np.radians(60 * np.exp(-(((mean_h - 275) / 25) ** 2))))
    light, c, h = (l2 - l1) / s_l, (c2 - c1) / s_c, dh / s_h
    return np.asarray(np.sqrt(np.maximum(0, light * light + c * c + h * h + r * c * h)), np.float64)


def _lab(image: Image.Image) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    coded = np.asarray(image.convert("RGB"), np.float64) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
    xyz = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return 116 * root[..., 1] - 16, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])
