"""Detect missing pixels in a JPEG: libjpeg fills them with gray, and Pillow hides its warnings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Literal, TypeAlias

from PIL import Image, ImageChops

from llava_gateway.images.flaws import ENOUGH

Fault: TypeAlias = Literal["cut", "damaged"]

_EOI, _SOS, _DRI = 0xD9, 0xDA, 0xDD
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a segment."""
# Each pattern begins with a literal byte, so the search is as fast as a search for that byte. A zero byte after 0xFF belongs to the data.
_END = re.compile(rb"\xff[^\x00\xff]")
_END_BUT_RESTARTS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_ONES = b"\xff\x00" * 8
"""As many bits as libjpeg reads ahead. No code consists of ones alone, so these decode to at most two blocks of 8x8 pixels."""
_NOISE = bytes(i * 73 % 255 for i in range(256))
"""Bytes without a marker that decode to blocks unlike any others."""
_HOLE = bytes(64)
_SURPLUS = 256
_EOI_MARKER = b"\xff\xd9"
# The scans that libjpeg, and with it nearly every program, writes into a progressive file: the first coefficient of each, and its share
# of the bytes of a typical photo.
_USUAL_SCANS = {
    3: ((0, 0.08), (1, 0.17), (1, 0.04), (1, 0.04), (6, 0.12), (1, 0.2), (0, 0.01), (1, 0.03), (1, 0.03), (1, 0.28)),
    1: ((0, 0.09), (1, 0.2), (6, 0.14), (1, 0.23), (0, 0.01), (1, 0.33)),
}
"""By number of components."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A JPEG that was examined.

    Attributes:
        data: the file to decode.
        ended: whether the end marker is there.
        fault: why it can't be accepted; None if decoding it will tell.
        share: share of the image that its scans have, 0 to 1, as an estimate; 0 if it can't be estimated.
    """

    data: bytes
    ended: bool = True
    fault: Fault | None = None
    share: float = 1.0

    @property
    def tells_its_end(self) -> bool:
        """Whether decoding it raises if pixels are missing, and `missing` can then say which."""
        return self.data.endswith(_ONES)


@dataclass(frozen=True, slots=True)
class Missing:
    """What is missing of a JPEG.

    Attributes:
        data: the file to decode; the decoder fills what is missing with anything.
        share: share of its blocks that are there, 0 to 1.
        boxes: the parts that are missing, in pixels of the whole image.
    """

    data: bytes
    share: float
    boxes: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Scan:
    """Compressed data from the offset `begin` to the marker at the offset `end`.

    Attributes:
        components: ids of its components.
        first, last: indexes of the first and the last coefficient that it codes; 0 is the mean of a block.
        bits_left: bits of these coefficients that later scans add.
        refines: whether it only adds a bit to coefficients of earlier scans.
        interval: units between two restart markers; 0 for none.
        restarts: second bytes of the restart markers that it contains.
    """

    begin: int
    end: int
    components: bytes
    first: int
    last: int
    bits_left: int
    refines: bool
    interval: int
    restarts: bytes

    @property
    def indexes(self) -> range:
        return range(self.first, self.last + 1)

    @property
    def finishes(self) -> bool:
        """Whether it only adds the last bit to coefficients of earlier scans."""
        return self.refines and self.bits_left == 0


@dataclass(slots=True)
class _Layout:
    """The structure of a file by its markers.

    Attributes:
        frame: marker of the frame header, which states how scans are coded; 0 for no frame header.
        width, height: size in pixels.
        sampling: for each component id, its blocks across and down in a unit of all components.
        ended: whether the end marker is there.
    """

    frame: int = 0
    width: int = 0
    height: int = 0
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    scans: list[_Scan] = field(default_factory=list)
    ended: bool = False


def strict(data: bytes) -> Checked:
    """Prepare a JPEG so that Pillow raises if pixels are missing.

    A scan with all components is decoded while it is read. Without its end marker, libjpeg waits for the missing data, and Pillow raises.
    Several scans must be read to the end before they are decoded, so this function decodes them to find a fault.
    """
    layout = _layout(data)
    if not layout.scans:
        return Checked(data)  # Pillow raises
    ended = layout.ended
    if layout.frame not in _SEQUENTIAL and layout.frame != _PROGRESSIVE:
        return Checked(data, ended)  # arithmetic coding may omit zeros at the end of a scan; no camera writes lossless JPEGs
    first = layout.scans[0]
    at_once = layout.frame in _SEQUENTIAL and len(first.components) == len(layout.sampling)
    fault = next((fault for scan in layout.scans if (fault := _restart_fault(layout, scan))), None)
    if fault == "damaged" or (fault and ended and not at_once):
        return Checked(data, ended, fault)
    if at_once:
        return Checked(data[: _sound_end(data, first)] + _ONES, ended)
    if {component for scan in layout.scans if scan.first == 0 for component in scan.components} != layout.sampling.keys():
        return Checked(data, ended, "damaged" if ended else "cut", 0.0)
    if not ended:
        last = layout.scans[-1]
        layout.scans[-1] = last = replace(last, end=_without_zeros(data, last))
        data = data[: last.end] + _EOI_MARKER
    part = _part_of_scans(data, layout.scans, finishing=not ended)
    if ended and part == 1:
        return Checked(data)
    share = _share(layout, part)
    return Checked(data, ended, None if share >= ENOUGH else "cut", share)


def missing(data: bytes) -> Missing:
    """Return what is missing of a file from `strict` that ends within its only scan. Raises any error of a decoder.

    Decodes it twice, each time with other noise behind its end: the image differs from the first missing block on.
    """
    body, layout = data.removesuffix(_ONES), _layout(data)
    one, other = (_decoded(body + noise * 8 + _EOI_MARKER, 8) for noise in (_NOISE, _NOISE[::-1]))
    across, down = (max(sampling[i] for sampling in layout.sampling.values()) if len(layout.sampling) > 1 else 1 for i in (0, 1))
    in_row = -(-layout.width // (8 * across))
    units = _units(layout, layout.scans[0])
    first = units
    if changed := ImageChops.difference(one, other).getbbox():
        row = changed[1] // down
        in_that_row = ImageChops.difference(*(im.crop((0, row * down, im.width, (row + 1) * down)) for im in (one, other))).getbbox()
        first = row * in_row + (in_that_row[0] // across if in_that_row else 0)
    if interval := layout.scans[0].interval:
        # Behind a missing restart marker, libjpeg decodes no noise.
        first = min(first, (len(layout.scans[0].restarts) + 1) * interval)
    row, column = divmod(first, in_row)
    left, top, bottom = column * 8 * across, row * 8 * down, (row + 1) * 8 * down
    boxes = ((left, top, layout.width, min(bottom, layout.height)), (0, bottom, layout.width, layout.height))
    there = tuple((x, y, right, end) for x, y, right, end in boxes if x < right and y < end)
    return Missing(body + _EOI_MARKER, first / units, there)


def samples_kept(data: bytes) -> int:
    """Return how many samples libjpeg keeps in memory, as coefficients of 2 bytes each: all of the file's, unless a single scan has all
    components and it can decode row by row (jdapistd.c; `jinit_d_coef_controller` in jdcoefct.c)."""
    layout = _layout(data, first_only=True)
    row_by_row = layout.frame in _SEQUENTIAL and layout.scans and len(layout.scans[0].components) == len(layout.sampling)
    if row_by_row or not layout.sampling:
        return 0
    most_across, most_down = (max(1, *(sampling[i] for sampling in layout.sampling.values())) for i in (0, 1))
    shares = (across * down / (most_across * most_down) for across, down in layout.sampling.values())
    return int(layout.width * layout.height * sum(shares))


def _layout(data: bytes, *, first_only: bool = False) -> _Layout:
    """Read the markers up to the end of the first image. Skips other bytes between them, as libjpeg does.

    With `first_only`, ends at the header of the first scan, without looking for the scan's end, which takes most of the time.
    """
    found, at, interval = _Layout(), 0, 0
    while match := _END.search(data, at):
        at, marker = match.end(), match[0][1]
        if marker == _EOI:
            found.ended = True
            break
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
            found.scans.append(_scan(data if not first_only else data[:at], at, segment, interval))
            if first_only:
                break
            at = found.scans[-1].end
    return found


def _scan(data: bytes, begin: int, header: bytes, interval: int) -> _Scan:
    """Read the scan that starts at `begin`.

    Args:
        header: the number of components, two bytes for each, the first and last coefficient, and the earlier and new bit positions.
        interval: units between two restart markers; 0 for none.
    """
    components, (first, last, bits) = header[1 : 1 + 2 * header[0] : 2], header[1 + 2 * header[0] :][:3]
    found = (_END_BUT_RESTARTS if interval else _END).search(data, begin)
    end = found.start() if found else len(data)
    restarts = b"".join(_RESTART.findall(data, begin, end)) if interval else b""
    return _Scan(begin, end, components, first, last, bits & 15, bits >> 4 > 0, interval, restarts)


def _restart_fault(layout: _Layout, scan: _Scan) -> Fault | None:
    """Check the restart markers of a scan. Returns the fault, or None.

    The markers count from 0 to 7 repeatedly, and one stands between two intervals. A scan that `finishes` may have fewer.
    """
    count = len(scan.restarts)
    if scan.restarts != (bytes(range(0xD0, 0xD8)) * (count // 8 + 1))[:count]:
        return "damaged"
    if scan.finishes or not scan.interval:
        return None
    return "cut" if count < -(-_units(layout, scan) // scan.interval) - 1 else None


def _units(layout: _Layout, scan: _Scan) -> int:
    """Count the units of a scan (ITU-T T.81, A.2).

    A unit is one block of the only component, or the blocks of all components for the same part of the image.
    """
    most_across, most_down = (max(sampling[i] for sampling in layout.sampling.values()) for i in (0, 1))
    if len(scan.components) > 1:
        return -(-layout.width // (8 * most_across)) * -(-layout.height // (8 * most_down))
    across, down = layout.sampling[scan.components[0]]
    return -(-layout.width * across // most_across // 8) * -(-layout.height * down // most_down // 8)


def _without_zeros(data: bytes, scan: _Scan) -> int:
    """Return the offset at which the scan's data ends, without the zeros of a download that reserved its space on the disk and stopped."""
    end = len(data[: scan.end].rstrip(b"\0"))
    return max(scan.begin, end) if scan.end - end >= len(_HOLE) else scan.end


def _sound_end(data: bytes, scan: _Scan) -> int:
    """Return the offset at which the scan's data ends, or where zeros begin that replace lost data.

    Plain areas may also be coded as zeros, but then all data up to the end of the scan is needed, and it is enough. With a hole, the image
    is complete before the data ends, or not at all. A download that reserved its space on the disk and stopped ends in zeros.
    """
    end = len(data[: scan.end].rstrip(b"\0\xff"))  # some writers pad with these bytes
    hole = data.find(_HOLE, scan.begin, end)
    if hole >= 0:
        return scan.end if _ends_at(data, end) and not _ends_at(data, max(scan.begin, end - _SURPLUS)) else hole
    if data.find(_HOLE, end, scan.end) < 0 or _ends_at(data, end):
        return scan.end
    return scan.end if _ends_at(data, scan.end) and not _ends_at(data, max(end, scan.end - _SURPLUS)) else end


def _ends_at(data: bytes, end: int) -> bool:
    """Return whether the image is complete with the data before this offset."""
    try:
        _decoded(data[:end] + _ONES, 8)
    except OSError:
        return False
    return True


def _part_of_scans(data: bytes, scans: list[_Scan], *, finishing: bool) -> float:
    """Return the part of the last scan that is there, 0 to 1; 0 if an earlier scan is cut.

    Checks only the last scan unless there is a run of zeros, so most complete files are decoded only once. A scan that `finishes` may end
    early, so it is only checked if the file itself ends there (`finishing`).
    """
    holed = any(data.find(_HOLE, scan.begin, scan.end) >= 0 for scan in scans)
    tried = [scan for scan in (scans if holed else scans[-1:]) if finishing or not scan.finishes]
    if not tried:
        return 1.0
    # A complete scan skips this noise at its end; a short scan decodes it as its missing blocks.
    begins, ends = [0, *(scan.end for scan in tried)], [*(scan.end for scan in tried), len(data)]
    noisy = _NOISE.join(data[begin:end] for begin, end in zip(begins, ends, strict=True))
    whole = _decoded(data, 2)
    changed = ImageChops.difference(whole, _decoded(noisy, 2)).getbbox()
    return 1.0 if changed is None else 0.0 if len(tried) > 1 else changed[1] / whole.height


def _share(layout: _Layout, part: float) -> float:
    """Estimate the share of the image that the scans have, 0 to 1. `part` of the last scan is there. 0 if there is no rule."""
    usual = _USUAL_SCANS.get(len(layout.sampling), ())
    if layout.frame == _PROGRESSIVE and [scan.first for scan in layout.scans] == [first for first, _ in usual[: len(layout.scans)]]:
        shares = [share for _, share in usual[: len(layout.scans)]]
        return min(1.0, round(sum(shares[:-1]) + shares[-1] * part, 4))
    known = {(component, index) for scan in layout.scans if scan.bits_left == 0 for component in scan.components for index in scan.indexes}
    return 1.0 if part == 1 and len(known) == 64 * len(layout.sampling) else 0.0


def _decoded(data: bytes, scale: int) -> Image.Image:
    im = Image.open(BytesIO(data), formats=["JPEG"])
    im.draft(None, (im.width // scale, im.height // scale))
    im.load()
    return im
