"""Draw the images for training the demo model: one to four shapes, or one to four characters, on a plain background.

All randomness comes from the `random.Random` argument: the same seed gives the same image with the same version of Pillow.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

RGB: TypeAlias = tuple[int, int, int]
Cell: TypeAlias = tuple[int, int]
"""Column and row on a grid of three by three."""

MODEL_SIDE = 112
"""Width and height in pixels of the model's input."""
LABEL_SIDE = MODEL_SIDE // 2
PADDING: RGB = (122, 116, 104)
"""The colour with which llama.cpp pads images for LLaVA-1.5 (the mean of CLIP's training images)."""

COLOURS: dict[str, RGB] = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (31, 90, 200),
    "yellow": (240, 210, 30),
    "orange": (255, 127, 14),
    "purple": (130, 60, 180),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
    "gray": (128, 128, 128),
    "pink": (250, 150, 190),
}
FORMS = ("circle", "square", "triangle", "star", "cross", "ring")
CHARACTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without characters that look alike: I 1 O 0
CELLS: tuple[Cell, ...] = ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2))
OUTER_CELLS: tuple[Cell, ...] = ((0, 0), (2, 0), (0, 2), (2, 2), (0, 1), (2, 1), (1, 0), (1, 2))
FONTS = ("DejaVuSans-Bold.ttf", "DejaVuSansMono-Bold.ttf", "DejaVuSerif-Bold.ttf")

# Frequent choices appear more than once.
SIDES = (224, 224, 224, 168, 298)
BACKGROUNDS = ("white", "white", "white", "black", "gray", "yellow", "blue", "pink", "green")
TEXT_COLOURS = ("red", "blue", "black", "green", "purple", "white")
SHAPE_COUNTS = (1, 1, 1, 2, 2, 2, 3, 3, 4)
TEXT_LENGTHS = (1, 1, 2, 2, 3, 3, 4)
TOO_ALIKE = (
    {"white", "pink"},
    {"white", "yellow"},
    {"black", "blue"},
    {"black", "purple"},
    {"gray", "white"},
    {"gray", "purple"},
    {"pink", "purple"},
    {"yellow", "orange"},
    {"blue", "purple"},
)


@dataclass(frozen=True, slots=True)
class Shape:
    colour: str
    form: str
    cell: Cell


@dataclass(frozen=True, slots=True)
class Text:
    characters: str
    colour: str


@dataclass(frozen=True, slots=True)
class Scene:
    """The content of an image: shapes row by row, or a text without shapes."""

    background: str
    shapes: tuple[Shape, ...]
    text: Text | None


@dataclass(frozen=True, slots=True)
class Drawing:
    """A scene with its image.

    Attributes:
        scene: the scene.
        image: the drawn image.
        labels: a map of the image for training; each pixel is (form or character, colour, background) as numbers from 1, 0 for none.
    """

    scene: Scene
    image: Image.Image
    labels: Image.Image


def draw_scene(r: random.Random) -> Drawing:
    width, height = r.choice(SIDES), r.choice(SIDES)
    background = r.choice(BACKGROUNDS)
    paint = _shade(background, r)
    image = Image.new("RGB", (width, height), paint)
    labels = Image.new("RGB", (width, height), (0, 0, _colour_number(background)))
    if r.random() < 0.55:
        scene = Scene(background, (), _draw_text(image, labels, background, r))
    else:
        scene = Scene(background, _draw_shapes(image, labels, background, paint, r), None)
    return Drawing(scene, image, labels)


def draw_photo(r: random.Random) -> Drawing:
    """Draw a scene and sometimes resize it, so that the model learns edges after resampling."""
    drawing = draw_scene(r)
    if r.random() < 0.4:
        factor = r.choice((0.5, 0.6, 0.75, 1.5))
        width, height = (max(8, int(side * factor)) for side in drawing.image.size)
        image = drawing.image.resize((width, height), r.choice((Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)))
        return Drawing(drawing.scene, image, drawing.labels)
    return drawing


def for_model(drawing: Drawing) -> tuple[Image.Image, Image.Image]:
    """Return (image, labels), both padded to squares of MODEL_SIDE and LABEL_SIDE pixels."""
    labels = _pad_square(drawing.labels, (0, 0, 0)).resize((LABEL_SIDE, LABEL_SIDE), Image.Resampling.NEAREST)
    return _pad_square(drawing.image, PADDING).resize((MODEL_SIDE, MODEL_SIDE), Image.Resampling.BILINEAR), labels


def tiles_for_model(drawing: Drawing, columns: int, rows: int) -> list[tuple[Image.Image, Image.Image]]:
    """Fit the image onto black and cut it into square tiles, row by row, as LLaVA-1.6 does. Returns (image, labels) for each tile."""
    image = drawing.image
    width, height = columns * MODEL_SIDE, rows * MODEL_SIDE
    scale = min(width / image.width, height / image.height)
    w, h = round(image.width * scale), round(image.height * scale)
    fitted = Image.new("RGB", (width, height))
    fitted.paste(image.resize((w, h), Image.Resampling.BICUBIC), ((width - w) // 2, (height - h) // 2))
    labels = Image.new("RGB", (width // 2, height // 2))
    labels.paste(drawing.labels.resize((w // 2, h // 2), Image.Resampling.NEAREST), ((width - w) // 4, (height - h) // 4))
    return [(_crop(fitted, x, y, MODEL_SIDE), _crop(labels, x, y, LABEL_SIDE)) for y in range(rows) for x in range(columns)]


@cache
def load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Load a DejaVu font from the system's font folders, which Pillow knows. Raises RuntimeError if it is not installed."""
    try:
        return ImageFont.truetype(name, size)
    except OSError as error:
        raise RuntimeError(f"the font {name} is not installed: on Debian and Ubuntu, apt-get install fonts-dejavu-core") from error


def _draw_text(image: Image.Image, labels: Image.Image, background: str, r: random.Random) -> Text:
    length = r.choice(TEXT_LENGTHS)
    characters = "".join(r.choice(CHARACTERS) for _ in range(length))
    white_is_faint = background in ("yellow", "pink")
    colour = r.choice([c for c in TEXT_COLOURS if c != background and not (c == "white" and white_is_faint)])
    if background == "black" and colour in ("blue", "purple"):
        colour = "white"
    name = r.choice(FONTS)
    size = int(min(image.height * 0.6, image.width * 0.95 / (0.78 * max(length, 1.4))) * r.uniform(0.78, 1.0))
    font = load_font(name, max(size // 4 * 4, 16))
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = draw.textbbox((0, 0), characters, font=font)
    width, height = right - left, bottom - top
    x = (image.width - width) / 2 + r.uniform(-0.5, 0.5) * max(0, image.width - width) * 0.5 - left
    y = (image.height - height) / 2 + r.uniform(-0.5, 0.5) * max(0, image.height - height) * 0.5 - top
    draw.text((x, y), characters, font=font, fill=_shade(colour, r))

    label = ImageDraw.Draw(labels)
    start = x
    for i, character in enumerate(characters):
        stop = x + font.getlength(characters[: i + 1])
        number = 1 + len(FORMS) + CHARACTERS.index(character)
        label.rectangle((start, y + top, stop, y + bottom), fill=(number, _colour_number(colour), _colour_number(background)))
        start = stop
    return Text(characters, colour)


def _draw_shapes(image: Image.Image, labels: Image.Image, background: str, paint: RGB, r: random.Random) -> tuple[Shape, ...]:
    count = r.choice(SHAPE_COUNTS)
    cells = r.sample(CELLS, count)
    if count > 1 and r.random() < 0.5:  # further apart
        cells = r.sample(OUTER_CELLS, count)
    draw, label = ImageDraw.Draw(image), ImageDraw.Draw(labels)
    width, height = image.size
    used: set[tuple[str, str]] = set()
    shapes = []
    for cell in cells:
        colour, form = _new_look(background, used, r)
        place = cell
        if count == 1 and r.random() < 0.6:  # large, in the middle
            radius = min(width, height) * r.uniform(0.2, 0.46)
            x = width * 0.5 + r.uniform(-0.04, 0.04) * width
            y = height * 0.5 + r.uniform(-0.04, 0.04) * height
            place = (1, 1)
        else:
            radius = min(width, height) / 6 * r.uniform(0.72, 1.0)
            x = width * (cell[0] * 2 + 1) / 6 + r.uniform(-0.03, 0.03) * width
            y = height * (cell[1] * 2 + 1) / 6 + r.uniform(-0.03, 0.03) * height
        _draw_form(draw, form, (x, y), radius, _shade(colour, r), paint)
        shapes.append(Shape(colour, form, place))
        numbers = (1 + FORMS.index(form), _colour_number(colour), _colour_number(background))
        label.rectangle((x - radius, y - radius, x + radius, y + radius), fill=numbers)
    return tuple(sorted(shapes, key=lambda shape: (shape.cell[1], shape.cell[0])))


def _new_look(background: str, used: set[tuple[str, str]], r: random.Random) -> tuple[str, str]:
    """Draw a (colour, form) that is not used yet, with a colour that stands out from the background."""
    while True:
        colour = r.choice([c for c in COLOURS if c != background and {c, background} not in TOO_ALIKE])
        form = r.choice(FORMS)
        if (colour, form) not in used:
            used.add((colour, form))
            return colour, form


def _draw_form(draw: ImageDraw.ImageDraw, form: str, centre: tuple[float, float], radius: float, colour: RGB, paint: RGB) -> None:
    x, y = centre

    def box(half_width: float, half_height: float) -> tuple[float, float, float, float]:
        return x - half_width, y - half_height, x + half_width, y + half_height

    match form:
        case "circle":
            draw.ellipse(box(radius, radius), fill=colour)
        case "ring":
            draw.ellipse(box(radius, radius), fill=colour)
            draw.ellipse(box(radius * 0.55, radius * 0.55), fill=paint)
        case "square":
            draw.rectangle(box(radius * 0.88, radius * 0.88), fill=colour)
        case "triangle":
            draw.polygon([(x, y - radius), (x - radius * 0.95, y + radius * 0.8), (x + radius * 0.95, y + radius * 0.8)], fill=colour)
        case "star":
            draw.polygon([_star_point(centre, radius, i) for i in range(10)], fill=colour)
        case "cross":
            draw.rectangle(box(radius * 0.32, radius), fill=colour)
            draw.rectangle(box(radius, radius * 0.32), fill=colour)


def _star_point(centre: tuple[float, float], radius: float, i: int) -> tuple[float, float]:
    angle = -math.pi / 2 + i * math.pi / 5
    reach = radius * (1.05 if i % 2 == 0 else 0.42)
    return centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle)


def _shade(colour: str, r: random.Random) -> RGB:
    """Vary a colour slightly, because no two photos have the same red."""
    red, green, blue = (max(0, min(255, value + r.randint(-14, 14))) for value in COLOURS[colour])
    return red, green, blue


def _colour_number(colour: str) -> int:
    return 1 + list(COLOURS).index(colour)


def _pad_square(image: Image.Image, colour: RGB) -> Image.Image:
    side = max(image.size)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _crop(image: Image.Image, column: int, row: int, side: int) -> Image.Image:
    return image.crop((column * side, row * side, (column + 1) * side, (row + 1) * side))
