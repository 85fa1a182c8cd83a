"""Asks an Ollama about odd images directly and through the gateway, and judges both answers."""

from __future__ import annotations

import asyncio
import base64
import json
import platform
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from llava_gateway import __version__
from llava_gateway.answers import Answer
from llava_gateway.chat import user_request
from llava_gateway.cli.console import Failure
from llava_gateway.cli.odd_images import BACKGROUND_QUESTION, CIRCLE_QUESTION, Odd, circle, odd_images, png
from llava_gateway.engines.base import ModelInfo
from llava_gateway.engines.upstream import json_object, new_client, stream, whole_body
from llava_gateway.errors import GatewayError
from llava_gateway.gateway.build import build_gateway
from llava_gateway.gateway.gateway import Gateway
from llava_gateway.options import Options
from llava_gateway.parts import Sight, TextPart, Upload
from llava_gateway.sessions.session import Session, SessionDefaults
from llava_gateway.settings import Settings

Verdict: TypeAlias = Literal["right", "wrong", "unknown"]
"""unknown: the model is wrong about the plain image too, so its answers say nothing about the gateway."""

_ALWAYS_THE_SAME = Options(temperature=0, seed=1, num_predict=48)
_JSON = {"Content-Type": "application/json"}
_SMALL_CONTEXT = 2048
"""The smallest context that Ollama gives a model with vision."""
_MOST_TURNS = 16
_NOTES = (
    "Here are my notes of today. I walked to the market in the morning and bought bread, apples and a small plant for the window.",
    "It rained after lunch, so I stayed at home and read a book about the sea and the people who live on its shore.",
    "In the evening a friend came by. We cooked soup, talked about the summer and made a list of what to take on the journey.",
    "The train leaves at nine, and the way to the station takes half an hour, so I will get up early and pack what is missing.",
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, or `error` instead of it. `refused`: the error is about the image, not about the machine.

    Attributes:
        notes: changes on the way, and warnings.
    """

    answer: str = ""
    error: str = ""
    refused: bool = False
    verdict: Verdict = "unknown"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One image, asked about three times: `plain` is the answer about a plain image with the same content, asked directly."""

    title: str
    name: str
    question: str
    right: tuple[str, ...]
    plain: Reply
    direct: Reply
    ours: Reply


@dataclass(frozen=True, slots=True)
class Setting:
    """The model, versions, date and machine of a run."""

    model: str
    ollama: str
    gateway: str = __version__
    date: str = ""
    machine: str = ""


class SideBySide:
    """Use as an async context manager: then `setting` has the model and versions, and `rows` asks.

    Args:
        settings: engine must be ollama. Entering raises Failure if there is no Ollama, or no model with vision in it.
    """

    setting: Setting

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._gateway: Gateway = build_gateway(settings.model_copy(update={"keep": "memory"}))
        self._client = new_client(connect_timeout=settings.connect_timeout, max_connections=1)
        self._stack = AsyncExitStack()
        self._model: ModelInfo

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self._client.aclose)
        try:
            await self._stack.enter_async_context(self._gateway.running())
            self._model = self._seeing()
        except BaseException:
            await self._stack.aclose()
            raise
        health = next(engine.health for engine in self._gateway.pool.state.engines if engine.name == "ollama")
        self.setting = Setting(self._model.name, health.version, date=f"{datetime.now(UTC):%Y-%m-%d}", machine=_machine())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _seeing(self) -> ModelInfo:
        state = self._gateway.pool.state
        if not any(engine.health.ok for engine in state.engines):
            raise Failure("Ollama does not answer.", "Install it from https://ollama.com/download, or start it with `ollama serve`.")
        model = state.default.model
        if model is None:
            raise Failure(state.default.reason.text, "`ollama pull llava:7b` gets a model that can see.")
        if not model.vision:
            raise Failure(f"{model.name} can't see images.", "Name another with --model; `llava-gateway models` lists them.")
        return model

    async def rows(self) -> AsyncIterator[Row]:
        """Yield each row when it is done; the last is about an image that drops out of the context."""
        known: dict[tuple[bytes, str], Reply] = {}
        for odd in odd_images():
            key = odd.plain, odd.question
            if key not in known:
                known[key] = await self._directly([_user(odd.question, odd.plain)])
            yield judge_row(odd, known[key], await self._directly([_user(odd.question, odd.data)]), await self._through(odd))
        yield await self._long_conversation()

    async def _long_conversation(self) -> Row:
        """Talk after an image until the context is full, then ask about the image. The direct client keeps exactly the same words."""
        options = _ALWAYS_THE_SAME.over(Options(num_ctx=_SMALL_CONTEXT))
        image = png(circle())
        odd = Odd("An image, then talk until the context is full", "circle.png", image, image)
        plain = await self._directly([_user(odd.question, image)], options)
        session = self._gateway.sessions.create(Session(defaults=SessionDefaults(policy="pin_images"))).id
        messages: list[dict[str, Any]] = []
        try:
            for turn in range(_MOST_TURNS):
                notes = " ".join(_NOTES[(turn + line) % len(_NOTES)] for line in range(3))
                question = f"{notes} {BACKGROUND_QUESTION}" if turn else CIRCLE_QUESTION
                answer = await self._ask(question, image if not turn else None, options, session=session)
                messages += [_user(question, image if not turn else None), {"role": "assistant", "content": answer.text}]
                if answer.context.dropped:
                    break
            ours = _reply(await self._ask(odd.question, None, options, session=session))
        except GatewayError as error:
            ours = _refused(error)
        return judge_row(odd, plain, await self._directly([*messages, _user(odd.question)], options), ours)

    async def _directly(self, messages: Sequence[dict[str, Any]], options: Options = _ALWAYS_THE_SAME) -> Reply:
        """Ask Ollama like a client that sends its files unchanged."""
        given = options.over(self._gateway.prompt_builder.pins(self._model.name)).given()
        body = {"model": self._model.name, "stream": False, "messages": messages, "options": given}
        try:
            async with asyncio.timeout(self._settings.first_token_timeout):
                asked = stream(
                    self._client, "POST", f"{self._settings.ollama_url}/api/chat", content=json.dumps(body).encode(), headers=_JSON
                )
                async with asked as response:
                    content = await whole_body(response)
        except TimeoutError:
            return Reply(error=f"no answer within {self._settings.first_token_timeout:.0f} s")
        except GatewayError as error:
            return Reply(error=error.message)
        if response.status_code != 200:
            return Reply(error=f"{response.status_code} {_words(content)}", refused=response.status_code < 500)
        answer = json_object(content)
        return Reply(str(answer["message"]["content"]).strip(), notes=(f"{answer.get('prompt_eval_count', '?')} tokens read",))

    async def _through(self, odd: Odd) -> Reply:
        try:
            return _reply(await self._ask(odd.question, odd.data, _ALWAYS_THE_SAME, odd.sight))
        except GatewayError as error:
            return _refused(error)

    async def _ask(
        self, question: str, image: bytes | None, options: Options, sight: Sight = Sight(), *, session: str | None = None
    ) -> Answer:
        """Ask through the gateway, like any other question. Raises GatewayError."""
        parts = (*((Upload(image, sight=sight),) if image else ()), TextPart(question))
        return await self._gateway.answer(user_request(*parts, model=self._model.name, options=options, session_id=session))


def judge_row(odd: Odd, plain: Reply, direct: Reply, ours: Reply) -> Row:
    """Judge the answers of a row."""

    def judge(said: Reply) -> Reply:
        return Reply(said.answer, said.error, said.refused, _verdict(said, odd, plain), said.notes)

    ours = judge(ours)
    if odd.sight.region:
        fractions = ",".join(f"{value:g}" for value in odd.sight.region)
        ours = Reply(ours.answer, ours.error, ours.refused, ours.verdict, (f"asked with region={fractions}", *ours.notes))
    return Row(odd.title, odd.name, odd.question, odd.right, plain, judge(direct), ours)


def _verdict(said: Reply, odd: Odd, plain: Reply) -> Verdict:
    if not odd.right:
        return "right" if said.refused else "wrong"
    if not _says(plain, odd.right):
        return "unknown"
    return "right" if _says(said, odd.right) else "wrong"


def _says(said: Reply, words: tuple[str, ...]) -> bool:
    return not said.error and set(words) <= set(re.findall(r"\w+", said.answer.lower()))


def _reply(answer: Answer) -> Reply:
    notes = [change.text for image in answer.images for change in image.changes]
    if gone := answer.context.dropped:
        images = sum(item.image_id is not None for item in gone)
        notes.append(f"the text of {len(gone) - images} old turns dropped, {images or 'no'} images")
    return Reply(answer.text.strip(), notes=tuple(notes))


def _refused(error: GatewayError) -> Reply:
    return Reply(error=f"{error.code}: {error.message}", refused=error.status < 500)


def _user(text: str, image: bytes | None = None) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "user", "content": text}
    return message | {"images": [base64.b64encode(image).decode("ascii")]} if image else message


def _words(body: bytes) -> str:
    """Return the message in an error's body; Ollama wraps the error of the server behind it into a string of JSON."""
    text = body.decode("utf-8", "replace")
    for _ in range(3):
        try:
            value = json.loads(text)
        except ValueError:
            break
        error = value.get("error", value) if isinstance(value, dict) else value
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    return text[:200]


def _machine() -> str:
    """Describe processor and system, without anything that identifies the machine or its owner."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text("utf-8", "replace").splitlines() if known.is_file() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
    version = re.match(r"\d+(\.\d+)?", platform.release())
    return f"{cpu or platform.machine()}, {platform.system()} {version[0] if version else ''}".strip()
