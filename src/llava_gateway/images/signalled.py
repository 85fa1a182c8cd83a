"""Read how a file signals its colours other than by an ICC profile: cICP, nclx, gAMA and cHRM; HDR or not (pure).

The meaning of each code is that of Chromium 156, which differs from the standards where people would see no difference in quality: video
curves are shown as gamma 2.4.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TypeAlias

from llava_gateway.images import png
from llava_gateway.images.sniff import Format

Chromaticities: TypeAlias = tuple[float, float, float, float, float, float, float, float]
"""x and y of red, green, blue and white."""
Row: TypeAlias = tuple[float, float, float]
Matrix: TypeAlias = tuple[Row, Row, Row]

_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
SRGB: Chromaticities = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65)
BT2020: Chromaticities = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65)
_PRIMARIES: dict[int, tuple[str, Chromaticities]] = {
    1: ("sRGB", SRGB),
    4: ("BT.470 M", (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *_C)),
    5: ("BT.470 BG", (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65)),
    6: ("SMPTE 170M", (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65)),
    7: ("SMPTE 240M", (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65)),
    8: ("film", (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C)),
    9: ("BT.2020", BT2020),
    11: ("DCI P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351)),
    12: ("Display P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65)),
    22: ("EBU 3213", (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65)),
}
_VIDEO = {1, 6, 11, 14, 15}
"""Curves that are shown as gamma 2.4 in a PNG, and like that of sRGB in an AVIF or HEIC."""
_GAMMAS = {1: 2.4, 4: 2.2, 5: 2.8, 6: 2.4, 8: 1.0, 11: 2.4, 14: 2.4, 15: 2.4}
PQ, HLG = 16, 18
_NCLX = re.compile(rb"colrnclx(.{2})(.{2})(.{2})", re.DOTALL)
_CLLI = re.compile(rb"\0\0\0\x0cclli(.{2})", re.DOTALL)
_MDCV = re.compile(rb"\0\0\0\x20mdcv.{16}(.{4})", re.DOTALL)
_LOOKED_AT = 2**16
_USUAL_PEAK = 1000.0


@dataclass(frozen=True, slots=True)
class Signal:
    """How the numbers of a file become light.

    Attributes:
        name: of the primaries or the gamma, for people.
        primaries: chromaticities of red, green, blue and white.
        gamma: the exponent; None for the curve of sRGB.
        hdr: the transfer function of HDR, `PQ` or `HLG`; None for an image in SDR.
        peak: the brightest light in the image in cd/m², for PQ.
    """

    name: str
    primaries: Chromaticities
    gamma: float | None = None
    hdr: int | None = None
    peak: float = _USUAL_PEAK

    @property
    def is_srgb(self) -> bool:
        return self.hdr is None and self.gamma is None and self.primaries == SRGB


def read(data: bytes, kind: Format) -> Signal | None:
    """Return what a file signals; None if it signals nothing. An ICC profile counts more than gAMA, cHRM and an nclx in SDR."""
    match kind:
        case "PNG":
            return _of_png(data)
        case "AVIF" | "HEIC" if found := _NCLX.search(data, 0, _LOOKED_AT):
            transfer = int.from_bytes(found[2])
            return _coded(int.from_bytes(found[1]), 13 if transfer in _VIDEO else transfer, _peak_of_boxes(data))
    return None


def overrides_icc(data: bytes, kind: Format, signal: Signal) -> bool:
    """Return whether a signal counts more than an ICC profile in the same file."""
    return signal.hdr is not None or (kind == "PNG" and png.find(data, b"cICP") is not None)


def _of_png(data: bytes) -> Signal | None:
    if (coded := png.find(data, b"cICP")) and len(coded) == 4:
        return _coded(coded[0], coded[1], _peak_of_chunks(data))
    gamma = png.find(data, b"gAMA")
    if png.find(data, b"sRGB") is not None or gamma is None or len(gamma) != 4:
        return None
    exponent = int.from_bytes(gamma) / 100_000
    if not 0.01 <= exponent <= 100:
        return None
    chroma = png.find(data, b"cHRM")
    if chroma is None or len(chroma) != 32:
        # The usual 1/2.2 alone stands for sRGB.
        return None if abs(exponent - 0.4545) < 0.005 else Signal(f"gamma {1 / exponent:.2g}", SRGB, 1 / exponent)
    white_x, white_y, *colours = (value / 100_000 for value in struct.unpack(">8I", chroma))
    primaries = (*colours[:6], white_x, white_y)
    return Signal(f"gamma {1 / exponent:.2g}", _checked(primaries), 1 / exponent) if _is_sound(primaries) else None


def _coded(primaries: int, transfer: int, peak: float) -> Signal | None:
    """Return the signal of code points (ITU-T H.273); None for those that say nothing."""
    name, chroma = _PRIMARIES.get(primaries, _PRIMARIES[1])
    if transfer in (PQ, HLG):
        return Signal(name, chroma, hdr=transfer, peak=peak if transfer == PQ else _USUAL_PEAK)
    return Signal(name, chroma, _GAMMAS.get(transfer))


def _peak_of_chunks(data: bytes) -> float:
    for names, at in (((b"cLLI", b"cLLi"), 0), ((b"mDCV", b"mDCv"), 16)):
        body = next((body for name in names if (body := png.find(data, name))), b"")
        if len(body) >= at + 4 and (value := int.from_bytes(body[at : at + 4])):
            return value / 10_000
    return _USUAL_PEAK


def _peak_of_boxes(data: bytes) -> float:
    if (found := _CLLI.search(data, 0, _LOOKED_AT)) and (peak := int.from_bytes(found[1])):
        return float(peak)
    if (found := _MDCV.search(data, 0, _LOOKED_AT)) and (peak := int.from_bytes(found[1])):
        return peak / 10_000
    return _USUAL_PEAK


def _is_sound(primaries: tuple[float, ...]) -> bool:
    """Return whether the colours span a triangle, and no y is 0."""
    red_x, red_y, green_x, green_y, blue_x, blue_y, *_ = primaries
    area = (green_x - red_x) * (blue_y - red_y) - (blue_x - red_x) * (green_y - red_y)
    return abs(area) > 0.01 and min(primaries[1::2]) > 0.001 and max(primaries) <= 2


def _checked(primaries: tuple[float, ...]) -> Chromaticities:
    a, b, c, d, e, f, g, h = primaries
    return a, b, c, d, e, f, g, h


def to_xyz(primaries: Chromaticities, *, white: tuple[float, float, float] | None = None) -> Matrix:
    """Return the matrix from linear RGB to XYZ, adapted to another white (by Bradford's method) if one is given."""
    columns = [_xyz(primaries[i], primaries[i + 1]) for i in (0, 2, 4)]
    own = _xyz(primaries[6], primaries[7])
    plain = _transposed((columns[0], columns[1], columns[2]))
    red, green, blue = times(inverse(plain), own)
    scaled: Matrix = _transposed((_scaled(columns[0], red), _scaled(columns[1], green), _scaled(columns[2], blue)))
    return scaled if white is None else product(_bradford(own, white), scaled)


_BRADFORD: Matrix = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))


def _bradford(from_white: Row, to_white: Row) -> Matrix:
    one, other = times(_BRADFORD, from_white), times(_BRADFORD, to_white)
    gains: Matrix = ((other[0] / one[0], 0, 0), (0, other[1] / one[1], 0), (0, 0, other[2] / one[2]))
    return product(inverse(_BRADFORD), product(gains, _BRADFORD))


def _xyz(x: float, y: float) -> Row:
    return x / y, 1.0, (1 - x - y) / y


def _scaled(row: Row, by: float) -> Row:
    return row[0] * by, row[1] * by, row[2] * by


def _transposed(m: Matrix) -> Matrix:
    return (m[0][0], m[1][0], m[2][0]), (m[0][1], m[1][1], m[2][1]), (m[0][2], m[1][2], m[2][2])


def times(m: Matrix, v: Row) -> Row:
    """Multiply a matrix by a vector."""
    a, b, c = (row[0] * v[0] + row[1] * v[1] + row[2] * v[2] for row in m)
    return a, b, c


def product(m: Matrix, n: Matrix) -> Matrix:
    """Multiply two matrices."""
    columns = _transposed(n)
    return _transposed((times(m, columns[0]), times(m, columns[1]), times(m, columns[2])))


def inverse(m: Matrix) -> Matrix:
    """Return the inverse of a matrix."""
    (a, b, c), (d, e, f), (g, h, i) = m
    first: Row = (e * i - f * h, c * h - b * i, b * f - c * e)
    second: Row = (f * g - d * i, a * i - c * g, c * d - a * f)
    third: Row = (d * h - e * g, b * g - a * h, a * e - b * d)
    det = a * first[0] + b * second[0] + c * third[0]
    return _scaled(first, 1 / det), _scaled(second, 1 / det), _scaled(third, 1 / det)
