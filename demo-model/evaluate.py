"""Measure the accuracy of the demo model in the real llama.cpp server on unseen conversations, by exact match of whole answers.

python evaluate.py [TURNS] [FOLDER OF THE GGUF PAIR]
"""

from __future__ import annotations

import base64
import collections
import io
import random
import sys
from pathlib import Path
from typing import Any

import xllamacpp
from PIL import Image
from tokenizers import Tokenizer

from conversations import Conversation, Turn, sample
from demo_images import BACKGROUNDS
from vocabulary import FILE

SHIPPED = Path(__file__).parents[1] / "src" / "llava_gateway" / "demo"
SEED = 12345
DISTANCES = (0, 500, 1500, 3000)
"""Tokens of conversation between an image and a question about it."""


class Model:
    """The GGUF pair of a folder, asked at temperature 0."""

    def __init__(self, folder: Path) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(folder / "demo.gguf")
        params.mmproj.path = str(folder / "demo-mmproj.gguf")
        params.n_ctx = 4096
        params.n_parallel = 1
        params.warmup = False
        self._server = xllamacpp.Server(params)

    def ask(self, messages: list[dict[str, Any]]) -> str:
        answer = self._server.handle_chat_completions({"messages": messages, "temperature": 0, "max_tokens": 120})
        return str(answer["choices"][0]["message"]["content"]).strip() if "choices" in answer else str(answer)


class Score:
    """The number of correct answers and of all answers, by kind of question."""

    def __init__(self) -> None:
        self.right: collections.Counter[str] = collections.Counter()
        self.total: collections.Counter[str] = collections.Counter()

    def add(self, kind: str, right: bool) -> None:
        self.total[kind] += 1
        self.right[kind] += right

    def show(self) -> None:
        for kind in sorted(self.total):
            right, total = self.right[kind], self.total[kind]
            print(f"{kind:42} {right:4}/{total:4} = {100 * right / total:.0f} %")


def evaluate(model: Model, turns: int) -> Score:
    r = random.Random(SEED)
    score = Score()
    while score.total.total() < turns:
        score_conversation(model, sample(r), score)
    tokenizer = Tokenizer.from_file(str(FILE))
    for distance in DISTANCES:
        asked = 0
        while asked < 40:
            conversation = sample(r)
            background = background_told(conversation)
            if suits_long_talk(conversation) and background:
                answer = model.ask(long_talk(conversation, distance, tokenizer))
                score.add(f"{distance} tokens after the picture", f"background is {background}" in answer)
                asked += 1
    return score


def score_conversation(model: Model, conversation: Conversation, score: Score) -> None:
    """Ask each question of a conversation after the correct answers to the earlier questions."""
    messages: list[dict[str, Any]] = []
    if conversation.system:
        messages.append({"role": "system", "content": conversation.system})
    images = 0
    for turn in conversation.turns:
        images += len(turn.images)
        messages.append({"role": "user", "content": [*image_parts(turn), {"type": "text", "text": turn.question}]})
        score.add(kind_of(turn, images, conversation.system), model.ask(messages) == turn.answer)
        messages.append({"role": "assistant", "content": turn.answer})


def image_parts(turn: Turn) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for i, (image, _) in enumerate(turn.images):
        if turn.numbered:
            parts.append({"type": "text", "text": f"Picture {i + 1}:"})
        parts.append(image_part(image))
    return parts


def image_part(image: Image.Image) -> dict[str, Any]:
    png = io.BytesIO()
    image.save(png, "PNG")
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()}}


def kind_of(turn: Turn, images: int, system: str) -> str:
    """Return a label for the kind of question; `images` is the number of images up to this turn."""
    question, answer = turn.question, turn.answer
    by_number = any(word in question.lower() for word in ("first", "second", "third", "picture 1", "picture 2", "picture 3", "第"))
    if len(turn.images) > 1 and not by_number:
        tiles = len(turn.images) in (3, 5) and not answer.startswith(("Picture", "第"))
        return "tiles + overview" if tiles else "describe all pictures"
    if by_number:
        return "by number (first, second ...)"
    if answer.startswith("{"):
        return "JSON"
    if answer.startswith(("Hello", "I am", "你好", "我是")):
        return "greeting"
    if "ext" in answer or "文字" in answer:
        text = answer.split("“")[1].split("”")[0] if "“" in answer else answer.split('"')[1]
        return f"text, {len(text)} characters"
    if question.startswith("Where") or "哪里" in question:
        return "place"
    if images > 1:
        return "about the latest of several pictures"
    if any(language in system for language in ("hinese", "nglish", "中文", "英文")):
        return "language set by the system prompt"
    if "背景上有" in answer or (answer.endswith(" background.") and not answer.startswith("The background")):
        return "description"
    return "colour, shape, count, background"


def suits_long_talk(conversation: Conversation) -> bool:
    """Return whether a conversation has one image, in the first of several turns, and is in English without JSON or a system prompt."""
    first, *others = conversation.turns
    return (
        not conversation.system
        and first.question.isascii()
        and len(first.images) == 1
        and bool(others)
        and not any(turn.images for turn in others)
        and all(turn.answer.isascii() and not turn.answer.startswith("{") for turn in conversation.turns)
    )


def background_told(conversation: Conversation) -> str | None:
    """Return the background's colour if the first answer names it, else None."""
    answer = conversation.turns[0].answer
    named = (c for c in BACKGROUNDS if f"on a {c} background" in answer or f"background is {c}" in answer)
    return next(named, None)


def long_talk(conversation: Conversation, distance: int, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Return messages with the image, at least `distance` tokens of conversation about it, and a question about it."""
    first = conversation.turns[0]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [image_part(first.images[0][0]), {"type": "text", "text": first.question}]},
        {"role": "assistant", "content": first.answer},
    ]
    talked = 0
    i = 0
    while talked < distance:
        turn = conversation.turns[i % 2]
        talked += len(tokenizer.encode(f"USER: {turn.question} ASSISTANT: {turn.answer}").ids) + 1
        messages += [{"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.answer}]
        i += 1
    return [*messages, {"role": "user", "content": "What color is the background?"}]


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    place = Path(sys.argv[2]) if len(sys.argv) > 2 else SHIPPED
    evaluate(Model(place), count).show()
