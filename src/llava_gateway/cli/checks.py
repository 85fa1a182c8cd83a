"""The checks of `llava-gateway doctor`: this machine, the engines, and how the model sees images."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from llava_gateway.chat import EngineRequest, Message, Piece, Rendition, user_request
from llava_gateway.cli import sample_images
from llava_gateway.cli.client import gateway_version
from llava_gateway.cli.console import Failure
from llava_gateway.cli.serve import address, check_ports
from llava_gateway.engines.base import ModelInfo, answer_text
from llava_gateway.engines.pool import EngineState, PoolState
from llava_gateway.errors import GatewayError
from llava_gateway.gateway.build import build_gateway
from llava_gateway.gateway.files import connections_limit, files_wanted, raise_files_limit, slots_wanted
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.images.facts import profile_for
from llava_gateway.images.sniff import Format
from llava_gateway.notes import ENGINES, INSTALL_EMBEDDED
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, TextPart, Upload
from llava_gateway.settings import Settings

Status: TypeAlias = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `advice` says what to do; "" if nothing needs to be done."""

    name: str
    status: Status
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class KnownFault:
    """A bug of Ollama from version `since` up to but not including `until`; with `family` only for such models."""

    since: tuple[int, ...]
    until: tuple[int, ...]
    what: str
    family: str = ""


NEVER = (999,)
KNOWN_FAULTS = (
    KnownFault((0, 1, 33), (0, 1, 34), "llava sees the first image right and later ones wrong (ollama issue 4163)."),
    KnownFault((0, 13, 3), (0, 30), "llava and minicpm-v may not see images at all (ollama issue 13549)."),
    KnownFault((0, 30), NEVER, "llama3.2-vision can't be loaded any more (ollama issue 16490).", family="mllama"),
)

COLOURS = ("red", "blue")
COLOUR_QUESTION = "What color is the circle?"
BACKGROUND_QUESTION = "What color is the background?"
TEXT_QUESTION = "Read the text."
LETTERS = "F7"
LEVELS = {"gray": 128, "black": 0, "white": 255}
_ALWAYS_THE_SAME = Options(temperature=0, seed=1, num_predict=48)
_SHRUNK = 10
"""How many times larger the checkerboard is than the model's input square."""
_USUAL_SIDE = 336


async def examine(settings: Settings, *, ask: bool) -> AsyncIterator[Check]:
    """Run the checks and yield each result at once; with `ask`, ask the model about nine images."""
    yield check_python()
    yield check_limits()
    yield check_slots(settings)
    yield await asyncio.to_thread(check_listening, settings)
    gateway = build_gateway(settings.model_copy(update={"keep": "memory"}))
    async with gateway.running():
        for kind in get_args(Format):
            if kind in settings.image_formats:
                yield await check_decoder(gateway, kind)
        state = gateway.pool.state
        for engine in state.engines:
            yield check_engine(engine, chosen=settings.engine_choice != "auto")
        for fault in known_faults(state):
            yield fault
        yield check_default(settings, state)
        model = state.default.model
        if ask and model is not None and model.vision:
            yield await check_sight(gateway, model)
            yield await probe_orientation(gateway, model)
            yield await probe_shrinking(gateway, model)


def check_python() -> Check:
    return Check("python", "ok", ".".join(str(part) for part in sys.version_info[:3]))


def check_limits() -> Check:
    """Check whether the system can limit the processes that read images."""
    holds = "the limits on pixels, bytes and wall-clock time hold"
    if sys.platform == "win32":
        return Check("limits", "warn", f"Windows limits neither memory nor CPU time of a process; {holds}.")
    if sys.platform == "darwin":
        return Check("limits", "warn", f"macOS does not limit the memory of a process; CPU time is limited, and {holds}.")
    return Check("limits", "ok", f"memory and CPU time of the processes that read images are limited, and {holds}.")


def check_slots(settings: Settings) -> Check:
    """Check whether as many answers as the engines have slots may be open at once. `serve` raises the limit too."""
    raise_files_limit()
    slots, most = slots_wanted(settings), connections_limit()
    if slots <= most:
        return Check("open files", "ok", f"the limit on open files has room for all {slots} slots.")
    advice = f"Raise it (`ulimit -n {files_wanted(settings)}`, or LimitNOFILE of a systemd unit), or set fewer slots."
    return Check("open files", "warn", f"the settings have {slots} slots, but the limit on open files has room for {most} answers.", advice)


def check_listening(settings: Settings) -> Check:
    """Check whether `serve` could listen on the port, or which program already does."""
    here = address(settings.host, settings.port)
    if (version := gateway_version(here)) is not None:
        return Check("port", "ok", f"llava-gateway {version} answers at {here}.")
    try:
        check_ports(settings)
    except Failure as failure:
        return Check("port", "warn", failure.message, failure.hint)
    return Check("port", "ok", f"port {settings.port} of {settings.host} is free.")


async def check_decoder(gateway: Gateway, kind: Format) -> Check:
    """Check whether a worker process can read this format."""
    name = f"decoder {kind}"
    again = "Reinstall the packages (`pip install --force-reinstall pillow pillow-heif`)."
    try:
        data = sample_images.sample(kind)
    except (OSError, KeyError):
        return Check(name, "warn", f"not tested, because no test image in {kind} can be written here.")
    try:
        image = await gateway.images.add(data)
        await image.stored()
    except GatewayError as error:
        return Check(name, "fail", f"a {kind} image can't be read. {error.message}", again)
    if not sample_images.shows_sample(image.canonical or b""):
        return Check(name, "fail", f"a {kind} image is read with a wrong size or wrong colours.", again)
    return Check(name, "ok", "reads its test image.")


def check_engine(engine: EngineState, *, chosen: bool) -> Check:
    """Check whether the engine answers and has a model that can see. `chosen`: the settings allow no other engine."""
    title = ENGINES[engine.name]
    if not engine.health.ok:
        advice = "Install it from https://ollama.com/download and start it (`ollama serve`)." if engine.name == "ollama" else ""
        return Check(engine.name, "fail" if chosen else "warn", engine.health.detail or f"{title} does not answer.", advice)
    said = f"{title} {engine.health.version}".strip()
    seeing = [model.name for model in engine.models if model.vision]
    if not seeing:
        advice = "Download one: `ollama pull llava:7b`." if engine.name == "ollama" else "Choose a model with a projector (mmproj)."
        return Check(engine.name, "fail" if chosen else "warn", f"{said} has no model that can see.", advice)
    return Check(engine.name, "ok", f"{said} has models that can see: {', '.join(seeing)}.")


def known_faults(state: PoolState) -> list[Check]:
    """Report the known bugs of the Ollama that answers."""
    for engine in state.engines:
        if engine.name == "ollama" and engine.health.ok:
            version = tuple(int(part) for part in re.findall(r"\d+", engine.health.version.partition("-")[0]))
            families = {model.family for model in engine.models}
            return [
                Check("ollama version", "warn", f"Ollama {engine.health.version}: {fault.what}", "Install the newest Ollama.")
                for fault in KNOWN_FAULTS
                if fault.since <= version < fault.until and (not fault.family or fault.family in families)
            ]
    return []


def check_default(settings: Settings, state: PoolState) -> Check:
    model = state.default.model
    if model is None:
        embedded = all(engine.health.installed for engine in state.engines)
        other = ", or run with --engine embedded." if embedded else f", or `{INSTALL_EMBEDDED}`."
        return Check("model", "fail", state.default.reason.text, f"`ollama pull llava:7b`{other}")
    if not model.vision:
        return Check("model", "warn", f"{model.name} can't see images.", "Name another with --model; `llava-gateway models` lists them.")
    if model.engine == "embedded" and settings.gguf is None:
        return Check(
            "model",
            "warn",
            f"{state.default.reason.text} It is a tiny demo, which has never seen a photo.",
            "Install Ollama (https://ollama.com/download), then `ollama pull llava:7b`.",
        )
    return Check("model", "ok", state.default.reason.text)


async def check_sight(gateway: Gateway, model: ModelInfo) -> Check:
    """Ask about two images of different colours, through the whole gateway: a blind model gives the right colour for one at most."""
    said = []
    for colour in COLOURS:
        try:
            said.append(await _ask(gateway, sample_images.circle(colour, _USUAL_SIDE), COLOUR_QUESTION))
        except GatewayError as error:
            return Check("sight", "fail", f"{model.name} does not answer. {error.message}", error.hint)
    if all(colour in answer.lower() for colour, answer in zip(COLOURS, said, strict=True)):
        return Check("sight", "ok", f"{model.name} distinguishes a red circle from a blue one.")
    detail = f"{model.name} was shown a red circle and a blue one, and said {said[0]!r} and {said[1]!r}."
    return Check("sight", "fail", detail, "Choose another model, or another version of the engine: this one does not see images.")


async def probe_orientation(gateway: Gateway, model: ModelInfo) -> Check:
    """Check whether the engine itself applies the EXIF rotation. Both are fine: the gateway sends only upright images."""
    side = model.facts.image_size or _USUAL_SIDE

    def drawn(*, stored_rotated: bool, tagged: bool) -> Rendition:
        data = sample_images.letters(LETTERS, side, stored_rotated=stored_rotated, tagged=tagged)
        return Rendition((Piece(data, "JPEG", side, side),))

    async def probe() -> str:
        upright = await _ask_raw(gateway, model, drawn(stored_rotated=False, tagged=False), TEXT_QUESTION)
        rotated = await _ask_raw(gateway, model, drawn(stored_rotated=True, tagged=False), TEXT_QUESTION)
        tagged = await _ask_raw(gateway, model, drawn(stored_rotated=True, tagged=True), TEXT_QUESTION)
        if LETTERS not in upright or LETTERS in rotated:
            return f"unknown, because {model.name} does not read letters well enough."
        if LETTERS in tagged:
            return "the engine rotates images by itself."
        return f"the engine alone ignores it (it read {LETTERS} as {tagged!r}). The gateway rotates every image."

    return await _probed("EXIF orientation", gateway.settings.load_timeout, probe)


async def probe_shrinking(gateway: Gateway, model: ModelInfo) -> Check:
    """Check whether the engine averages pixels when it shrinks an image. Both are fine: the gateway sends images of the right size."""
    side = profile_for(model.facts, model.name, gateway.settings.vision).square
    if side is None:
        return Check("shrinking", "ok", f"not probed: {model.name} takes images of several sizes.")

    async def probe() -> str:
        levels = {}
        for name, level in LEVELS.items():
            image = Rendition((Piece(sample_images.circle_on_level(level, side), "PNG", side, side),))
            levels[name] = await _ask_raw(gateway, model, image, BACKGROUND_QUESTION)
        large = side * _SHRUNK
        board = Rendition((Piece(sample_images.circle_on_checkerboard(large), "PNG", large, large),))
        seen = await _ask_raw(gateway, model, board, BACKGROUND_QUESTION)
        like = [name for name, answer in levels.items() if answer == seen]
        if len(set(levels.values())) < len(levels) or len(like) != 1:
            return f"unknown, because {model.name} called a fine checkerboard {seen!r}."
        if like == ["gray"]:
            return "the engine antialiases: it sees a fine checkerboard as gray."
        return f"the engine alone does not antialias: it sees a fine checkerboard as {like[0]}. The gateway shrinks every image."

    return await _probed("shrinking", gateway.settings.load_timeout, probe)


async def _probed(name: str, limit: float, probe: Callable[[], Awaitable[str]]) -> Check:
    """Run a probe. A probe that fails is not a failed check: it sends the engine an input that the gateway never sends."""
    try:
        async with asyncio.timeout(limit):
            return Check(name, "ok", await probe())
    except TimeoutError:
        return Check(name, "warn", f"unknown: no answer within {limit:.0f} s.")
    except GatewayError as error:
        return Check(name, "warn", f"unknown. {error.message}", error.hint)


async def _ask(gateway: Gateway, image: bytes, question: str) -> str:
    """Ask a question through the gateway, like any other question. Raises GatewayError."""
    answer = await gateway.answer(user_request(Upload(image), TextPart(question), options=_ALWAYS_THE_SAME))
    return answer.text.strip()


async def _ask_raw(gateway: Gateway, model: ModelInfo, image: Rendition, question: str) -> str:
    """Ask a question whose image goes to the engine unchanged. Raises GatewayError."""
    request = EngineRequest(
        model=model.name,
        messages=(Message("user", (part := ImagePart("image"), TextPart(question))),),
        options=_ALWAYS_THE_SAME.over(gateway.prompt_builder.pins(model.name)),
        keep_alive=gateway.settings.keep_alive,
        renditions={part: image},
    )
    return await answer_text(gateway.pool.engine(model.engine), request)
