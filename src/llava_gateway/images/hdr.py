"""Tone-map HDR images (PQ and HLG, ITU-R BT.2100) to SDR as browsers do. Runs in a worker.

The curve is the one that SMPTE ST 2094-50 has for images without a curve of their own, with a target of SDR. Chromium 156 uses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

from PIL import Image, ImageFilter

from llava_gateway.images import signalled
from llava_gateway.images.signalled import HLG, Signal
from llava_gateway.notes import Note, note

_WHITE = 203.0
"""Light of white paper in cd/m² (ITU-R BT.2408)."""
_HLG_PEAK = 1000.0
_NODES = 33
_LUMA = (0.2627, 0.6780, 0.0593)


def to_sdr(im: Image.Image, coded: Signal) -> tuple[Image.Image, tuple[Note, ...]]:
    """Convert an opaque image in PQ or HLG to sRGB. Returns (RGB image, changes)."""
    name = "HLG" if coded.hdr == HLG else "PQ"
    return im.convert("RGB").filter(_table(coded)), (note("hdr_to_sdr", transfer=name),)


@cache
def _table(coded: Signal) -> ImageFilter.Color3DLUT:
    """Make the table from coded numbers to sRGB; interpolating in coded numbers is exact enough, because they are spaced as eyes see."""
    own = signalled.to_xyz(coded.primaries, white=_white_of_2020())
    to_2020 = signalled.product(signalled.inverse(signalled.to_xyz(signalled.BT2020)), own)
    to_srgb = signalled.product(signalled.inverse(signalled.to_xyz(signalled.SRGB)), signalled.to_xyz(signalled.BT2020))
    light = _hlg_light if coded.hdr == HLG else _pq_light
    levels = [light(index / (_NODES - 1)) for index in range(_NODES)]
    mapped = curve(coded.peak)

    def node(red: float, green: float, blue: float) -> tuple[float, float, float]:
        linear = signalled.times(to_2020, (levels[_at(red)], levels[_at(green)], levels[_at(blue)]))
        if coded.hdr == HLG:
            # The system gamma of a display of 1,000 cd/m².
            luma = max(0.0, sum(weight * value for weight, value in zip(_LUMA, linear, strict=True)))
            bright = luma**0.2 * _HLG_PEAK / _WHITE if luma else 0.0
            linear = linear[0] * bright, linear[1] * bright, linear[2] * bright
        most = max(linear)
        gain = mapped(most) / most if most > 0 else 0.0
        red, green, blue = signalled.times(to_srgb, (linear[0] * gain, linear[1] * gain, linear[2] * gain))
        return _encoded(red), _encoded(green), _encoded(blue)

    return ImageFilter.Color3DLUT.generate(_NODES, node)


def curve(peak: float) -> Callable[[float], float]:
    """Return the tone curve for an image whose brightest light is `peak` cd/m². Both its numbers are relative to white, which is 1."""
    most = peak / _WHITE
    if most <= 1:
        return lambda x: x
    white = 1 - 0.5 * min(1.0, math.log2(most) / math.log2(1000 / _WHITE))
    # A straight line to white, then a quadratic Bézier curve.
    x_mid, y_mid = 0.35 + 0.65 / white, 0.35 * white + 0.65
    x_a, x_b = 1 - 2 * x_mid + most, 2 * x_mid - 2
    y_a, y_b = white - 2 * y_mid + 1, 2 * y_mid - 2 * white

    def mapped(x: float) -> float:
        if x <= 1:
            return x * white
        if x >= most:
            return 1.0
        t = (-x_b + math.sqrt(x_b * x_b + 4 * x_a * (x - 1))) / (2 * x_a) if abs(x_a) > 1e-9 else (x - 1) / x_b
        return white + t * (y_b + t * y_a)

    return mapped


def _at(part: float) -> int:
    return round(part * (_NODES - 1))


def _pq_light(value: float) -> float:
    """Convert PQ to light relative to white."""
    power = value ** (1 / 78.84375)
    return float(10000 / _WHITE * (max(0.0, power - 0.8359375) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125))


def _hlg_light(value: float) -> float:
    """Convert HLG to light of the scene, 0 to 1."""
    if value <= 0.5:
        return value * value / 3
    return (math.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12


def _encoded(light: float) -> float:
    """Convert linear light to sRGB, also beyond 0 to 1: an interpolation that ends there would be wrong near the border."""
    if light < 0:
        return -_encoded(-light)
    return 12.92 * light if light <= 0.0031308 else float(1.055 * light ** (1 / 2.4) - 0.055)


def _white_of_2020() -> tuple[float, float, float]:
    x, y = signalled.BT2020[6:]
    return x / y, 1.0, (1 - x - y) / y
