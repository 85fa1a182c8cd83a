"""Reads the header of a GGUF file, which describes the model in it. Reads metadata only, no tensors.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (little-endian, versions 2 and 3).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from llava_gateway.errors import FileFault
from llava_gateway.images.facts import VisionFacts

Scalar: TypeAlias = int | float | bool | str
Value: TypeAlias = Scalar | tuple[Scalar, ...]

MAX_ARRAY = 256
"""The longest array that is kept. The vocabulary of a tokenizer is longer, and nothing here needs it."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING = 8
_ARRAY = 9
# llama.cpp's llama_ftype (include/llama.h), the usual ones.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L",
    14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 25: "IQ4_NL", 30: "IQ4_XS", 32: "BF16",
}  # fmt: skip


class GGUFError(FileFault):
    """The file is not a GGUF, or its header is damaged."""


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """The metadata of one file by GGUF key. Arrays of more than MAX_ARRAY elements are left out."""

    metadata: Mapping[str, Value]
    size_bytes: int

    def _text(self, key: str) -> str:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def _number(self, key: str) -> int | None:
        value = self.metadata.get(key)
        return value if isinstance(value, int) else None

    @property
    def architecture(self) -> str:
        return self._text("general.architecture")

    @property
    def name(self) -> str:
        return self._text("general.name")

    @property
    def parameters(self) -> str:
        """The number of parameters, such as `7B`; "" if the file does not say."""
        return self._text("general.size_label")

    @property
    def quantization(self) -> str:
        return _FILE_TYPES.get(self._number("general.file_type") or 0, "") if "general.file_type" in self.metadata else ""

    @property
    def chat_template(self) -> str:
        return self._text("tokenizer.chat_template")

    @property
    def embeds(self) -> bool:
        """Whether the model is made to turn a text into one vector: then llama.cpp's pooling type is 1 to 3."""
        return self._number(f"{self.architecture}.pooling_type") in (1, 2, 3)

    @property
    def context_length(self) -> int | None:
        """The trained context, in tokens."""
        return self._number(f"{self.architecture}.context_length")

    @property
    def is_projector(self) -> bool:
        """Whether this is an mmproj file: the vision encoder and projector of a text model."""
        return self.architecture == "clip"

    @property
    def vision_facts(self) -> VisionFacts:
        """The facts about the model's vision that a projector's header holds."""
        flat = self.metadata.get("clip.vision.image_grid_pinpoints", ())
        sides = [side for side in flat if isinstance(side, int)] if isinstance(flat, tuple) else []
        # The first LLaVA files have no projector type; llama.cpp treats them as mlp (tools/mtmd/clip.cpp).
        default = "mlp" if self.metadata.get("clip.has_llava_projector") else ""
        return VisionFacts(
            projector_type=self._text("clip.vision.projector_type") or self._text("clip.projector_type") or default,
            image_size=self._number("clip.vision.image_size"),
            patch_size=self._number("clip.vision.patch_size"),
            pinpoints=tuple(zip(sides[::2], sides[1::2], strict=False)),
            merge=self._number("clip.vision.spatial_merge_size") or self._number("clip.vision.projector.scale_factor"),
            queries=self._number("clip.minicpmv_query_num"),
            version=self._number("clip.minicpmv_version"),
        )


def read_header(path: Path) -> GGUFHeader:
    """Read the header of the file at `path`. Raises GGUFError, OSError."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise GGUFError("gguf_none")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return GGUFHeader(_Reader(data).metadata(), len(data))
            except (struct.error, UnicodeDecodeError, IndexError, OverflowError) as error:
                raise GGUFError("gguf_damaged") from error


class _Reader:
    """Reads the metadata in order. A read beyond the end of the file raises struct.error or IndexError."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 4

    def metadata(self) -> dict[str, Value]:
        version, _tensors, count = self._number("I"), self._number("Q"), self._number("Q")
        if version not in (2, 3):
            raise GGUFError("gguf_version", version=version)
        found: dict[str, Value] = {}
        for _ in range(count):
            key = self._string()
            value = self._value(self._number("I"))
            if value is not None:
                found[key] = value
        return found

    def _value(self, kind: int) -> Value | None:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(self._number("I"), self._number("Q"))
        return self._scalar(kind)

    def _array(self, kind: int, count: int) -> tuple[Scalar, ...] | None:
        """Return the elements, or None if there are too many to keep. No known model has arrays of arrays."""
        if kind == _STRING:
            if count <= MAX_ARRAY:
                return tuple(self._string() for _ in range(count))
            for _ in range(count):
                self._skip(self._number("Q"))
            return None
        if kind not in _SCALARS:
            raise GGUFError("gguf_type", kind=kind)
        if count <= MAX_ARRAY:
            return tuple(self._scalar(kind) for _ in range(count))
        self._skip(count * struct.calcsize("<" + _SCALARS[kind]))
        return None

    def _scalar(self, kind: int) -> int | float | bool:
        if kind not in _SCALARS:
            raise GGUFError("gguf_type", kind=kind)
        value: int | float | bool = self._unpack("<" + _SCALARS[kind])
        return value

    def _number(self, code: str) -> int:
        value: int = self._unpack("<" + code)
        return value

    def _unpack(self, code: str) -> Any:
        value = struct.unpack_from(code, self._data, self._at)[0]
        self._at += struct.calcsize(code)
        return value

    def _string(self) -> str:
        start = self._at + 8
        self._skip(self._number("Q"))
        return self._data[start : self._at].decode("utf-8")

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise IndexError("past the end")
