"""A worker process: takes one image at a time on stdin, answers on stdout, ends when stdin does. `python -m llava_gateway.images.worker`

Started with its memory limit in bytes as the only argument. A job is one frame; the answer is `started` (the job is read in full), then for
`ingest` a `ready` and a `canonical` frame, for `render` a `rendition` frame, for `view` a `view` frame, for `sheet` and `turn` a
`canonical` frame; an `error` frame may take the place of any of them.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from llava_gateway.chat import Sight
from llava_gateway.errors import ImageError
from llava_gateway.images import frames
from llava_gateway.images.decode import damaged
from llava_gateway.images.encode import Encoded
from llava_gateway.images.frames import Frame
from llava_gateway.images.info import Limits
from llava_gateway.images.ingest import Ready, Rendered, ingest, render
from llava_gateway.images.profile import VisionProfile
from llava_gateway.images.rotate import rotated
from llava_gateway.images.sheet import sheet
from llava_gateway.images.view import draw

try:
    import resource
except ImportError:  # Windows: the wall clock (in the parent) and the pixel limits hold, nothing else does
    HAS_LIMITS = False
else:
    HAS_LIMITS = True


def main() -> None:
    """Serve jobs until stdin ends."""
    # Ctrl+C goes to the whole terminal, a service manager's SIGTERM to the whole service; the gateway ends us when it is done.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    jobs = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a decoder prints must not get between the frames.
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
    """All that goes wrong in a decoder ends here: damaged files make Pillow raise OSError, SyntaxError, struct.error, ValueError,
    IndexError, KeyError, zlib.error and more, and no two versions agree on which."""
    try:
        yield from _do(job, blob)
    except ImageError as error:
        yield frames.error_header(error), b""
    except MemoryError:
        yield frames.error_header(_out_of_memory()), b""
    except Exception as error:
        yield frames.error_header(damaged(blob, cut="truncated" in str(error))), b""


def _do(job: dict[str, Any], blob: bytes) -> Iterator[Frame]:
    if job["do"] in ("sheet", "rotate"):
        whole = sheet(frames.split(blob, job["sizes"])) if job["do"] == "sheet" else rotated(blob, job["degrees"])
        yield {"is": "canonical", "format": whole.format, "width": whole.width, "height": whole.height}, whole.data
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
    for result in ingest(blob, Limits(**job["limits"]), profile, sight):
        match result:
            case Ready(info, None):
                yield {"is": "ready", "info": info.to_json(), "rendition": None}, b""
            case Ready(info, Rendered() as made):
                header, data = _rendered(made)
                yield {"is": "ready", "info": info.to_json(), "rendition": header}, data
            case Encoded():
                yield {"is": "canonical", "format": result.format}, result.data


def _rendered(made: Rendered) -> Frame:
    """The pieces one after the other, with what tells them apart."""
    pieces = [{"format": p.format, "width": p.width, "height": p.height, "bytes": len(p.data)} for p in made.pieces]
    plan = made.plan
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
    """From now on; the limit itself counts from the start of the process. A second is left for the wall clock to strike first."""
    if HAS_LIMITS:
        used = resource.getrusage(resource.RUSAGE_SELF)
        most = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    main()
