"""The sight of a question's images (resolution, region and the like): set for all images, for one image, or (as in tutorials) in the
options.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llava_gateway.api.bodies import AskBody, SightBody, parse_body
from llava_gateway.errors import ConflictingFields, InvalidRegion
from llava_gateway.parts import Attached, Box, Sight

IN_OPTIONS = ("image_size", "num_visual_tokens")
"""Fields that are also accepted inside `options`: tutorials for Ollama put them there, and Ollama silently ignores them."""
REGION_MIN_SIDE = 0.01
_ROUNDING = 1e-6
"""Because of rounding, x + width of fractions may slightly exceed 1."""


def with_sight(body: AskBody, images: Sequence[tuple[Attached, SightBody | None]]) -> tuple[Attached, ...]:
    """Return the images of a question, each with its sight; an image's own fields take precedence over those of the question.

    Raises InvalidRegion, ConflictingFields, and InvalidRequest for errors inside `options`.
    """
    for_all = wishes_for_all(body)
    if "region" in for_all and len(images) != 1:
        raise whose_region(len(images))
    return tuple(
        replace(image, sight=Sight(**for_all | (wishes(own, f"images[{index}]") if own else {})))
        for index, (image, own) in enumerate(images)
    )


def wishes(body: SightBody, within: str = "") -> dict[str, Any]:
    """Return the requested sight by the names of Sight's fields. `within` goes before the field's name in errors. Raises InvalidRegion."""
    given: dict[str, Any] = {name: value for name in SightBody.model_fields if (value := getattr(body, name)) is not None}
    if "image_size" in given:
        given["image_size"] = tuple(given["image_size"])
    if "region" in given:
        given["region"] = _box(given["region"], ".".join(filter(None, (within, "region"))))
    return given


def wishes_for_all(body: AskBody) -> dict[str, Any]:
    """Return the sight that a question requests for all of its images, beside its options or inside them. Raises what `wishes` raises,
    ConflictingFields, and InvalidRequest for errors inside `options`.
    """
    beside = wishes(body)
    given = {name: body.options[name] for name in IN_OPTIONS if body.options.get(name) is not None}
    if not given:
        return beside
    inside = parse_body(SightBody, given, "options")
    for name in given:
        if getattr(body, name) not in (None, getattr(inside, name)):
            raise ConflictingFields("fields_differ", values={"one": name, "other": f"options.{name}"}, param=f"options.{name}")
    return beside | wishes(inside)


def _box(region: list[float], param: str) -> Box:
    x, y, width, height = region
    if width < REGION_MIN_SIDE or height < REGION_MIN_SIDE:
        raise InvalidRegion("region_too_small", values={"least": REGION_MIN_SIDE}, param=param)
    if x + width > 1 + _ROUNDING or y + height > 1 + _ROUNDING:
        raise InvalidRegion("region_beyond", param=param)
    return x, y, min(width, 1 - x), min(height, 1 - y)


def whose_region(images: int) -> InvalidRegion:
    """Return the error for one region for this many images."""
    if not images:
        return InvalidRegion("region_without_image", param="region")
    return InvalidRegion("region_of_several", values={"count": images}, param="region")
