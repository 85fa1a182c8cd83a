"""Whether the pixels of a JPEG are all there: libjpeg fills what is missing with gray, and Pillow keeps its warnings to itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from io import BytesIO
from typing import Literal, TypeAlias

from PIL import Image, ImageChops

Fault: TypeAlias = Literal["cut", "damaged"]

_EOI, _SOS, _DRI = 0xD9, 0xDA, 0xDD
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers that no segment follows."""
# Each begins with a plain byte, which makes them as fast as a search for that. A zero byte after 0xFF belongs to the data.
_END = re.compile(rb"\xff[^\x00\xff]")
_END_BUT_RESTARTS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_ONES = b"\xff\x00" * 8
"""As many bits as libjpeg likes to have in advance. No code is made of ones, so they don't pass for more than two blocks of 8x8 pixels."""
_NOISE = bytes(i * 73 % 255 for i in range(256))
"""Bytes that pass for blocks unlike any others, without a marker among them."""
_HOLE = bytes(64)
_SURPLUS = 256


@dataclass(frozen=True, slots=True)
class _Scan:
    """Compressed data: from `begin` to the marker at `end`.

    Attributes:
        finishes: whether it only adds the last bit to coefficients that are there already.
        interval: units between two restart markers, 0 for no such markers. restarts: those that are there.
    """

    begin: int
    end: int
    components: bytes
    first_coefficient: int
    finishes: bool
    interval: int
    restarts: bytes


@dataclass(slots=True)
class _Layout:
    """What the markers say.

    Attributes:
        frame: the marker of the frame header, which says how scans are coded; 0 where there is none.
        sampling: by component, its blocks across and down in a unit of all components.
    """

    frame: int = 0
    width: int = 0
    height: int = 0
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    scans: list[_Scan] = field(default_factory=list)


def strict(data: bytes) -> tuple[bytes, Fault | None]:
    """The file in a form that makes its decoder raise where pixels are missing, and the fault where it takes more to see that.

    A scan that has all components is decoded as it comes in. Without the marker at its end, libjpeg waits for more data where there should
    be more, and Pillow raises. Several scans must be read to the end first, so they are tried out.
    """
    layout = _layout(data)
    if not layout.scans or layout.scans[-1].end == len(data):
        return data, None  # Pillow raises
    if layout.frame not in _SEQUENTIAL and layout.frame != _PROGRESSIVE:
        return data, None  # arithmetic coding may leave zeros out at the end of a scan; lossless files are of no camera
    if fault := next((fault for scan in layout.scans if (fault := _restart_fault(layout, scan))), None):
        return data, fault
    first = layout.scans[0]
    if layout.frame in _SEQUENTIAL and len(first.components) == len(layout.sampling):
        return data[: first.end] + _ONES, "damaged" if _has_hole(data, first) else None
    if {component for scan in layout.scans if scan.first_coefficient == 0 for component in scan.components} != layout.sampling.keys():
        return data, "damaged"
    return data, "cut" if _is_short(data, layout.scans) else None


def _layout(data: bytes) -> _Layout:
    """Reads the markers up to the end of the (first) image. What is no marker between them is passed over, as libjpeg does."""
    found, at, interval = _Layout(), 0, 0
    while (match := _END.search(data, at)) and (marker := match[0][1]) != _EOI:
        at = match.end()
        if marker in _ALONE:
            continue
        length = int.from_bytes(data[at : at + 2])
        segment = data[at + 2 : at + length]
        at += max(2, length)
        if marker in _FRAMES:
            found.frame, found.height, found.width = marker, int.from_bytes(segment[1:3]), int.from_bytes(segment[3:5])
            found.sampling = {segment[at]: (segment[at + 1] >> 4, segment[at + 1] & 15) for at in range(6, len(segment) - 2, 3)}
        elif marker == _DRI:
            interval = int.from_bytes(segment)
        elif marker == _SOS:
            if not segment or len(segment) < 4 + 2 * segment[0]:
                break  # libjpeg raises
            found.scans.append(_scan(data, at, segment, interval))
            at = found.scans[-1].end
    return found


def _scan(data: bytes, begin: int, header: bytes, interval: int) -> _Scan:
    """`header`: how many components, two bytes for each, the first coefficient and the last, which bits were there and which are now."""
    components, (first_coefficient, _, bits) = header[1 : 1 + 2 * header[0] : 2], header[1 + 2 * header[0] :][:3]
    found = (_END_BUT_RESTARTS if interval else _END).search(data, begin)
    end = found.start() if found else len(data)
    restarts = b"".join(_RESTART.findall(data, begin, end)) if interval else b""
    return _Scan(begin, end, components, first_coefficient, bits >> 4 > 0 and bits & 15 == 0, interval, restarts)


def _restart_fault(layout: _Layout, scan: _Scan) -> Fault | None:
    """Restart markers count from 0 to 7 and from 0 again; there is one between any two intervals, but for a last bit."""
    count = len(scan.restarts)
    if scan.restarts != (bytes(range(0xD0, 0xD8)) * (count // 8 + 1))[:count]:
        return "damaged"
    if scan.finishes or not scan.interval:
        return None
    return "cut" if count < -(-_units(layout, scan) // scan.interval) - 1 else None


def _units(layout: _Layout, scan: _Scan) -> int:
    """Of a scan (ITU-T T.81, A.2): a block of its only component, or blocks of all its components for the same part of the image."""
    most_across, most_down = (max(sampling[i] for sampling in layout.sampling.values()) for i in (0, 1))
    if len(scan.components) > 1:
        return -(-layout.width // (8 * most_across)) * -(-layout.height // (8 * most_down))
    across, down = layout.sampling[scan.components[0]]
    return -(-layout.width * across // most_across // 8) * -(-layout.height * down // most_down // 8)


def _has_hole(data: bytes, scan: _Scan) -> bool:
    """Whether zeros stand in for lost data. Plain areas may be coded so too, but an image of them has no data left over at its end."""
    end = len(data[: scan.end].rstrip(b"\0\xff"))  # some writers fill up with these
    if data.find(_HOLE, scan.begin, end) < 0:
        return False
    try:
        _decoded(data[: max(scan.begin, end - _SURPLUS)] + _ONES, 8)
    except OSError:
        return False
    return True


def _is_short(data: bytes, scans: list[_Scan]) -> bool:
    """Whether the data of a scan ends early. One that only finishes what is there may, so that most whole files are decoded but once."""
    holed = any(data.find(_HOLE, scan.begin, scan.end) >= 0 for scan in scans)
    tried = [scan for scan in (scans if holed else scans[-1:]) if not scan.finishes]
    if not tried:
        return False
    # At the end of a scan that is whole, all this is passed over; one that is short takes it for its blocks.
    begins, ends = [0, *(scan.end for scan in tried)], [*(scan.end for scan in tried), len(data)]
    noisy = _NOISE.join(data[begin:end] for begin, end in zip(begins, ends, strict=True))
    return ImageChops.difference(_decoded(data, 2), _decoded(noisy, 2)).getbbox() is not None


def _decoded(data: bytes, scale: int) -> Image.Image:
    im = Image.open(BytesIO(data), formats=["JPEG"])
    im.draft(None, (im.width // scale, im.height // scale))
    im.load()
    return im
