"""The parts of a message in OpenAI's APIs: texts, images and files, in every spelling that clients use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from llava_gateway.api.bodies import AskBody, FileBody, SightBody, parse_body
from llava_gateway.api.dialects import image_of
from llava_gateway.api.native_json import check_length
from llava_gateway.api.pages import background, selection_of
from llava_gateway.api.sight import whose_region, wishes, wishes_for_all
from llava_gateway.errors import InvalidRequest
from llava_gateway.parts import Link, Part, Sight, TextPart, Upload
from llava_gateway.settings import Settings

TEXTS = ("text", "input_text", "output_text")
IMAGES = ("image_url", "input_image", "image")
FILES = ("file", "input_file")
KINDS = (*TEXTS, *IMAGES, *FILES, "refusal")
_IMAGE_FIELDS = ("image_url", "source", "image", "url", "data")
_FILE_FIELDS = ("file_data", "file_url")


class PartSight(FileBody, SightBody):
    """What a client may say about one image or file beside it."""


class PartReader:
    """Reads the parts of the messages of one request.

    Args:
        stored: returns a file that was uploaded, by its id.
        beside: the fields of the request about all of its images.

    Attributes:
        count: the number of images and files so far.
    """

    def __init__(self, settings: Settings, stored: Callable[[str, str], bytes], beside: AskBody) -> None:
        self._settings = settings
        self._stored = stored
        self._beside = beside
        self._for_all = wishes_for_all(beside)
        self.count = 0

    def check(self) -> None:
        """Check that a region for all images has only one. Raises InvalidRegion."""
        if "region" in self._for_all and self.count != 1:
            raise whose_region(self.count)

    def read(self, content: Any, param: str) -> tuple[tuple[Part, ...], tuple[str, ...]]:
        """Read a content: a text or a list of parts. Returns (parts, the field of each image among them).

        Raises InvalidRequest, ImageError.
        """
        if isinstance(content, str):
            return (self._text(content, param),), ()
        if not isinstance(content, list):
            raise InvalidRequest("content_wrong", param=param)
        parts: list[Part] = []
        names: list[str] = []
        for index, value in enumerate(content):
            part, name = self._part(value, f"{param}[{index}]")
            parts.append(part)
            names += [name] if name else []
        return tuple(parts), tuple(names)

    def _part(self, value: Any, param: str) -> tuple[Part, str]:
        """Read a part. Returns (part, the field of its image; "" for a text)."""
        kind = value.get("type") if isinstance(value, dict) else None
        if kind in TEXTS or kind == "refusal":
            name = "refusal" if kind == "refusal" else "text"
            return self._text(value.get(name), f"{param}.{name}"), ""
        if kind in IMAGES:
            return self.image(value, param)
        if kind in FILES:
            return self._file(value, param)
        given = str(kind)[:40] if isinstance(kind, str) else ""
        raise InvalidRequest("part_unknown", values={"type": given, "known": KINDS}, param=f"{param}.type")

    def _text(self, text: Any, param: str) -> TextPart:
        if not isinstance(text, str):
            raise InvalidRequest("field_not_text", param=param)
        check_length(param, text, self._settings)
        return TextPart(text)

    def image(self, value: Mapping[str, Any], param: str) -> tuple[Upload | Link, str]:
        """Read an image. Returns (image, its field)."""
        given = next((name for name in _IMAGE_FIELDS if value.get(name) is not None), None)
        if given is None:
            return self._by_id(value, value, param, "image_url")
        said, where = value[given], f"{param}.{given}"
        inner = said if isinstance(said, dict) else {}
        text = next((inner[name] for name in ("url", "data") if name in inner), None) if inner else said
        if not isinstance(text, str):
            raise InvalidRequest("field_not_text", param=where)
        return self._seen(image_of(text, where, self._settings), value, inner, param), where

    def _file(self, value: Mapping[str, Any], param: str) -> tuple[Upload | Link, str]:
        inner = value["file"] if isinstance(value.get("file"), dict) else value
        within = param if inner is value else f"{param}.file"
        given = next((name for name in _FILE_FIELDS if inner.get(name) is not None), None)
        if given is None:
            return self._by_id(value, inner, within, "file_data")
        where = f"{within}.{given}"
        if not isinstance(inner[given], str):
            raise InvalidRequest("field_not_text", param=where)
        return self._seen(image_of(inner[given], where, self._settings), value, inner, param), where

    def _by_id(self, value: Mapping[str, Any], inner: Mapping[str, Any], param: str, missing: str) -> tuple[Upload | Link, str]:
        """Read an image or a file that was uploaded before."""
        file_id, where = inner.get("file_id"), f"{param}.file_id"
        if file_id is None:
            raise InvalidRequest("field_missing", param=f"{param}.{missing}")
        if not isinstance(file_id, str):
            raise InvalidRequest("field_not_text", param=where)
        return self._seen(Upload(self._stored(file_id, where)), value, inner, param), where

    def _seen(self, image: Upload | Link, value: Mapping[str, Any], inner: Mapping[str, Any], param: str) -> Upload | Link:
        """Return the image with what the client said about how it is shown; its own fields take precedence over those of the request."""
        self.count += 1
        said = {name: said for name in PartSight.model_fields if (said := inner.get(name, value.get(name))) is not None}
        if said.get("detail") == "original":  # OpenAI's word for an image that is not made smaller
            said["detail"] = "high"
        own = parse_body(PartSight, said, param)
        pages = {name: said[name] for name in FileBody.model_fields if name in said}
        return replace(
            image,
            sight=Sight(**self._for_all | wishes(own, param)),
            selection=selection_of(self._beside.model_copy(update=pages), param if pages else ""),
            background=background(own.background or self._beside.background),
        )
