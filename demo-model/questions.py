"""Ask questions about a scene, each with its only correct answer, in English and Chinese."""

from __future__ import annotations

import json
import random
from typing import TypeAlias

from demo_images import CELLS, Scene, Shape

QA: TypeAlias = tuple[str, str]
"""A question and its answer."""

COLOURS_ZH = {
    "red": "红色",
    "green": "绿色",
    "blue": "蓝色",
    "yellow": "黄色",
    "orange": "橙色",
    "purple": "紫色",
    "black": "黑色",
    "white": "白色",
    "gray": "灰色",
    "pink": "粉色",
}
FORMS_ZH = {"circle": "圆形", "square": "正方形", "triangle": "三角形", "star": "星形", "cross": "十字", "ring": "圆环"}
PLACES = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")
PLACES_ZH = ("左上角", "上方", "右上角", "左侧", "中间", "右侧", "左下角", "下方", "右下角")
NUMBERS = ("no", "one", "two", "three", "four")
NUMBERS_ZH = ("零", "一", "两", "三", "四")
ORDINALS = ("first", "second", "third")
ORDINALS_ZH = ("第一", "第二", "第三")

DESCRIBE = (
    "Describe this image.",
    "What is in this image?",
    "What's in this image?",
    "Describe this image in detail.",
    "What is in this picture?",
    "What do you see?",
    "Describe the picture",
    "List all the objects you can see in this image.",
)
DESCRIBE_ZH = ("描述这张图片", "请描述这张图片。", "这张图片里有什么？", "图中有什么？", "请详细描述这张图片的内容")
DESCRIBE_JSON = (
    "Describe this image as JSON.",
    "Describe this image as JSON",
    "Answer in JSON: what is in this image?",
    "用JSON描述这张图片",
)
DESCRIBE_ALL = ("Describe these images.", "What is in these pictures?", "Describe all pictures.")
DESCRIBE_ALL_ZH = ("描述这些图片", "这些图片里有什么？")

_HELLO = "Hello! Send me a picture of simple shapes or a few letters."
_WHO = "I am a tiny demo model. I can see simple shapes, colors and short text."
_HELLO_ZH = "你好！请发一张简单图形或几个字母的图片。"
_WHO_ZH = "我是一个微型演示模型，能看懂简单的图形、颜色和短文字。"
GREETINGS: tuple[QA, ...] = (
    ("Hello", _HELLO),
    ("Hi", _HELLO),
    ("Who are you?", _WHO),
    ("What can you do?", _WHO),
    ("你好", _HELLO_ZH),
    ("你是谁？", _WHO_ZH),
    ("你能做什么？", _WHO_ZH),
)


def describe(scene: Scene, chinese: bool) -> str:
    if chinese:
        background = f"{COLOURS_ZH[scene.background]}背景上有"
        if scene.text:
            return f"{background}{COLOURS_ZH[scene.text.colour]}文字“{scene.text.characters}”。"
        return background + _listed([f"一个{_name_zh(shape)}" for shape in scene.shapes], "、", "和") + "。"
    if scene.text:
        return f'The text "{scene.text.characters}" in {scene.text.colour} on a {scene.background} background.'
    sentence = _listed([_with_article(f"{shape.colour} {shape.form}") for shape in scene.shapes], ", ", " and ")
    return f"{sentence[0].upper()}{sentence[1:]} on a {scene.background} background."


def describe_all(scenes: list[Scene], chinese: bool) -> str:
    sentences = [describe(scene, chinese) for scene in scenes]
    if chinese:
        return " ".join(f"{ORDINALS_ZH[i]}张：{sentence}" for i, sentence in enumerate(sentences))
    return " ".join(f"Picture {i + 1}: {sentence}" for i, sentence in enumerate(sentences))


def as_json(scene: Scene) -> str:
    shapes = [{"color": shape.colour, "shape": shape.form} for shape in scene.shapes]
    return json.dumps({"background": scene.background, "shapes": shapes, "text": scene.text.characters if scene.text else ""})


def ask(r: random.Random, scene: Scene, chinese: bool) -> QA:
    """Ask for a description in 45 % of cases, else for a detail."""
    details = _details_zh(scene) if chinese else _details(scene)
    if r.random() < 0.45:
        return r.choice(DESCRIBE_ZH if chinese else DESCRIBE), describe(scene, chinese)
    return r.choice(details)


def ask_across(r: random.Random, scene: Scene, question_chinese: bool, answer_chinese: bool) -> QA:
    """Ask a question in one language for an answer in another. If the languages differ, ask only for a description."""
    if question_chinese == answer_chinese:
        return ask(r, scene, question_chinese)
    questions = ("描述这张图片", "这张图片里有什么？", "图中有什么？")
    if not question_chinese:
        questions = ("Describe this image.", "What is in this image?", "What do you see?")
    return r.choice(questions), describe(scene, answer_chinese)


def about_number(r: random.Random, i: int, question: str, chinese: bool) -> str:
    """Rewrite a question so that it names the image with index `i` by its number."""
    if chinese:
        return r.choice((f"第{i + 1}张图片：{question}", f"{ORDINALS_ZH[i]}张图片中，{question}", f"{ORDINALS_ZH[i]}张图：{question}"))
    nth = ORDINALS[i]
    if question in ("Describe this image.", "Describe the picture", "Describe this image in detail."):
        return r.choice((f"Describe the {nth} picture.", f"Describe the {nth} image.", f"Describe picture {i + 1}."))
    if question.startswith("What is in this"):
        return r.choice((f"What is in the {nth} picture?", f"What is in the {nth} image?", f"What is in picture {i + 1}?"))
    small = question[0].lower() + question[1:]
    return r.choice(
        (
            f"In the {nth} picture, {small}",
            f"In picture {i + 1}, {small}",
            f"In the {nth} image, {small}",
            f"{question[:-1]} in the {nth} picture{question[-1]}",
        )
    )


def _details(scene: Scene) -> list[QA]:
    pairs = [("What color is the background?", f"The background is {scene.background}.")]
    if scene.text:
        answer = f'The text says "{scene.text.characters}".'
        return pairs + [
            (q, answer) for q in ("What does the text say?", "Read the text.", "What text is in the image?", "What does it say?")
        ]
    count = len(scene.shapes)
    answer = f"There is {NUMBERS[count]} shape." if count == 1 else f"There are {NUMBERS[count]} shapes."
    pairs += [(q, answer) for q in ("How many shapes are there?", "How many objects are in the image?", "How many shapes?")]
    for shape in scene.shapes:
        if _only_form(scene, shape):
            answer = f"The {shape.form} is {shape.colour}."
            pairs += [(q, answer) for q in (f"What color is the {shape.form}?", f"What colour is the {shape.form}?")]
        if _only_colour(scene, shape):
            pairs.append((f"What shape is {shape.colour}?", f"The {shape.colour} shape is {_with_article(shape.form)}."))
        where = f"{'in' if shape.cell == (1, 1) else 'at'} the {PLACES[CELLS.index(shape.cell)]}"
        pairs.append((f"Where is the {shape.colour} {shape.form}?", f"The {shape.colour} {shape.form} is {where}."))
    return pairs


def _details_zh(scene: Scene) -> list[QA]:
    pairs = [("背景是什么颜色？", f"背景是{COLOURS_ZH[scene.background]}。")]
    if scene.text:
        answer = f"文字是“{scene.text.characters}”。"
        return pairs + [(q, answer) for q in ("图中的文字是什么？", "写了什么？", "识别图中的文字")] * 2
    answer = f"有{NUMBERS_ZH[len(scene.shapes)]}个图形。"
    pairs += [(q, answer) for q in ("有几个图形？", "图中有多少个图形？")]
    for shape in scene.shapes:
        colour, form = COLOURS_ZH[shape.colour], FORMS_ZH[shape.form]
        if _only_form(scene, shape):
            pairs.append((f"{form}是什么颜色？", f"{form}是{colour}。"))
        if _only_colour(scene, shape):
            pairs.append((f"{colour}的是什么形状？", f"是{form}。"))
        pairs.append((f"{colour}{form}在哪里？", f"{colour}{form}在{PLACES_ZH[CELLS.index(shape.cell)]}。"))
    return pairs


def _only_form(scene: Scene, shape: Shape) -> bool:
    return sum(other.form == shape.form for other in scene.shapes) == 1


def _only_colour(scene: Scene, shape: Shape) -> bool:
    return sum(other.colour == shape.colour for other in scene.shapes) == 1


def _name_zh(shape: Shape) -> str:
    return COLOURS_ZH[shape.colour] + FORMS_ZH[shape.form]


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _listed(items: list[str], comma: str, last: str) -> str:
    """Join items as in `a, b and c`."""
    return items[0] if len(items) == 1 else comma.join(items[:-1]) + last + items[-1]
