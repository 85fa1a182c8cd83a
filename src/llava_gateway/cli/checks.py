"""What `llava-gateway doctor` looks at: this machine, the engines, and what the model that answers makes of images."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from llava_gateway.chat import EngineRequest, ImagePart, Message, Piece, Rendition, TextPart, Upload, asked
from llava_gateway.cli import sample_images
from llava_gateway.cli.client import gateway_version
from llava_gateway.cli.console import Failure
from llava_gateway.cli.serve import address, check_port
from llava_gateway.engines.base import ModelInfo, answer_text
from llava_gateway.engines.pool import EngineState, PoolState
from llava_gateway.errors import GatewayError
from llava_gateway.gateway.build import build_gateway
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.images.facts import profile_for
from llava_gateway.images.sniff import Format
from llava_gateway.notes import ENGINES
from llava_gateway.options import Options
from llava_gateway.settings import Settings

Status: TypeAlias = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `advice` says what to do; "" where nothing need be done."""

    name: str
    status: Status
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class KnownFault:
    """What versions of Ollama from `since` until before `until` get wrong; with `family` only for such models."""

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
"""How many times larger than the model's square the checkerboard is."""
_USUAL_SIDE = 336


async def examine(settings: Settings, *, ask: bool) -> AsyncIterator[Check]:
    """The checks, each as soon as it is done; with `ask` the model is asked about nine images."""
    yield check_python()
    yield check_limits()
    yield await asyncio.to_thread(check_listening, settings)
    gateway = build_gateway(settings)
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
    """Whether the system can limit the processes that read images."""
    holds = "the limits on pixels, bytes and wall-clock time hold"
    if sys.platform == "win32":
        return Check("limits", "warn", f"Windows limits neither memory nor CPU time of a process; {holds}.")
    if sys.platform == "darwin":
        return Check("limits", "warn", f"macOS does not limit the memory of a process; CPU time is limited, and {holds}.")
    return Check("limits", "ok", f"memory and CPU time of the processes that read images are limited, and {holds}.")


def check_listening(settings: Settings) -> Check:
    """Whether `serve` could listen, or who does already."""
    here = address(settings.host, settings.port)
    if (version := gateway_version(here)) is not None:
        return Check("port", "ok", f"llava-gateway {version} answers at {here}.")
    try:
        check_port(settings.host, settings.port)
    except Failure as failure:
        return Check("port", "warn", failure.message, failure.hint)
    return Check("port", "ok", f"port {settings.port} of {settings.host} is free.")


async def check_decoder(gateway: Gateway, kind: Format) -> Check:
    """Whether a worker process reads this format."""
    name = f"decoder {kind}"
    again = "Install the packages anew (`pip install --force-reinstall pillow pillow-heif`)."
    try:
        data = sample_images.sample(kind)
    except (OSError, KeyError):
        return Check(name, "warn", f"no {kind} can be written here to try it with; reading one may work.")
    try:
        image = await gateway.images.add(data)
        await image.stored()
    except GatewayError as error:
        return Check(name, "fail", f"a {kind} picture can't be read. {error.message}", again)
    if not sample_images.shows_sample(image.canonical or b""):
        return Check(name, "fail", f"a {kind} image comes out in other colours or sizes.", again)
    return Check(name, "ok", "reads its test image.")


def check_engine(engine: EngineState, *, chosen: bool) -> Check:
    """Whether it answers and has a model that sees. `chosen`: the settings allow no other."""
    title = ENGINES[engine.name]
    if not engine.health.ok:
        advice = "Install it from https://ollama.com/download and start it (`ollama serve`)." if engine.name == "ollama" else ""
        return Check(engine.name, "fail" if chosen else "warn", engine.health.detail or f"{title} does not answer.", advice)
    said = f"{title} {engine.health.version}".strip()
    seeing = [model.name for model in engine.models if model.vision]
    if not seeing:
        advice = "`ollama pull llava:7b` gets one." if engine.name == "ollama" else "Choose a model with a projector (mmproj)."
        return Check(engine.name, "fail" if chosen else "warn", f"{said} has no model that can see.", advice)
    return Check(engine.name, "ok", f"{said} has models that can see: {', '.join(seeing)}.")


def known_faults(state: PoolState) -> list[Check]:
    """What is known to go wrong in the Ollama that answers."""
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
        return Check("model", "fail", state.default.reason.text, "`ollama pull llava:7b`, or run with --engine embedded.")
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
    """Two images of different colours, the whole way through the gateway: a model that sees nothing names one colour at most."""
    said = []
    for colour in COLOURS:
        try:
            said.append(await _ask(gateway, sample_images.circle(colour, _USUAL_SIDE), COLOUR_QUESTION))
        except GatewayError as error:
            return Check("sight", "fail", f"{model.name} does not answer. {error.message}", error.hint)
    if all(colour in answer.lower() for colour, answer in zip(COLOURS, said, strict=True)):
        return Check("sight", "ok", f"{model.name} tells a red circle from a blue one.")
    detail = f"{model.name} was shown a red circle and a blue one, and said {said[0]!r} and {said[1]!r}."
    return Check("sight", "fail", detail, "Choose another model, or another version of the engine: this one does not see images.")


async def probe_orientation(gateway: Gateway, model: ModelInfo) -> Check:
    """Whether the engine itself rotates images as their EXIF says. Either is fine: it only ever gets upright ones from us."""
    side = model.facts.image_size or _USUAL_SIDE

    def drawn(*, stored_rotated: bool, tagged: bool) -> Rendition:
        data = sample_images.letters(LETTERS, side, stored_rotated=stored_rotated, tagged=tagged)
        return Rendition((Piece(data, "JPEG", side, side),))

    async def probe() -> str:
        upright = await _ask_raw(gateway, model, drawn(stored_rotated=False, tagged=False), TEXT_QUESTION)
        rotated = await _ask_raw(gateway, model, drawn(stored_rotated=True, tagged=False), TEXT_QUESTION)
        tagged = await _ask_raw(gateway, model, drawn(stored_rotated=True, tagged=True), TEXT_QUESTION)
        if LETTERS not in upright or LETTERS in rotated:
            return f"can't be told: {model.name} does not read letters well enough."
        if LETTERS in tagged:
            return "the engine rotates images by itself."
        return f"the engine alone ignores it (it read {LETTERS} as {tagged!r}); the gateway rotates every image."

    return await _probed("EXIF orientation", gateway.settings.load_timeout, probe)


async def probe_shrinking(gateway: Gateway, model: ModelInfo) -> Check:
    """Whether the engine averages pixels when it shrinks an image. Either is fine: it gets images of the right size from us."""
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
            return f"can't be told: {model.name} called a fine checkerboard {seen!r}."
        if like == ["gray"]:
            return "the engine antialiases: a fine checkerboard is gray to it."
        return f"the engine alone does not antialias: a fine checkerboard is {like[0]} to it; the gateway shrinks every image."

    return await _probed("shrinking", gateway.settings.load_timeout, probe)


async def _probed(name: str, limit: float, probe: Callable[[], Awaitable[str]]) -> Check:
    """A probe that fails is no failure of ours: the engine was given what it never gets from the gateway."""
    try:
        async with asyncio.timeout(limit):
            return Check(name, "ok", await probe())
    except TimeoutError:
        return Check(name, "warn", f"can't be told: no answers within {limit:.0f} s.")
    except GatewayError as error:
        return Check(name, "warn", f"can't be told. {error.message}", error.hint)


async def _ask(gateway: Gateway, image: bytes, question: str) -> str:
    """The answer to a question that goes the way all questions go. Raises GatewayError."""
    answer = await gateway.answer(asked(Upload(image), TextPart(question), options=_ALWAYS_THE_SAME))
    return answer.text.strip()


async def _ask_raw(gateway: Gateway, model: ModelInfo, image: Rendition, question: str) -> str:
    """The answer to a question whose image the engine gets byte by byte as it is. Raises GatewayError."""
    request = EngineRequest(
        model=model.name,
        messages=(Message("user", (part := ImagePart("image"), TextPart(question))),),
        options=_ALWAYS_THE_SAME.over(gateway.prompt_builder.pins(model.name)),
        keep_alive=gateway.settings.keep_alive,
        renditions={part: image},
    )
    return await answer_text(gateway.pool.engine(model.engine), request)
