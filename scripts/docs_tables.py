"""Writes the tables of docs/settings.md and docs/api.md from the code; with --check it only says whether they are what the code says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from llava_gateway.chat import OPTION_LIMITS
from llava_gateway.errors import GatewayError
from llava_gateway.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
NEVER_SENT = {"client_stalled"}
RAISED_WITH_OTHER_CODES = [
    (422, "image_too_large", "More pixels, a longer side or a longer shape than is taken; told from the header, before decoding"),
    (422, "image_too_small", "A side is shorter than `image_min_side`"),
    (422, "invalid_image_format", "The format is one we read, but `image_formats` leaves it out"),
    (422, "empty_image_file", "No bytes"),
    (422, "too_many_images", "More than `images_per_turn` pictures in one turn"),
    (422, "unknown_field", "A field this route does not have"),
    (405, "method_not_allowed", "The route does not take this method"),
    (400, "invalid_body", "The multipart body can't be read"),
]


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
        reloads = "; a change loads the model again" if limit.reloads else ""
        rows.append(f"| `{name}` | {limit.low:g} to {limit.high:.10g} {limit.unit}".rstrip() + f" | {limit.about}{reloads} |")
    rows.append("| `stop` | up to 16 texts | the answer ends before the first of these texts |")
    return "\n".join(rows)


def errors_table() -> str:
    rows = ["| status | code | meaning | what to do |", "|---|---|---|---|"]
    seen: dict[str, str] = {}
    for kind in _classes(GatewayError):
        if kind.code not in NEVER_SENT:
            seen.setdefault(kind.code, f"| {kind.status} | `{kind.code}` | {kind.title} | {kind.hint} |")
    seen |= {code: f"| {status} | `{code}` | {meaning} | The error's hint says. |" for status, code, meaning in RAISED_WITH_OTHER_CODES}
    return "\n".join([*rows, *sorted(seen.values())])


def _classes(root: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _classes(kind)


def main(check: bool) -> int:
    tables = {
        "settings.md": {"settings": settings_table()},
        "api.md": {"options": options_table(), "errors": errors_table()},
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
        print(f"{', '.join(stale)}: tables are not what the code says; run python scripts/docs_tables.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
