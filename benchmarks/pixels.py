"""The effect of encoding and resampling on the model: drift of its log probabilities, bytes, and how well it still reads.

The demo model in the embedded llama.cpp server gets the same images, each at exactly its input size, prepared in different ways. It reads
two characters of several sizes on plain and on noisy ground, and names the colour of circles. The reference is PNG by our filter.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import io
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from typing import Self, TypeAlias

import httpx2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.report import Figure, Report
from llava_gateway.engines.llama_process import LlamaCommand, LlamaProcess
from llava_gateway.images import resize
from llava_gateway.images.encode import encode

SIDE = 112
"""The input size of the demo model."""
LARGE = 2240
"""Side of the source images: large enough for our filter to reduce them first."""
CHARACTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
WIDTHS = (0.5, 0.4, 0.3, 0.25)
"""Heights of the text, as parts of the image's width; the demo model can't read smaller text."""
GROUNDS = ((250, 250, 250), (240, 210, 30), (128, 128, 128), (250, 150, 190))
INKS = ((15, 15, 15), (214, 39, 40), (31, 90, 200), (130, 60, 180))
FONT = "DejaVuSans-Bold.ttf"
GRAIN = 12.0
"""Standard deviation of the noise, of 255: as in a phone's photo of a sheet in a dim room."""
READ, COLOUR = "Read the text.", "What color is the circle?"


@dataclass(frozen=True, slots=True)
class Sample:
    """A source image. `text` is the text in it; "" if the question is about a colour."""

    group: str
    image: Image.Image
    text: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its tokens, and the log probabilities of each token and its alternatives."""

    tokens: tuple[str, ...]
    rivals: tuple[Mapping[str, float], ...]

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    def drift(self, reference: Reply) -> float:
        """Return the largest gain or loss of a reference token, in nats, as far as the tokens before it are the same in both answers."""
        farthest = 0.0
        for mine, token, was, now in zip(self.tokens, reference.tokens, reference.rivals, self.rivals, strict=False):
            farthest = max(farthest, abs(now.get(token, min(now.values())) - was[token]))
            if mine != token:
                break
        return farthest


def run(*, quick: bool) -> Report:
    report = Report("pixels", "what encoding and resampling cost the demo model's eye", quick)
    if importlib.util.find_spec("xllamacpp") is None:
        report.notes.append("xllamacpp is not installed: nothing was measured.")
        return report
    samples = list(draw_samples(1 if quick else 30))
    if not _has_font():
        report.notes.append("DejaVu Sans is not installed: the letters are of a font that the model has not learned.")
    asyncio.run(_measure(report, samples))
    report.notes.append(f"{len(samples)} images of {LARGE}x{LARGE} pixels, shown as {SIDE}x{SIDE}; text is given as part of their width.")
    return report


Shrink: TypeAlias = Callable[[Image.Image], Image.Image]
Save: TypeAlias = Callable[[Image.Image], bytes]

FILTERS: dict[str, Shrink] = {
    "ours (reduced, BICUBIC)": lambda im: resize.resample(im, (SIDE, SIDE)),
    "BICUBIC": lambda im: im.resize((SIDE, SIDE), Image.Resampling.BICUBIC),
    "LANCZOS": lambda im: im.resize((SIDE, SIDE), Image.Resampling.LANCZOS),
    "BOX": lambda im: im.resize((SIDE, SIDE), Image.Resampling.BOX),
}
OURS = next(iter(FILTERS))


def _jpeg(quality: int, subsampling: str) -> Callable[[Image.Image], bytes]:
    def save(im: Image.Image) -> bytes:
        file = io.BytesIO()
        im.save(file, "JPEG", quality=quality, subsampling=subsampling)
        return file.getvalue()

    return save


def _png(im: Image.Image) -> bytes:
    return encode(im, lossless=True).data


ENCODINGS: dict[str, Save] = {
    "PNG": _png,
    **{f"JPEG {quality} {chroma}": _jpeg(quality, chroma) for quality in (95, 92, 90, 80) for chroma in ("4:4:4", "4:2:0")},
}


def draw_samples(count: int) -> Iterator[Sample]:
    """Draw `count` samples of each group, the same each time."""
    chance = random.Random(1)
    for width in WIDTHS:
        for grain in (0.0, GRAIN):
            for _ in range(count):
                text = "".join(chance.sample(CHARACTERS, 2))
                yield Sample(f"text {width:.0%}", _grained(_text(text, width, chance), grain, chance), text)
    for _ in range(count):
        yield Sample("circles", _circle(chance))


def _text(text: str, width: float, chance: random.Random) -> Image.Image:
    image = Image.new("RGB", (LARGE, LARGE), chance.choice(GROUNDS))
    font = _font(100 * LARGE * width / _font(100).getlength(text))
    x, y = (LARGE / 2 + chance.uniform(-0.03, 0.03) * LARGE for _ in "xy")
    ImageDraw.Draw(image).text((x, y), text, fill=chance.choice(INKS), font=font, anchor="mm")
    return image


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that the model was trained on, else Pillow's built-in one."""
    try:
        return ImageFont.truetype(FONT, size)
    except OSError:
        return ImageFont.load_default(size)


def _has_font() -> bool:
    font = _font(10)
    return isinstance(font, ImageFont.FreeTypeFont) and font.getname()[0] == "DejaVu Sans"


def _circle(chance: random.Random) -> Image.Image:
    image = Image.new("RGB", (LARGE, LARGE), chance.choice(GROUNDS))
    middle, radius = chance.uniform(0.4, 0.6) * LARGE, chance.uniform(0.1, 0.3) * LARGE
    ImageDraw.Draw(image).ellipse((middle - radius, middle - radius, middle + radius, middle + radius), fill=chance.choice(INKS))
    return image


def _grained(image: Image.Image, strength: float, chance: random.Random) -> Image.Image:
    """Add noise as coarse as a pixel of the model's input, so that it survives the reduction."""
    if not strength:
        return image
    noise = np.random.default_rng(chance.randrange(2**32)).normal(0, strength, (SIDE, SIDE, 3))
    step = LARGE // SIDE
    large = np.asarray(image, np.float32) + noise.repeat(step, 0).repeat(step, 1)
    return Image.fromarray(np.clip(large, 0, 255).astype(np.uint8))


async def _measure(report: Report, samples: Sequence[Sample]) -> None:
    async with _Engine() as engine:
        ways: list[tuple[str, str, Save]] = [(name, "PNG", _png) for name in FILTERS]
        ways += [(OURS, name, save) for name, save in ENCODINGS.items() if name != "PNG"]
        shrunk = {name: [shrink(sample.image) for sample in samples] for name, shrink in FILTERS.items()}
        reference: list[Reply] = []
        for name, form, save in ways:
            way = f"{name}, {form}"
            files = [save(image) for image in shrunk[name]]
            said = [await engine.ask(sample, file) for sample, file in zip(samples, files, strict=True)]
            reference = reference or said
            report.figures.append(Figure(f"{way}: bytes", "B", tuple(len(file) for file in files)))
            drifts = [one.drift(other) for one, other in zip(said, reference, strict=True)]
            report.figures.append(Figure(f"{way}: mean drift", "nats", (sum(drifts) / len(drifts),)))
            for group in dict.fromkeys(sample.group for sample in samples if sample.text):
                right = [f'"{sample.text}"' in one.text for sample, one in zip(samples, said, strict=True) if sample.group == group]
                report.figures.append(Figure(f"{way}: reads {group}", "%", (100 * sum(right) / len(right),)))


class _Engine:
    """The demo model in its own llama.cpp server."""

    async def __aenter__(self) -> Self:
        self._files = ExitStack()
        folder = self._files.enter_context(resources.as_file(resources.files("llava_gateway") / "demo"))
        gguf, mmproj = folder / "demo.gguf", folder / "demo-mmproj.gguf"
        self._process = await LlamaProcess.start(LlamaCommand("demo", str(gguf), str(mmproj), 1024, num_gpu=0, slots=1, threads=1))
        headers = {"Authorization": f"Bearer {self._process.api_key}"}
        self._http = httpx2.AsyncClient(base_url=self._process.address, headers=headers, timeout=60, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
        await self._process.stop()
        self._files.close()

    async def ask(self, sample: Sample, file: bytes) -> Reply:
        kind = "png" if file.startswith(b"\x89PNG") else "jpeg"
        url = f"data:image/{kind};base64,{base64.b64encode(file).decode()}"
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": READ if sample.text else COLOUR}]
        asked = {"temperature": 0, "max_tokens": 12, "logprobs": True, "top_logprobs": 20}
        response = await self._http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": content}], **asked})
        response.raise_for_status()
        tokens = response.json()["choices"][0]["logprobs"]["content"]
        return Reply(
            tuple(token["token"] for token in tokens),
            tuple({rival["token"]: rival["logprob"] for rival in token["top_logprobs"]} for token in tokens),
        )
