"""Runs a conversation under each policy, with the gateway's own code, and draws how full the context is in each turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast, get_args

from PIL import Image, ImageDraw, ImageFont

from llava_gateway.answers import Sent
from llava_gateway.chat import EngineRequest, Message, Piece, Policy, Rendition, TokenCount
from llava_gateway.context.window import Rules
from llava_gateway.engines.base import Engine, ModelInfo
from llava_gateway.gateway.context import ContextFitter, Draft, Fitted
from llava_gateway.options import Options
from llava_gateway.parts import ImagePart, Part, TextPart
from llava_gateway.sessions.session import PromptState, Session, SessionDefaults
from llava_gateway.sessions.turn import Turn
from llava_gateway.settings import Settings

TURNS = 40
CONTEXT = 4096
IMAGE_TOKENS = 576
IMAGES = {0: "a", 8: "b", 20: "c"}
SYSTEM = "You answer questions about the pictures of a house and its garden, briefly and to the point."
QUESTION = "Now look at window number {0} from the left, tell me what is behind it, and whether the curtains are drawn or open. " * 2
ANSWER = "Behind window number {0} there is a table with two chairs, a lamp that is lit, and a plant; the curtains are half open. " * 2
SUMMARY = (
    "The windows from the left were gone through one by one; behind each stand a table, two chairs and a plant, curtains half open. " * 3
)

BARS = {"system": (120, 120, 130), "images": (230, 126, 34), "text": (66, 118, 190)}
GROUND, INK, FAINT, RED = (255, 255, 255), (40, 40, 46), (214, 214, 220), (200, 40, 40)
PANEL = (470, 214)


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn: tokens by kind, the first exchange in the window, the number of dropped images, and the tokens over the limit."""

    system: int
    text: int
    images: int
    start: int
    gone: int
    over: int


class _Uncounted:
    """An engine that knows its context and can't count tokens."""

    name = "ollama"

    async def context_length(self, _: EngineRequest) -> int:
        return CONTEXT

    async def count(self, _: EngineRequest) -> TokenCount | None:
        return None


async def play() -> dict[str, list[Sample]]:
    """Run the same conversation under each policy; it ends early when nothing fits any more."""
    return {policy: await _play(policy) for policy in get_args(Policy)}


async def _play(policy: Policy) -> list[Sample]:
    session = Session(defaults=SessionDefaults(system=SYSTEM))
    fitter = ContextFitter(Settings())
    samples: list[Sample] = []
    for turn in range(TURNS):
        parts: tuple[Part, ...] = (TextPart(QUESTION.format(turn + 1)),)
        if turn in IMAGES:
            parts = (ImagePart(IMAGES[turn]), *parts)
        fitted = await _fit(session, parts, policy, fitter)
        count = fitted.count or TokenCount(0, 0)
        gone = sum(item.image_id is not None for item in fitted.dropped)
        samples.append(Sample(count.system, count.text, sum(count.images), fitted.window.start, gone, fitted.over))
        if fitted.over:
            break
        sent = (Sent(336, 336, "PNG", IMAGE_TOKENS, "exact"),) if turn in IMAGES else ()
        answered = Turn(parts, ANSWER.format(turn + 1), sent=sent)
        session = replace(session.with_turn(answered), prompt_state=PromptState(fitted.window))
    return samples


async def _fit(session: Session, parts: tuple[Part, ...], policy: Policy, fitter: ContextFitter) -> Fitted:
    rules = Rules(policy)
    model = ModelInfo("model", "ollama", vision=True)
    conversation = session.conversation(parts, fitter.scale(model.key))

    async def build(messages: tuple[Message, ...], options: Options) -> EngineRequest:
        return EngineRequest("model", messages, options, renditions=_renditions(messages))

    summary = SUMMARY if policy == "summarise" else ""
    engine = cast("Engine", _Uncounted())
    draft = Draft(conversation, rules, session.prompt_state.window, summary=summary)
    return await fitter.fit(draft, build, engine, model, exactly=True)


def _renditions(messages: tuple[Message, ...]) -> Mapping[ImagePart, Rendition]:
    piece = Piece(b"", "PNG", 336, 336)
    return {part: Rendition((piece,), IMAGE_TOKENS, "exact") for message in messages for part in message.images}


def draw(played: Mapping[str, list[Sample]]) -> Image.Image:
    """Draw a panel for each policy: a bar for each turn, up to the context's limit, with the space reserved for the answer left free."""
    chart = Image.new("RGB", (2 * PANEL[0], 2 * PANEL[1] + 26), GROUND)
    for index, (policy, samples) in enumerate(played.items()):
        chart.paste(_panel(policy, samples), (index % 2 * PANEL[0], index // 2 * PANEL[1]))
    pen, left = ImageDraw.Draw(chart), 44
    names = {"system": "system prompt", "images": "pictures", "text": "text"}
    for name, colour in BARS.items():
        pen.rectangle((left, 2 * PANEL[1] + 4, left + 12, 2 * PANEL[1] + 16), fill=colour)
        pen.text((left + 18, 2 * PANEL[1] + 10), names[name], fill=INK, font=_font(13), anchor="lm")
        left += 130
    pen.text((left, 2 * PANEL[1] + 10), "v  the prompt's beginning moves: the engine reads it again", fill=INK, font=_font(13), anchor="lm")
    return chart


def _panel(policy: str, samples: list[Sample]) -> Image.Image:
    panel = Image.new("RGB", PANEL, GROUND)
    pen = ImageDraw.Draw(panel)
    left, top, right, bottom = 44, 40, PANEL[0] - 12, PANEL[1] - 24
    scale = (bottom - top) / CONTEXT
    pen.text((left, 12), policy, fill=INK, font=_font(15), anchor="lm")
    for tokens in (0, 2048, CONTEXT):
        y = bottom - tokens * scale
        pen.line((left, y, right, y), fill=RED if tokens == CONTEXT else FAINT)
        pen.text((left - 6, y), str(tokens), fill=INK, font=_font(11), anchor="rm")
    step = (right - left) / TURNS
    before = 0
    for turn, one in enumerate(samples):
        x, y = left + turn * step, float(bottom)
        for name, colour in BARS.items():
            height = getattr(one, name) * scale
            pen.rectangle((x + 1, y - height, x + step - 2, y), fill=colour)
            y -= height
        if one.start != before:
            pen.text((x + step / 2, top - 8), "v", fill=INK, font=_font(12), anchor="mm")
        if one.over:
            pen.text((x + step + 4, top + 24), "400 context_length_exceeded", fill=RED, font=_font(12), anchor="lm")
        if turn in IMAGES or turn == TURNS - 1:
            pen.text((x + step / 2, bottom + 11), str(turn + 1), fill=INK, font=_font(11), anchor="mm")
        before = one.start
    return panel


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
