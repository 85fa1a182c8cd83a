"""Write an ICC profile for colours that a file signals without one (ICC.1:2022; pure)."""

from __future__ import annotations

import struct

from llava_gateway.images import signalled
from llava_gateway.images.signalled import Signal

_D50 = (0.9642, 1.0, 0.8249)
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(coded: Signal) -> bytes:
    """Return a profile of three primaries and one curve."""
    matrix = signalled.to_xyz(coded.primaries, white=_D50)
    numbers = _SRGB_CURVE if coded.gamma is None else (coded.gamma,)
    curve = b"para" + bytes(4) + struct.pack(f">HH{len(numbers)}i", 3 if len(numbers) > 1 else 0, 0, *map(_fixed, numbers))
    columns = {name: tuple(row[i] for row in matrix) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    text = coded.name.encode("utf-16-be")
    bodies = {
        b"desc": b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text,
        b"cprt": b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 2, 28) + b"\0-",
        b"wtpt": _xyz(_D50),
        **{name: _xyz(column) for name, column in columns.items()},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, data, at = b"", b"", 128 + 4 + 12 * len(bodies)
    for tag, body in bodies.items():
        table += tag + struct.pack(">II", at + len(data), len(body))
        data += body + bytes(-len(body) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(data), bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", *map(_fixed, _D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(bodies)) + table + data


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">iii", *map(_fixed, values))


def _fixed(value: float) -> int:
    return round(max(-32767.0, min(32767.0, value)) * 65536)
