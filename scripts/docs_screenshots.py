"""Writes docs/screenshots/: the chat page in its usual states, in both languages, light and dark, on a desktop and on a phone.

The page, the gateway and the pictures are real; the engine behind them has its answers in this file, so that every state can be held.
    PYTHONPATH=. .venv/bin/python scripts/docs_screenshots.py [STATE ...]

Needs Chromium and the fonts of the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import docs_images
from aiohttp import web
from PIL import Image, ImageDraw, ImageEnhance, ImageFont
from playwright.async_api import Browser, async_playwright, expect

from llava_gateway.chat import EngineEvent, EngineRequest, Finish, PromptProgress, TextDelta, Timings, TokenCount, Usage
from llava_gateway.engines.base import ModelInfo
from llava_gateway.images.facts import VisionFacts
from llava_gateway.images.store import StoredImage
from llava_gateway.settings import Settings
from tests.browsers import CHROMIUM_FLAGS, find_chromium
from tests.page.visit import Visitor, file
from tests.scripted_engine import ScriptedEngine
from tests.serving import Served, serving

FOLDER = Path(__file__).parents[1] / "docs" / "screenshots"
QUALITY = 80
MODELS = (
    ModelInfo(
        "llava:7b",
        "ollama",
        True,
        VisionFacts("mlp", 336, 14),
        32768,
        True,
        4096,
        4_733_000_000,
        "llama",
        "7B",
        "Q4_0",
        None,
        5_700_000_000,
        5_700_000_000,
    ),
    ModelInfo("qwen2.5vl:7b", "ollama", True, VisionFacts(), 128000, False, None, 5_970_000_000, "qwen25vl", "8.3B", "Q4_K_M"),
    ModelInfo("gemma3:4b", "ollama", True, VisionFacts(), 131072, False, None, 3_340_000_000, "gemma3", "4.3B", "Q4_K_M"),
    ModelInfo("llama3.2:3b", "ollama", False, VisionFacts(), 131072, False, None, 2_020_000_000, "llama", "3.2B", "Q4_K_M"),
)
PIECE = re.compile(r"[\u3000-\u9fff\uff00-\uffef]|[^\s\u3000-\u9fff\uff00-\uffef]+\s*|\s+")
"""About the size of a token: a word, or a Chinese character."""
FIRST_WORD_SECONDS, PIECE_SECONDS = 0.4, 0.02
"""The speed of a small model on a graphics card."""
TOKENS_AN_IMAGE = 2144
CONTEXT = 8192
"""The context with which the engine runs."""


@dataclass(frozen=True, slots=True)
class Look:
    language: str
    colours: str
    width: int
    height: int
    scale: float = 1

    @property
    def name(self) -> str:
        return f"{self.language}-{self.colours}-{self.width}"

    @property
    def browser(self) -> dict[str, Any]:
        touch = self.width < 700
        return {
            "locale": "zh-CN" if self.language == "zh" else "en-US",
            "color_scheme": self.colours,
            "viewport": {"width": self.width, "height": self.height},
            "device_scale_factor": self.scale,
            "has_touch": touch,
            "is_mobile": touch,
            "reduced_motion": "reduce",
        }


LOOKS = (
    Look("en", "light", 1440, 900),
    Look("zh", "dark", 1440, 900),
    Look("zh", "light", 360, 740, 1.5),
    Look("en", "dark", 360, 740, 1.5),
)
TABLET = Look("en", "light", 768, 1024)

WORDS = {
    "en": {
        "house?": "What number does the house have?",
        "house": "The house has the number **27**: it stands on the white plate on its brown door.",
        "receipt?": "What did this cost? Make a table.",
        "receipt": """The receipt is from **Café Linden** and lists four things:

| item | how many | each | together |
|---|---:|---:|---:|
| Espresso | 2 | 2.40 | 4.80 |
| Cappuccino | 1 | 3.60 | 3.60 |
| Cheesecake | 1 | 4.90 | 4.90 |
| Water 0.5 l | 2 | 3.00 | 6.00 |
| **Total** | | | **19.30** |

- The total is right: the items add up to 19.30.
- VAT of 7 % is included: 1.26.
- It was paid **by card** at 16:42.""",
        "five?": "Which of these were taken in the evening?",
        "five": "Picture 3 and picture 4: the light of picture 3 is low and orange, and in picture 4 it is night. Picture 1 is a morning, "
        "picture 2 is about noon, and picture 5 shows the same house in winter.",
        "tree?": "And what stands beside it?",
        "tree": "A single tree with a round crown, to the right of the house. In front of it the meadow falls away to the left, and the "
        "sun stands to the right above the roof. There are no people, and no cars.",
        "other": "To the right of the house there is one tree. It is green and round, and stands on a brown trunk.",
    },
    "zh": {
        "house?": "这栋房子的门牌号是多少？",
        "house": "门牌号是 **27**，写在棕色大门上的白色牌子里。",
        "receipt?": "一共花了多少钱？列成表格。",
        "receipt": """这是 **Café Linden** 的小票，共四项：

| 品名 | 数量 | 单价 | 小计 |
|---|---:|---:|---:|
| 浓缩咖啡 | 2 | 2.40 | 4.80 |
| 卡布奇诺 | 1 | 3.60 | 3.60 |
| 芝士蛋糕 | 1 | 4.90 | 4.90 |
| 水 0.5 升 | 2 | 3.00 | 6.00 |
| **合计** | | | **19.30** |

- 合计无误：各项相加正好是 19.30。
- 已含 7% 的增值税 1.26。
- 16:42 **刷卡**支付。""",
        "five?": "哪几张是傍晚以后拍的？",
        "five": "图片 3 和图片 4：图片 3 的光线又低又橙，图片 4 已经是夜里。图片 1 是早晨，图片 2 接近正午，图片 5 是同一栋房子的冬天。",
        "tree?": "旁边有什么？",
        "tree": "房子右边有一棵树，树冠是圆的。前面的草地向左倾斜，太阳在屋顶右上方。图里没有人，也没有车。",
        "other": "房子右侧有一棵树，绿色，圆形树冠，树干是棕色的。",
    },
}


def photo() -> bytes:
    return docs_images.jpeg(docs_images.house())


def daytimes() -> list[bytes]:
    """Draw the house in the morning, at noon, in the evening, at night and in winter."""
    house = docs_images.house((1200, 900))
    tints = ((255, 226, 200, 0.25), None, (255, 130, 40, 0.42), (10, 18, 60, 0.72), (240, 246, 255, 0.5))
    images = []
    for tint in tints:
        image = house
        if tint:
            image = Image.blend(house, Image.new("RGB", house.size, tint[:3]), tint[3])
            image = ImageEnhance.Contrast(image).enhance(1.15)
        images.append(docs_images.jpeg(image))
    return images


def receipt() -> bytes:
    image = Image.new("RGB", (720, 1080), (238, 236, 231))
    pen = ImageDraw.Draw(image)
    pen.rectangle((70, 40, 650, 1040), fill=(253, 253, 250))
    ink = (38, 36, 34)

    def line(y: int, left: str, right: str = "", size: int = 30) -> None:
        font = ImageFont.load_default(size)
        if right:
            pen.text((110, y), left, fill=ink, font=font)
            pen.text((610, y), right, fill=ink, font=font, anchor="ra")
        else:
            pen.text((360, y), left, fill=ink, font=font, anchor="ma")

    line(90, "Café Linden", size=52)
    line(165, "Lindenstrasse 27", size=26)
    line(205, "21.11.2026  16:42", size=26)
    rows = (("2 x Espresso", "4.80"), ("1 x Cappuccino", "3.60"), ("1 x Cheesecake", "4.90"), ("2 x Water 0.5 l", "6.00"))
    for number, (what, price) in enumerate(rows):
        line(300 + 62 * number, what, price)
    pen.line((110, 570, 610, 570), fill=ink, width=3)
    line(600, "Total EUR", "19.30", size=44)
    line(680, "incl. 7 % VAT", "1.26", size=26)
    line(760, "Paid by card", "**** 2042", size=26)
    for number in range(58):
        if number * 37 % 5 < 3:
            pen.rectangle((150 + number * 7, 860, 150 + number * 7 + (2 + number * 13 % 4), 950), fill=ink)
    line(970, "Thank you", size=26)
    file = BytesIO()
    image.rotate(-2, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=(238, 236, 231)).save(file, "PNG")
    return file.getvalue()


def cut_off() -> bytes:
    whole = photo()
    return whole[: len(whole) * 61 // 100]


class Speaker(ScriptedEngine):
    """Answers in one language the questions that it knows; waits forever at `stops_at`."""

    def __init__(self, language: str) -> None:
        super().__init__(self.speak)
        self.installed = MODELS
        self.words = WORDS[language]
        self.context = CONTEXT
        self.counted = self.tokens
        self.stops_at: float | None = None
        self.reads_for_ever = False
        self.hold = asyncio.Event()

    async def speak(self, request: EngineRequest) -> AsyncGenerator[EngineEvent]:
        question = request.messages[-1].text
        asked = next((name for name, words in self.words.items() if name.endswith("?") and words in question), "tree?")
        answer = self.words[asked.removesuffix("?") if request.model == "llava:7b" else "other"]
        read = self.tokens(request).total
        if self.reads_for_ever:
            yield PromptProgress(read * 3 // 5, read)
            await self.hold.wait()
        pieces = PIECE.findall(answer)
        await asyncio.sleep(FIRST_WORD_SECONDS)
        began = asyncio.get_running_loop().time()
        for number, piece in enumerate(pieces):
            if self.stops_at is not None and number >= self.stops_at * len(pieces):
                await self.hold.wait()
            yield TextDelta(piece)
            await asyncio.sleep(PIECE_SECONDS)
        took = asyncio.get_running_loop().time() - began
        yield Finish("stop", Usage(read, len(pieces), 0), Timings(prompt_ms=FIRST_WORD_SECONDS * 1000, generation_ms=took * 1000))

    def tokens(self, request: EngineRequest) -> TokenCount:
        words = sum(len(message.text.split()) + len(message.text) // 6 + 8 for message in request.messages)
        return TokenCount(18, words, tuple(rendition.tokens or TOKENS_AN_IMAGE for rendition in request.renditions.values()), "exact", True)


@dataclass(slots=True)
class Scene:
    """The parts with which a state is made."""

    browser: Browser
    look: Look
    stack: AsyncExitStack
    engine: Speaker
    visitors: list[Visitor] = field(default_factory=list)

    @property
    def visitor(self) -> Visitor:
        return self.visitors[-1]

    @property
    def words(self) -> dict[str, str]:
        return WORDS[self.look.language]

    async def served(self, **settings: Any) -> Served:
        chosen = Settings(port=0, engine_poll_interval=0.1, **{"read_ahead": False, **settings})
        return await self.stack.enter_async_context(serving(chosen, None if settings else [self.engine]))

    async def open(self, url: str = "", **stored: Any) -> Visitor:
        self.visitors.append(await Visitor.open(self.browser, url or (await self.served()).url, "/", stored, self.look.browser))
        self.stack.push_async_callback(self.visitor.context.close)
        return self.visitor

    async def ask(self, question: str, *images: bytes) -> None:
        """Ask, and wait for the whole answer."""
        await self._send(question, *images)
        await self.visitor.ended()

    async def _send(self, question: str, *images: bytes) -> None:
        if images:
            await self.visitor.pick(*(file(data, f"photo-{n}.jpg", "image/jpeg") for n, data in enumerate(images, 1)))
            await self.visitor.prepared(len(images))
        await self.visitor.words.fill(self.words[question])
        await self.visitor.words.press("Enter")

    async def begin(self, question: str, *images: bytes) -> None:
        """Ask, and don't wait."""
        await self._send(question, *images)


Make = Callable[[Scene], Awaitable[None]]
STATES: dict[str, Make] = {}


def state(make: Make) -> Make:
    STATES[make.__name__.replace("_", "-")] = make
    return make


@state
async def first_run(scene: Scene) -> None:
    url = await scene.stack.enter_async_context(_Registry())
    visitor = await scene.open((await scene.served(ollama_host=url)).url)
    await expect(visitor.page.locator(".setup button").first).to_be_visible()


@state
async def preparing(scene: Scene) -> None:
    served = await scene.served()
    visitor = await scene.open(served.url)
    await visitor.pick(file(docs_images.jpeg(docs_images.house().rotate(90, expand=True), orientation=6), "IMG_2042.jpg", "image/jpeg"))
    await visitor.prepared()
    store = served.gateway.images
    add = store.add

    async def late(*arguments: Any, **named: Any) -> StoredImage:
        await scene.engine.hold.wait()
        return await add(*arguments, **named)

    setattr(store, "add", late)  # noqa: B010
    await visitor.pick(file(receipt(), "receipt.png"))
    await expect(visitor.page.locator(".chip[data-state=preparing]")).to_have_count(1)


@state
async def refused(scene: Scene) -> None:
    visitor = await scene.open()
    await visitor.pick(file(photo(), "house.jpg", "image/jpeg"), file(cut_off(), "holiday.jpg", "image/jpeg"))
    await visitor.prepared()
    await expect(visitor.page.locator(".chip[data-state=refused]")).to_have_count(1)


@state
async def reading(scene: Scene) -> None:
    visitor = await scene.open()
    scene.engine.reads_for_ever = True
    await scene.begin("house?", photo())
    await expect(visitor.page.locator(".phase progress")).to_be_visible()


@state
async def streaming(scene: Scene) -> None:
    visitor = await scene.open()
    await scene.ask("house?", photo())
    scene.engine.stops_at = 0.6
    await scene.begin("tree?")
    await expect(visitor.page.locator(".phase[data-phase=writing]")).to_contain_text(re.compile(r"\d"))


@state
async def table(scene: Scene) -> None:
    await scene.open()
    await scene.ask("receipt?", receipt())


@state
async def five_images(scene: Scene) -> None:
    await scene.open()
    await scene.ask("five?", *daytimes())


@state
async def panel(scene: Scene) -> None:
    visitor = await scene.open()
    await scene.ask("house?", photo())
    await visitor.page.locator(".turn .picture").click()
    await visitor.page.locator(".panel .choice button").nth(1).click()


@state
async def part(scene: Scene) -> None:
    visitor = await scene.open()
    await scene.ask("tree?", photo())
    await visitor.page.locator(".turn .picture").click()
    await visitor.page.locator(".panel-picture").click()
    await visitor.page.locator(".lightbox-tools [aria-pressed]").click()
    await expect(visitor.page.locator(".region-box")).to_be_visible()


@state
async def compare(scene: Scene) -> None:
    visitor = await scene.open()
    await scene.ask("house?", photo())
    page = visitor.page
    await page.locator(".compare-open").click()
    dialog = page.locator("dialog.compare")
    await dialog.locator("textarea").fill(scene.words["tree?"])
    await dialog.locator(".button.main").click()
    await expect(dialog.locator(".words")).to_have_count(2)


@state
async def context(scene: Scene) -> None:
    visitor = await scene.open()
    await scene.ask("house?", daytimes()[0])
    await scene.ask("tree?", daytimes()[1])
    await visitor.page.locator("button.context-meter").click()


@state
async def engine_gone(scene: Scene) -> None:
    visitor = await scene.open()
    await scene.ask("house?", photo())
    scene.engine.up = False
    await expect(visitor.page.locator(".banner")).to_be_visible()


@state
async def pulling(scene: Scene) -> None:
    url = await scene.stack.enter_async_context(_Registry())
    visitor = await scene.open((await scene.served(ollama_host=url)).url)
    await visitor.page.locator(".setup button").first.click()
    await expect(visitor.page.locator(".arrival")).to_contain_text(re.compile("MB/s|每秒"))
    await expect(visitor.page.get_by_role("progressbar")).to_be_visible()
    await visitor.page.locator(".arrival").scroll_into_view_if_needed()


class _Registry:
    """An Ollama without a model, to which llava:7b downloads at 11 MB/s as long as a client waits."""

    async def __aenter__(self) -> str:
        app = web.Application()
        app.router.add_get("/api/version", lambda _: _json({"version": "0.34.2"}))
        app.router.add_get("/api/tags", lambda _: _json({"models": []}))
        app.router.add_get("/api/ps", lambda _: _json({"models": []}))
        app.router.add_post("/api/pull", self._pull)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(b'{"status":"pulling manifest"}\n')
        total, digest = 4_109_853_248, "sha256:" + "170370233dd5c5415250a2ecd5c71586352850729062ccef1496385647293868"
        done = 1_870_000_000
        with contextlib.suppress(ConnectionError):  # the client has disconnected
            while done < total:
                done += 1_100_000
                step = {"status": "pulling 170370233dd5", "digest": digest, "total": total, "completed": done}
                await response.write(json.dumps(step).encode() + b"\n")
                await asyncio.sleep(0.1)
        return response


async def _json(value: dict[str, Any]) -> web.Response:
    return web.json_response(value)


async def shoot(browser: Browser, name: str, look: Look) -> Path:
    path = FOLDER / f"{name}-{look.name}.webp"
    async with AsyncExitStack() as stack:
        engine = Speaker(look.language)
        scene = Scene(browser, look, stack, engine)
        await STATES[name](scene)
        stack.callback(engine.hold.set)
        page = scene.visitor.page
        await page.wait_for_function("() => [...document.images].every((image) => image.complete)")
        await page.wait_for_timeout(1200)  # speed and elapsed time need a moment to appear
        image = await page.screenshot()
    Image.open(BytesIO(image)).convert("RGB").save(path, "WEBP", quality=QUALITY, method=6)
    return path


async def main(names: list[str]) -> None:
    executable = find_chromium()
    if executable is None:
        sys.exit("there is no Chromium")
    FOLDER.mkdir(parents=True, exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        for name in names or STATES:
            for look in (*LOOKS, *([TABLET] if name in ("panel", "five-pictures") else [])):
                path = await shoot(browser, name, look)
                print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
        await browser.close()
    print(f"together {sum(path.stat().st_size for path in FOLDER.iterdir()) / 1e6:.2f} MB")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
