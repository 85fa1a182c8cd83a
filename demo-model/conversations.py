"""Make the conversations for training the demo model: one or several images, one or several turns, English and Chinese."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from demo_images import Drawing, Scene, draw_photo, for_model, tiles_for_model
from questions import DESCRIBE_ALL, DESCRIBE_ALL_ZH, DESCRIBE_JSON, GREETINGS, QA, about_number, as_json, ask, ask_across, describe_all

SYSTEM = (
    "You are a helpful assistant.",
    "You are a helpful vision assistant. Answer briefly.",
    "Be precise.",
    "你是一个乐于助人的助手。",
    "A chat between a curious user and an assistant.",
)
SYSTEM_CHINESE = ("Answer in Chinese.", "Always answer in Chinese.", "请用中文回答。", "用中文回答。")
SYSTEM_ENGLISH = ("Answer in English.", "Always answer in English.", "请用英文回答。")


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer.

    Attributes:
        images: (image, labels) pairs as `demo_images.for_model` returns them.
        numbered: whether the prompt numbers the images, as "Picture 1: <picture> Picture 2: <picture>".
        question: the question.
        answer: the correct answer.
    """

    images: list[tuple[Image.Image, Image.Image]]
    numbered: bool
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation; `system` is its system prompt, "" for none."""

    system: str
    turns: list[Turn]


@dataclass(frozen=True, slots=True)
class Person:
    """A person who asks, mostly in one language.

    Attributes:
        r: source of randomness.
        chinese: whether the person mostly asks in Chinese.
        answers_chinese: whether the system prompt requires answers in Chinese; None if it names no language.
    """

    r: random.Random
    chinese: bool
    answers_chinese: bool | None

    @property
    def language_is_chinese(self) -> bool:
        return self.chinese if self.answers_chinese is None else self.answers_chinese

    def greet(self) -> QA:
        return self.r.choice(GREETINGS)

    def ask(self, scene: Scene) -> QA:
        """Ask about the latest image."""
        if self.r.random() < 0.06:
            return self.r.choice(DESCRIBE_JSON), as_json(scene)
        chinese = self.chinese if self.r.random() < 0.9 else not self.chinese
        return ask_across(self.r, scene, chinese, chinese if self.answers_chinese is None else self.answers_chinese)

    def ask_by_number(self, scenes: list[Scene], i: int) -> QA:
        question, answer = ask(self.r, scenes[i], self.language_is_chinese)
        return about_number(self.r, i, question, self.language_is_chinese), answer

    def ask_for_all(self, scenes: list[Scene]) -> QA:
        chinese = self.language_is_chinese
        return self.r.choice(DESCRIBE_ALL_ZH if chinese else DESCRIBE_ALL), describe_all(scenes, chinese)


def sample(r: random.Random) -> Conversation:
    """Draw a conversation of a random kind."""
    chinese = r.random() < 0.35
    kind = r.random()
    answers_chinese = None
    system = ""
    if r.random() < 0.18:
        if r.random() < 0.5:
            system = r.choice(SYSTEM)
        else:
            answers_chinese = r.random() < 0.6
            system = r.choice(SYSTEM_CHINESE if answers_chinese else SYSTEM_ENGLISH)
    person = Person(r, chinese, answers_chinese)
    if kind < 0.03:
        return Conversation(system if answers_chinese is None else "", _small_talk(person))
    if kind < 0.42 or kind >= 0.93:
        return Conversation(system, _one_image(person, tiled=kind >= 0.93))
    drawings = [draw_photo(r) for _ in range(r.choice((2, 2, 2, 3)))]
    return Conversation(system, _images_one_by_one(person, drawings) if kind < 0.68 else _images_at_once(person, drawings))


def _small_talk(person: Person) -> list[Turn]:
    return [Turn([], False, *person.greet()) for _ in range(person.r.choice((1, 1, 2)))]


def _one_image(person: Person, tiled: bool) -> list[Turn]:
    """Make one or several turns about one image; with `tiled`, the image comes as tiles and an overview."""
    r = person.r
    drawing = draw_photo(r)
    images = [for_model(drawing)]
    if tiled:
        images = tiles_for_model(drawing, *_grid(r, drawing)) + images
    turns = [Turn(images if k == 0 else [], False, *person.ask(drawing.scene)) for k in range(r.choice((1, 2, 2, 3, 4)))]
    if person.answers_chinese is None and r.random() < 0.05:
        place = r.randrange(len(turns) + 1) if r.random() < 0.5 else 0
        turns.insert(place, Turn([], False, *person.greet()))
    return turns


def _grid(r: random.Random, drawing: Drawing) -> tuple[int, int]:
    """Choose (columns, rows) of tiles that suit the image's shape."""
    width, height = drawing.image.size
    if width == height:
        return r.choice(((2, 1), (1, 2), (2, 2)))
    return (2, 1) if width > height else (1, 2)


def _images_one_by_one(person: Person, drawings: list[Drawing]) -> list[Turn]:
    """Make turns that add one image after another; a question without a number is about the latest image."""
    r = person.r
    scenes = [drawing.scene for drawing in drawings]
    prepared = [for_model(drawing) for drawing in drawings]
    turns = []
    for i, scene in enumerate(scenes):
        turns.append(Turn([prepared[i]], False, *person.ask(scene)))
        for _ in range(r.choice((0, 0, 1, 1, 2))):
            earlier = r.randrange(i + 1)
            by_number = i > 0 and r.random() < 0.65
            turns.append(Turn([], False, *(person.ask_by_number(scenes, earlier) if by_number else person.ask(scene))))
    return turns


def _images_at_once(person: Person, drawings: list[Drawing]) -> list[Turn]:
    """Make turns with all images in the first; questions refer to an image by its number, or to all images."""
    r = person.r
    scenes = [drawing.scene for drawing in drawings]
    prepared = [for_model(drawing) for drawing in drawings]
    numbered = r.random() < 0.4
    turns = []
    for k in range(r.choice((1, 2, 3))):
        pair = person.ask_for_all(scenes) if r.random() < 0.2 else person.ask_by_number(scenes, r.randrange(len(scenes)))
        turns.append(Turn(prepared if k == 0 else [], numbered, *pair))
    return turns
