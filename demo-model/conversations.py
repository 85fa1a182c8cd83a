"""Makes the conversations that the demo model learns from: one or several images, one or several turns, English and Chinese."""

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
    """`images` holds (image, labels) as the model gets them; `numbered` ones come as "Picture 1: <picture> Picture 2: <picture>"."""

    images: list[tuple[Image.Image, Image.Image]]
    numbered: bool
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """`system` is empty where there is no system prompt."""

    system: str
    turns: list[Turn]


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks: mostly in one language; `answers_chinese` is set where the system prompt says in which language to answer."""

    r: random.Random
    chinese: bool
    answers_chinese: bool | None

    @property
    def language_is_chinese(self) -> bool:
        return self.chinese if self.answers_chinese is None else self.answers_chinese

    def greet(self) -> QA:
        return self.r.choice(GREETINGS)

    def ask(self, scene: Scene) -> QA:
        """About the latest image."""
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
    """One conversation of any kind."""
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
    """Several turns about one image; `tiled` gives it as tiles and overview."""
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
    """Columns and rows of tiles that suit the image."""
    width, height = drawing.image.size
    if width == height:
        return r.choice(((2, 1), (1, 2), (2, 2)))
    return (2, 1) if width > height else (1, 2)


def _images_one_by_one(person: Person, drawings: list[Drawing]) -> list[Turn]:
    """A new image in a later turn; a question without a number is about the latest one."""
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
    """All images in the first turn; questions go by their number."""
    r = person.r
    scenes = [drawing.scene for drawing in drawings]
    prepared = [for_model(drawing) for drawing in drawings]
    numbered = r.random() < 0.4
    turns = []
    for k in range(r.choice((1, 2, 3))):
        pair = person.ask_for_all(scenes) if r.random() < 0.2 else person.ask_by_number(scenes, r.randrange(len(scenes)))
        turns.append(Turn(prepared if k == 0 else [], numbered, *pair))
    return turns
