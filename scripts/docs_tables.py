"""Writes the tables of docs/ from the code; with --check it only checks that they match the code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from llava_gateway.chat import Detail
from llava_gateway.errors import GatewayError
from llava_gateway.images.facts import VisionFacts, profile_for
from llava_gateway.images.profile import VisionProfile
from llava_gateway.options import OPTION_LIMITS
from llava_gateway.parts import Sight
from llava_gateway.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
NEVER_SENT = {"client_stalled"}
RAISED_WITH_OTHER_CODES = [
    (422, "image_too_large", "The image has too many pixels, or its long side or aspect ratio is too large"),
    (422, "image_too_small", "A side is shorter than `image_min_side`"),
    (422, "invalid_image_format", "The gateway can read this format, but `image_formats` excludes it"),
    (422, "pdf_encrypted", "The PDF is protected by a password"),
    (422, "pdf_damaged", "The PDF can't be opened, or has no pages"),
    (422, "page_damaged", "A requested page can't be read; `page` and `count` are in the values"),
    (422, "page_not_found", "The file does not have a page of `pages` or a frame of `frames`"),
    (422, "video_damaged", "The video can't be opened"),
    (415, "video_not_read", "There is neither OpenCV nor ffmpeg to read videos with"),
    (413, "video_too_large", "The video has more than `video_max_bytes`"),
    (413, "document_too_large", "The PDF has more than `document_max_bytes`"),
    (422, "empty_image_file", "The file is empty"),
    (422, "too_many_images", "A turn has more than `images_per_turn` images"),
    (422, "unknown_field", "This route does not have this field"),
    (405, "method_not_allowed", "The route does not have this method"),
    (400, "invalid_body", "The multipart body can't be read"),
]

FAMILY_ROWS = [
    ("Ollama's llava:7b, 13b, 34b (LLaVA 1.6)", VisionFacts("mlp", 336, 14), "llava:7b", "tiles of a square and an overview, see below"),
    ("LLaVA 1.6 whose projector lists its grids", VisionFacts("mlp", 336, 14, ((672, 672),)), "", "the same, by its own list of grids"),
    ("LLaVA 1.5, bakllava, llava-llama3, llava-phi3", VisionFacts("mlp", 336, 14), "", "a square, padded with CLIP's mean colour"),
    ("moondream", VisionFacts("mlp", 378, 14), "moondream", "the same; one image per conversation"),
    ("the demo model", VisionFacts("mlp", 112, 14), "", "the same"),
    ("gemma3", VisionFacts("gemma3", 896, 14), "", "a square, padded with black"),
    ("gemma4", VisionFacts("gemma4v", 224, 16), "", "its own shape in cells of 48 px"),
    ("qwen2-vl, qwen2.5-vl in llama.cpp", VisionFacts("qwen2.5vl_merger", 560, 14), "", "its own shape in cells of 28 px"),
    ("qwen2-vl, qwen2.5-vl in Ollama", VisionFacts("qwen25vl", None, 14, least_tokens=1024), "", "the same, small images enlarged"),
    ("qwen3-vl in llama.cpp, qwen3.5", VisionFacts("qwen3vl_merger", 768, 16), "", "its own shape in cells of 32 px"),
    ("qwen3-vl in Ollama", VisionFacts("qwen3vl", None, 16, least_tokens=1024), "", "the same, small images enlarged"),
    ("pixtral", VisionFacts("pixtral", 1024, 16), "", "its own shape in cells of 16 px, rows divided by a token"),
    (
        "mistral-small 3.1 and later",
        VisionFacts("mistral3", 1540, 14, merge=2),
        "",
        "its own shape in cells of 28 px, rows divided by a token",
    ),
    ("minicpm-v 2.6 to 4.5", VisionFacts("resampler", 448, 14, version=3), "", "an overview and up to 9 slices"),
    ("minicpm-v 2.5", VisionFacts("resampler", 448, 14, version=2), "", "an overview and up to 9 slices"),
    ("llama4", VisionFacts("llama4", 336, 14), "", "up to 3 x 3 tiles and an overview"),
    ("all others", VisionFacts(), "", "its own shape, at most 1344 px long, never enlarged"),
]
"""Models, the facts from their engine, a name in configs/vision.toml, and the image that they get."""
PHOTO, SMALL = (4000, 3000), (640, 480)


def settings_table() -> str:
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default if field.default is not PydanticUndefined else {}
        rows.append(f"| `{name}` | {_default(default)} | {field.description} |")
    return "\n".join(rows)


def _default(value: Any) -> str:
    match value:
        case None | "" | {}:
            return "unset"
        case bool():
            return f"`{str(value).lower()}`"
        case tuple():
            return ", ".join(f"`{item}`" for item in value)
        case int() if value >= 100_000 and value % (1024 * 1024) == 0:
            return f"{value // (1024 * 1024)} MiB"
        case int() if value >= 100_000:
            return f"{value:,}"
        case _:
            return f"`{value}`"


def options_table() -> str:
    rows = ["| option | range | what it does |", "|---|---|---|"]
    for name, limit in OPTION_LIMITS.items():
        reloads = "; a change reloads the model" if limit.reloads else ""
        rows.append(f"| `{name}` | {limit.low:g} to {limit.high:.10g} {limit.unit}".rstrip() + f" | {limit.about}{reloads} |")
    rows.append("| `stop` | up to 16 texts | the answer ends before the first of these texts |")
    return "\n".join(rows)


def errors_table() -> str:
    rows = ["| status | code | retry | meaning | what to do |", "|---|---|---|---|---|"]
    seen: dict[str, str] = {}
    for kind in _classes(GatewayError):
        if kind.code not in NEVER_SENT:
            seen.setdefault(
                kind.code, f"| {kind.status} | `{kind.code}` | {'yes' if kind.retryable else ''} | {kind().title} | {kind.usual_hint()} |"
            )
    seen |= {
        code: f"| {status} | `{code}` |  | {meaning} | See the hint of the error. |" for status, code, meaning in RAISED_WITH_OTHER_CODES
    }
    return "\n".join([*rows, *sorted(seen.values())])


def families_table() -> str:
    details: tuple[Detail, ...] = ("low", "auto", "high")
    rows = [
        "| model | an image is sent as | 640 x 480 | 12 MP: low | auto | high | largest sent | tokens |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for models, facts, name, gets in FAMILY_ROWS:
        profile = profile_for(facts, name)
        costs = [_tokens(profile, SMALL, "auto"), *(_tokens(profile, PHOTO, detail) for detail in details)]
        largest = max((canvas.size for canvas in profile.plan(PHOTO, Sight(detail="high")).canvases), key=lambda size: size[0] * size[1])
        label = profile.plan(PHOTO).label if profile.family != "unknown" else "learned"
        rows.append(f"| {models} | {gets} | {' | '.join(costs)} | {largest[0]} x {largest[1]} | {label} |")
    return "\n".join(rows)


def _tokens(profile: VisionProfile, size: tuple[int, int], detail: Detail) -> str:
    tokens = profile.plan(size, Sight(detail=detail)).tokens
    return "?" if tokens is None else f"{tokens:,}"


def _classes(root: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _classes(kind)


def main(check: bool) -> int:
    tables = {
        "settings.md": {"settings": settings_table()},
        "api.md": {"options": options_table(), "errors": errors_table()},
        "images.md": {"families": families_table()},
    }
    stale = []
    for file, parts in tables.items():
        path = DOCS / file
        text = before = path.read_text("utf-8")
        for name, table in parts.items():
            start, end = f"<!-- {name}: written by scripts/docs_tables.py -->\n", f"<!-- end of {name} -->\n"
            head, found, rest = text.partition(start)
            _, closed, tail = rest.partition(end)
            if not (found and closed):
                raise SystemExit(f"docs/{file} has no place for the table of {name}")
            text = f"{head}{start}{table}\n{end}{tail}"
        if text != before:
            stale.append(file)
            if not check:
                path.write_text(text, "utf-8")
    if stale and check:
        print(f"{', '.join(stale)}: tables are out of date; run python scripts/docs_tables.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
