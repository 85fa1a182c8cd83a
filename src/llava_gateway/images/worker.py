"""A worker process: reads one job at a time from stdin, answers on stdout, and exits when stdin ends.

Start it as `python -m llava_gateway.images.worker BYTES`, where BYTES limits its memory. A job is one frame. The first answer is `started`
once the job is read in full. Then `ingest` sends a `ready` and a `canonical` frame, `render` a `rendition` frame, `view` a `view` frame,
`sheet` and `rotate` a `canonical` frame, `examine` a `document` frame, `texts` and `thumbnails` a frame of their name. An `error` frame
may replace any of them and is the last.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from llava_gateway.errors import ImageError, InvalidRequest
from llava_gateway.images import documents, frames
from llava_gateway.images.encode import Encoded
from llava_gateway.images.flaws import refused
from llava_gateway.images.frames import Frame
from llava_gateway.images.info import Limits
from llava_gateway.images.ingest import Ready, Rendered, ingest, render
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.rotate import rotated
from llava_gateway.images.sheet import sheet
from llava_gateway.images.view import draw
from llava_gateway.parts import Page, Selection, Sight

try:
    import resource
except ImportError:  # on Windows only the wall clock (in the parent process) and the pixel limits apply
    HAS_LIMITS = False
else:
    HAS_LIMITS = True


def main() -> None:
    """Serve jobs until stdin ends."""
    # Ctrl+C reaches every process of the terminal, and a service manager's SIGTERM every process of the service. The gateway stops us.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    jobs = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # Output that a decoder prints must not mix with the frames.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    _limit_memory(int(sys.argv[1]))
    try:
        while job := frames.read(jobs):
            _limit_cpu(job[0]["timeout"])
            frames.write(answers, {"is": "started"})
            for header, blob in _answer(*job):
                frames.write(answers, header, blob)
    except BrokenPipeError:
        os._exit(0)  # the gateway is gone


def _answer(job: dict[str, Any], blob: bytes) -> Iterator[Frame]:
    """Do a job and turn every exception into an error frame.

    Damaged files make Pillow raise OSError, SyntaxError, struct.error, ValueError, IndexError, KeyError, zlib.error and more, and the
    types change with its version.
    """
    try:
        yield from _do(job, blob)
    except (ImageError, InvalidRequest) as error:
        yield frames.error_header(error), b""
    except MemoryError:
        yield frames.error_header(_out_of_memory()), b""
    except Exception as error:
        yield frames.error_header(refused(blob, cut="truncated" in str(error))), b""


def _do(job: dict[str, Any], blob: bytes) -> Iterator[Frame]:
    if job["do"] in ("sheet", "rotate"):
        whole = sheet(frames.split(blob, job["sizes"])) if job["do"] == "sheet" else rotated(blob, job["degrees"])
        yield {"is": "canonical", "format": whole.format, "width": whole.width, "height": whole.height}, whole.data
        return
    if job["do"] == "examine":
        found = documents.examine(blob, Limits(**job["limits"]), Selection.from_json(job["selection"]))
        yield {"is": "document", **found.to_json()}, b""
        return
    if job["do"] == "thumbnails":
        document, files = documents.thumbnails(blob, Limits(**job["limits"]))
        yield {"is": "thumbnails", "document": document.to_json(), "sizes": [len(file) for file in files]}, b"".join(files)
        return
    if job["do"] == "texts":
        yield {"is": "texts", "texts": documents.texts(blob, job["pages"])}, b""
        return
    profile = VisionProfile.from_json(job["profile"]) if job["profile"] else None
    sight = Sight.from_json(job["sight"])
    if job["do"] == "view" and profile:
        plan = profile.plan((job["width"], job["height"]), sight)
        yield {"is": "view"}, draw(frames.split(blob, job["sizes"]), plan.canvases).data
        return
    if job["do"] == "render" and profile:
        header, data = _rendered(render(blob, profile, sight))
        yield {"is": "rendition", **header}, data
        return
    limits, page = Limits(**job["limits"]), Page.from_json(job["page"]) if job.get("page") else None
    background = job.get("background")
    ingested = (
        documents.ingest_page(blob, page, limits, profile, sight, background) if page else ingest(blob, limits, profile, sight, background)
    )
    for result in ingested:
        match result:
            case Ready(info, None):
                yield {"is": "ready", "info": info.to_json(), "rendition": None}, b""
            case Ready(info, Rendered() as made):
                header, data = _rendered(made)
                yield {"is": "ready", "info": info.to_json(), "rendition": header}, data
            case Encoded():
                yield {"is": "canonical", "format": result.format}, result.data


def _rendered(made: Rendered) -> Frame:
    """Return the header that describes the pieces, and the concatenated pieces."""
    plan = made.plan
    labels = [label for canvas in plan.canvases for label in (canvas.label, *[""] * (math.prod(canvas.grid) - 1))]
    pieces = [
        {"format": p.format, "width": p.width, "height": p.height, "bytes": len(p.data), "label": label}
        for p, label in zip(made.pieces, labels, strict=True)
    ]
    header = {
        "pieces": pieces,
        "tokens": plan.tokens,
        "label": plan.label,
        "detail": plan.detail,
        "notes": [each.to_json() for each in plan.notes],
    }
    return header, b"".join(piece.data for piece in made.pieces)


def _out_of_memory() -> ImageError:
    return ImageError("image_memory", code="image_too_large")


def _limit_memory(most: int) -> None:
    if HAS_LIMITS:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _limit_cpu(seconds: float) -> None:
    """Limit the CPU time from now on to `seconds` and at least one more, so that the wall-clock limit acts first.

    The system counts CPU time from the start of the process, so the time used so far is added.
    """
    if HAS_LIMITS:
        used = resource.getrusage(resource.RUSAGE_SELF)
        most = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    main()
