"""Pictures get in by every way, and each says what became of it."""

from __future__ import annotations

import asyncio
import base64
import io
import re

import pytest
from PIL import Image
from playwright.async_api import FilePayload, Route, expect

from llava_gateway.engines.base import ModelInfo
from llava_gateway.error_sentences import hint_of, message_of
from llava_gateway.errors import ImageParseError
from llava_gateway.images.facts import VisionFacts
from llava_gateway.notes import note
from llava_gateway.settings import VisionOverride
from tests import sample_images
from tests.odd_images import odd
from tests.page.visit import Scripted, Visit, Visitor, file
from tests.scripted_engine import ScriptedEngine
from tests.serving import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

RED_CIRCLE = file(sample_images.encoded(sample_images.shape("circle", "red", size=(320, 240))), "circle.png")
BLUE_SQUARE = file(sample_images.encoded(sample_images.shape("square", "blue", size=(320, 240))), "square.png")


def circles(count: int) -> list[FilePayload]:
    """Return different pictures, called 0.png, 1.png, ..."""
    return [file(sample_images.encoded(sample_images.shape("circle", "red", size=(160, 120 + n))), f"{n}.png") for n in range(count)]


async def expect_red_circle(visitor: Visitor) -> None:
    await visitor.prepared()
    await visitor.ask("What is in this image?")
    await expect(visitor.answer).to_contain_text("red")
    await expect(visitor.answer).to_contain_text("circle")


async def test_a_picked_picture_is_seen_and_remembered(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(RED_CIRCLE)
    await expect(visitor.chips).to_contain_text("320 × 240 · 64 tokens")
    await expect_red_circle(visitor)
    await expect(visitor.chips).to_have_count(0)
    await visitor.ask("What color is the background?")
    await expect(visitor.answer).to_contain_text("white")
    assert await visitor.turns.last.locator("img").count() == 0


async def test_a_dropped_picture_is_seen(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.drop(RED_CIRCLE)
    await expect_red_circle(visitor)


async def test_the_page_shows_where_pictures_can_be_dropped(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.page.dispatch_event("h1", "dragenter")
    await expect(visitor.page.get_by_text("Drop pictures here")).to_be_visible()
    await visitor.page.dispatch_event("h1", "dragleave")
    await expect(visitor.page.get_by_text("Drop pictures here")).to_have_count(0)


async def test_a_pasted_picture_is_seen(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.paste(RED_CIRCLE)
    await expect_red_circle(visitor)


async def test_pictures_keep_their_order(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await visitor.prepared(2)
    await visitor.ask("Describe these images.")
    await expect(visitor.answer).to_contain_text("Picture 1: A red circle")
    await expect(visitor.answer).to_contain_text("Picture 2: A blue square")
    await expect(visitor.turns.locator(".badge")).to_have_text(["1", "2"])


async def test_a_picture_alone_can_be_sent(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url, locale="zh-CN")
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("")
    await expect(visitor.turns.last).to_contain_text("描述这张图片")
    await expect(visitor.answer).to_contain_text("红色圆形")


async def test_enter_while_a_picture_is_on_its_way_sends_when_it_is_prepared(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    pressed = asyncio.Event()

    async def late(route: Route) -> None:
        await pressed.wait()
        await route.continue_()

    await visitor.page.route("**/images", late)
    await visitor.pick(RED_CIRCLE)
    await visitor.words.fill("What is in this image?")
    await visitor.words.press("Enter")
    await expect(visitor.page.locator(".line-note")).to_have_text("Will be sent as soon as the picture is ready")
    pressed.set()
    await expect(visitor.answer).to_contain_text("red circle")


async def test_what_was_changed_is_said(visit: Visit, demo_url: str) -> None:
    sideways = sample_images.shape("circle", "red", size=(320, 240))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    sideways.save(data, "TIFF")
    rotated = io.BytesIO()
    sideways.save(rotated, "JPEG", exif=exif)
    visitor = await visit(demo_url)
    await visitor.pick(
        file(data.getvalue(), "scan.tif", "image/tiff"),
        file(odd("heic").data, "phone.heic", "image/heic"),
        file(rotated.getvalue(), "phone.jpg", "image/jpeg"),
    )
    await visitor.prepared(3)
    await expect(visitor.chips).to_contain_text(
        [
            note("kept_as", original="TIFF", format="PNG").text,
            note("kept_as", original="HEIC", format="JPEG").text,
            note("rotated", degrees=90).text,
        ]
    )
    await expect(visitor.chips.last).to_contain_text("240 × 320")
    await visitor.page.get_by_role("button", name="中文").click()
    await expect(visitor.chips).to_contain_text(["TIFF 转为 PNG。", "HEIC 转为 JPEG。", "旋转 90 度。"])


async def test_a_refused_file_says_why_and_what_to_do(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    visitor.refused = {415, 422}
    noise = sample_images.encoded(Image.effect_noise((200, 200), 90).convert("RGB"))
    await visitor.pick(
        file(b"\xff\x0a\xfa\x1f", "photo.jxl", "image/jxl"),
        file(noise[: len(noise) // 2], "cut.png"),
        file(b"", "empty.png"),
        RED_CIRCLE,
    )
    await visitor.prepared()
    refused = visitor.page.locator(".chip[data-state=refused]")
    await expect(refused).to_have_count(3)
    await expect(refused.nth(0)).to_contain_text(message_of("file_jpeg_xl", {}))
    await expect(refused.nth(0)).to_contain_text(hint_of("file_jpeg_xl", {}))
    await expect(refused.nth(1)).to_contain_text(ImageParseError().hint)
    await expect(refused.nth(2)).to_contain_text("The file is empty.")
    # The good one can be asked about; the refused ones stay with their reasons until they are removed.
    await visitor.ask("What is in this image?")
    await expect(visitor.answer).to_contain_text("red circle")
    await expect(visitor.chips).to_have_count(3)
    await visitor.page.get_by_role("button", name="Remove photo.jxl").click()
    await expect(visitor.chips).to_have_count(2)


async def test_the_same_picture_twice_is_one(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.paste(file(RED_CIRCLE["buffer"], "again.png"))
    await expect(visitor.page.get_by_text("again.png is already attached.")).to_be_visible()
    same = io.BytesIO()
    Image.open(io.BytesIO(RED_CIRCLE["buffer"])).save(same, "BMP")
    await visitor.paste(file(same.getvalue(), "other.bmp", "image/bmp"))
    await expect(visitor.page.get_by_text("other.bmp is already attached.")).to_be_visible()
    await visitor.prepared(1)
    assert len(await visitor.ask_and_read("What is it?")) == 1
    # With the next question it may come again.
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared(1)


async def test_a_long_picture_can_be_read_in_parts(visit: Visit, scripted: Scripted) -> None:
    engine = ScriptedEngine(model_names=())
    engine.installed = (ModelInfo("eye", "ollama", True, VisionFacts("mlp", 336, 14)),)
    engine.context = 8192
    visitor = await visit((await scripted(engine)).url)
    page = visitor.page
    tall = file(sample_images.encoded(sample_images.shape("circle", "red", size=(300, 2500))), "page.png")
    await visitor.pick(tall)
    await visitor.prepared()
    await expect(visitor.chips).to_contain_text(re.compile(r"300 × 2500 pixels is so long that text less than about \d+ pixels"))
    # Asked as it is, the answer says so, and offers the same.
    await visitor.ask("What does it say?")
    assert [len(rendition.pieces) for rendition in engine.requests[-1].shown] == [1]
    await visitor.turns.last.get_by_role("button", name="Read it in parts").click()
    await until(lambda: len(engine.requests) == 2)
    assert engine.requests[-1].shown[0].labels[0].startswith("1/")
    # And before it is asked.
    await page.get_by_role("button", name="New chat").first.click()
    await visitor.pick(tall)
    await visitor.prepared()
    await visitor.chips.get_by_role("button", name="Read it in parts").click()
    await expect(visitor.chips).to_contain_text("high detail")
    await expect(visitor.chips.get_by_role("button", name="Read it in parts")).to_have_count(0)
    await visitor.ask("What does it say?")
    assert len(engine.requests[-1].shown[0].labels) > 1


async def test_a_part_of_a_long_picture_is_not_read_in_parts(visit: Visit, scripted: Scripted) -> None:
    """Beside a long picture as a whole, one of which a part is shown keeps its detail."""
    engine = ScriptedEngine(model_names=())
    engine.installed = (ModelInfo("eye", "ollama", True, VisionFacts("mlp", 336, 14)),)
    engine.context = 16384
    visitor = await visit((await scripted(engine)).url)
    tall = [file(sample_images.encoded(sample_images.shape("circle", "red", size=(300, side))), f"{side}.png") for side in (2500, 2600)]
    await visitor.pick(*tall)
    await visitor.prepared(2)
    await visitor.chips.first.get_by_role("button", name="More actions").click()
    await visitor.page.get_by_role("menuitem", name="Ask about a part").click()
    await visitor.page.get_by_role("button", name="Ask about this part").click()
    await expect(visitor.chips.first).to_contain_text("part,")
    await expect(visitor.chips.first.get_by_role("button", name="Read it in parts")).to_have_count(0)
    assert [image.get("detail") for image in await visitor.ask_and_read("What does it say?")] == [None, None]
    async with visitor.page.expect_request("**/turns") as asking:
        await visitor.turns.last.get_by_role("button", name="Read it in parts").click()
    body = (await asking.value).post_data_json
    assert body
    assert [image.get("detail") for image in body["images"]] == [None, "high"]


async def test_what_is_no_file_is_not_dropped_in_silence(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.drop_address("https://example.org/cat.jpg")
    await expect(visitor.chips).to_contain_text("This is the address of a picture, not the picture.")


async def test_too_many_pictures_are_refused_one_by_one(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await expect(visitor.page.locator(".model-name").first).to_be_visible()
    await visitor.pick(*circles(9))
    await visitor.prepared(8)
    await expect(visitor.page.locator(".chip[data-state=refused]")).to_contain_text("A question can have at most 8 pictures.")


async def test_what_was_too_many_is_refused_once_the_limit_is_known(visit: Visit, demo_url: str) -> None:
    known = asyncio.Event()
    visitor = await visit(demo_url)
    visitor.refused = {422}  # the tokens of nine pictures may be counted before the limit is known

    async def late(route: Route) -> None:
        await known.wait()
        await route.continue_()

    await visitor.page.route("**/options", late)
    await visitor.page.reload()
    await visitor.pick(*circles(9))
    await visitor.prepared(9)
    known.set()
    await visitor.prepared(8)
    await expect(visitor.page.locator(".chip[data-state=refused]")).to_contain_text("A question can have at most 8 pictures.")


async def test_those_that_were_too_many_are_seen_and_take_the_room_that_they_find(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await expect(visitor.page.locator(".model-name").first).to_be_visible()
    await visitor.pick(*circles(11))
    await visitor.prepared(8)
    refused = visitor.page.locator(".chip[data-state=refused]")
    await expect(refused).to_have_count(3)
    await expect(refused.last.locator(".chip-refused")).to_be_in_viewport(ratio=1)
    await visitor.page.get_by_role("button", name="Remove 0.png").click()
    await expect(refused).to_have_count(2)
    await visitor.prepared(8)
    assert len(await visitor.ask_and_read("Describe these images.")) == 8
    await expect(refused).to_have_count(0)
    await visitor.prepared(2)
    await expect(visitor.chips).to_contain_text(["9.png", "10.png"])
    assert len(await visitor.ask_and_read("And these?")) == 2


async def test_the_panel_shows_what_the_model_gets(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.ask("What is in this image?")
    await visitor.page.get_by_role("button", name="Look at picture 1").click()
    panel = visitor.page.get_by_role("complementary", name="Picture")
    await expect(panel).to_contain_text("circle.png")
    await expect(panel).to_contain_text("112 × 112 · PNG · 64 tokens")
    await panel.get_by_role("button", name="What the model sees").click()
    shown = panel.locator("img")
    await expect(shown).to_have_js_property("naturalWidth", 672)  # each of the 112 pixels six times as wide
    await expect(shown).to_have_js_property("naturalHeight", 672)
    await visitor.page.keyboard.press("Escape")
    await expect(panel).to_have_count(0)


async def test_a_file_name_is_only_text(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    name = "<img src=x onerror=alert(1)>.png"
    await visitor.pick(file(RED_CIRCLE["buffer"], name))
    await visitor.prepared()
    await expect(visitor.chips.locator("bdi")).to_have_text(name)


async def test_the_ways_in_are_those_of_the_device(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.page.get_by_role("button", name="Add pictures").click()
    await expect(visitor.page.get_by_role("menuitem")).to_have_text(["Choose files", "Capture the screen"])
    await expect(visitor.page.get_by_text("You can also drop or paste")).to_be_visible()
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.page.get_by_role("menuitem")).to_have_count(0)
    await expect(visitor.page.get_by_role("button", name="Add pictures")).to_be_focused()
    phone = await visit(demo_url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    await phone.page.get_by_role("button", name="Add pictures").click()
    await expect(phone.page.get_by_role("menuitem")).to_have_text(["Choose files", "Take a photo"])
    await expect(phone.page.get_by_text("You can also drop or paste")).to_have_count(0)
    async with phone.page.expect_file_chooser() as chooser:
        await phone.page.get_by_role("menuitem", name="Take a photo").click()
    assert await (await chooser.value).element.get_attribute("capture") == "environment"
    await (await chooser.value).set_files([RED_CIRCLE])
    await phone.prepared()


# A headless browser has no screen; the stream that comes instead is a real one.
SCREEN = """(fault) => {
  navigator.mediaDevices.getDisplayMedia = async () => {
    if (fault) throw new DOMException('', fault);
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 300;
    const on = canvas.getContext('2d');
    on.fillStyle = '#fafafa';
    on.fillRect(0, 0, 300, 300);
    on.fillStyle = '#d62728';
    on.arc(150, 150, 90, 0, 7);
    on.fill();
    window.tracks = canvas.captureStream(30).getTracks();
    return new MediaStream(window.tracks);
  };
}"""


async def test_one_picture_of_the_screen_is_taken(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    for fault, chips in (("NotAllowedError", []), ("NotReadableError", ["could not be captured"]), (None, ["could not", "300 × 300"])):
        await visitor.page.evaluate(SCREEN, fault)
        await visitor.page.get_by_role("button", name="Add pictures").click()
        await visitor.page.get_by_role("menuitem", name="Capture the screen").click()
        await expect(visitor.chips).to_contain_text(chips)
    assert await visitor.page.evaluate("window.tracks.map((track) => track.readyState)") == ["ended"]
    await expect_red_circle(visitor)


async def test_a_picture_written_out_as_an_address_is_taken(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.drop_address(f"data:image/png;base64,{base64.b64encode(RED_CIRCLE['buffer']).decode()}")
    await visitor.prepared()
    await expect(visitor.chips).to_contain_text("Pasted picture")


async def test_an_address_with_no_picture_in_it_is_refused_in_words(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.drop_address("data:image/png;base64,A")
    await expect(visitor.chips).to_contain_text("This is text, not a picture.")


async def test_pictures_are_put_in_order_by_dragging_by_keys_and_from_the_menu(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    page = visitor.page
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await visitor.prepared(2)
    names = page.locator(".chip-name")
    first, second = [await page.locator(".thumb").nth(i).bounding_box() for i in range(2)]
    assert first
    assert second
    await page.mouse.move(second["x"] + 20, second["y"] + 20)
    await page.mouse.down()
    await page.mouse.move(first["x"] + 30, first["y"] + 30, steps=4)
    await page.mouse.up()
    await expect(names).to_have_text(["square.png", "circle.png"])
    await expect(page.locator(".panel")).to_have_count(0)
    await page.get_by_role("button", name="Look at picture 1").press("Alt+ArrowRight")
    await expect(names).to_have_text(["circle.png", "square.png"])
    await expect(page.get_by_role("button", name="Look at picture 2")).to_be_focused()
    await expect(page.locator("p[role=status][aria-live]")).to_have_text("square.png is now picture 2 of 2")
    await page.get_by_role("button", name="More actions for square.png").click()
    await expect(page.get_by_role("menuitem", name="Move later")).to_be_disabled()
    await page.get_by_role("menuitem", name="Move earlier").click()
    await expect(names).to_have_text(["square.png", "circle.png"])
    await visitor.ask("Describe these images.")
    await expect(visitor.answer).to_contain_text("Picture 1: A blue square")


async def test_a_picture_is_turned_from_what_it_was_at_first(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    lying = sample_images.words("F7", size=(320, 240)).transpose(Image.Transpose.ROTATE_90)
    await visitor.pick(file(sample_images.encoded(lying), "lying.png"))
    await visitor.prepared()
    more = visitor.page.get_by_role("button", name="More actions for lying.png")
    for turn, size, said in (
        ("Rotate right", "320 × 240", note("rotated_by_hand", degrees=90).text),
        ("Rotate right", "240 × 320", note("rotated_by_hand", degrees=180).text),
        ("Rotate left", "320 × 240", note("rotated_by_hand", degrees=90).text),
    ):
        await more.click()
        await visitor.page.get_by_role("menuitem", name=turn).click()
        await expect(visitor.chips).to_contain_text(size)
        await expect(visitor.chips.locator(".chip-changes")).to_have_text(said)
    asked = [url for url in visitor.requests if "/rotate" in url]
    assert len({url.partition("/rotate")[0] for url in asked}) == 1
    await visitor.ask("What does it say?")
    await expect(visitor.answer).to_contain_text("F7")


async def test_a_picture_that_could_not_be_turned_stays_as_it_was(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine())
    visitor = await visit(served.url)
    visitor.offline = True
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    more = visitor.page.get_by_role("button", name="More actions for circle.png")
    await visitor.page.route("**/rotate*", lambda route: route.abort(), times=1)
    await more.click()
    await visitor.page.get_by_role("menuitem", name="Rotate right").click()
    await expect(visitor.chips.get_by_role("alert")).to_contain_text("The connection to the gateway was lost.")
    await expect(visitor.chips).to_contain_text("320 × 240")
    await expect(visitor.page.locator(".send")).to_be_enabled()
    # The next attempt turns it by as much as the first would have.
    await more.click()
    await visitor.page.get_by_role("menuitem", name="Rotate right").click()
    await expect(visitor.chips.locator(".chip-changes")).to_have_text(note("rotated_by_hand", degrees=90).text)
    await expect(visitor.chips.get_by_role("alert")).to_have_count(0)
    assert len(await visitor.ask_and_read("What is it?")) == 1


async def test_the_previews_of_files_are_let_go(visit: Visit, scripted: Scripted) -> None:
    visitor = await visit((await scripted(ScriptedEngine())).url)
    visitor.refused = {415}
    await visitor.page.evaluate(
        """() => {
            const { createObjectURL, revokeObjectURL } = URL;
            window.previews = new Set();
            URL.createObjectURL = (file) => {
                const made = createObjectURL.call(URL, file);
                previews.add(made);
                return made;
            };
            URL.revokeObjectURL = (made) => {
                previews.delete(made);
                revokeObjectURL.call(URL, made);
            };
        }"""
    )
    pressed = asyncio.Event()

    async def late(route: Route) -> None:
        await pressed.wait()
        await route.continue_()

    await visitor.page.route("**/images", late)
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE, file(b"none", "broken.png"))
    await expect(visitor.chips).to_have_count(3)
    assert await visitor.page.evaluate("previews.size") == 3
    await visitor.chips.first.get_by_role("button", name="Remove").click()
    pressed.set()
    await visitor.prepared()
    await expect(visitor.page.locator(".chip[data-state=refused]")).to_have_count(1)
    assert await visitor.page.evaluate("previews.size") == 0
    await visitor.page.unroute_all(behavior="ignoreErrors")


async def test_detail_is_wished_for_picture_by_picture(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    large = file(sample_images.encoded(sample_images.shape("circle", "red", size=(800, 600))), "large.png")
    await visitor.pick(large, BLUE_SQUARE)
    await visitor.prepared(2)
    await visitor.page.get_by_role("button", name="More actions for large.png").click()
    await expect(visitor.page.get_by_role("menuitemradio", name="Auto")).to_have_attribute("aria-checked", "true")
    await visitor.page.get_by_role("menuitemradio", name="High").click()
    await expect(visitor.chips.first).to_contain_text("320 tokens · high detail")
    await expect(visitor.chips.last).to_contain_text("64 tokens")
    # What was read ahead is read again with it, and the question says the same.
    await expect(visitor.chips.first).to_contain_text("already read")
    images = await visitor.ask_and_read("Describe these images.")
    assert [image.get("detail") for image in images] == ["high", None]
    session = visitor.page.url.rpartition("=")[2]
    turn = (await (await visitor.page.request.get(f"{demo_url}/sessions/{session}")).json())["turns"][0]
    assert [image["sent"]["tokens"] for image in turn["images"]] == [320, 64]
    assert turn["usage"]["cached_tokens"] >= 384


async def test_a_picture_is_kept_in_the_context_once_it_is_in_the_chat(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.pick(RED_CIRCLE)
    await visitor.prepared()
    await visitor.page.get_by_role("button", name="More actions for circle.png").click()
    await visitor.page.get_by_role("menuitemcheckbox", name="Pin to the context").click()
    await expect(visitor.chips).to_contain_text("pinned")
    async with visitor.page.expect_response(lambda response: response.request.method == "PATCH") as pinned:
        await visitor.ask("What is in this image?")
    assert [kept["pinned"] for kept in (await (await pinned.value).json())["images"].values()] == [True]


async def test_an_upload_that_broke_off_is_tried_again(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    visitor.offline = True
    await visitor.page.route("**/images", lambda route: route.abort())
    await visitor.pick(RED_CIRCLE)
    await expect(visitor.chips).to_contain_text("The connection to the gateway was lost.")
    await visitor.page.unroute("**/images")
    await visitor.page.get_by_role("button", name="Try again").click()
    await visitor.prepared()


async def test_a_changed_question_keeps_what_was_wished_for_its_pictures(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    page = visitor.page
    await visitor.pick(BLUE_SQUARE)
    await visitor.prepared()
    await visitor.ask("What is in this image?")
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await visitor.prepared(2)
    await expect(visitor.chips.locator(".badge")).to_have_text(["2", "3"])
    await page.get_by_role("button", name="More actions for circle.png").click()
    await page.get_by_role("menuitemradio", name="Low").click()
    await page.get_by_role("button", name="More actions for square.png").click()
    await page.get_by_role("menuitem", name="Ask about a part").click()
    await page.get_by_role("button", name="Ask about this part").click()
    before = await visitor.ask_and_read("Describe these images.")
    assert [image.get("detail") for image in before] == ["low", None]
    assert [image.get("region") for image in before] == [None, [0.25, 0.25, 0.5, 0.5]]
    await page.reload()
    await visitor.turns.last.hover()
    await visitor.turns.last.get_by_role("button", name="Edit the question").click()
    await visitor.prepared(2)
    await expect(visitor.chips.locator(".badge")).to_have_text(["2", "3"])
    await expect(visitor.chips.last).to_contain_text("part, 160 × 120")
    await page.locator(".chip .thumb").first.click()
    await expect(page.locator(".panel h2")).to_have_text("Picture 2 of 3")
    async with page.expect_request("**/turns") as asking:
        await visitor.words.press("Enter")
        await visitor.ended()
    body = (await asking.value).post_data_json
    assert body
    assert [image.get("region") for image in body["images"]] == [None, [0.25, 0.25, 0.5, 0.5]]
    assert body["images"][0]["detail"] == "low"


async def test_a_slow_upload_says_how_far_it_is(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    session = await visitor.context.new_cdp_session(visitor.page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 150_000}
    await session.send("Network.emulateNetworkConditions", slow)
    noise = Image.effect_noise((260, 260), 90)
    await visitor.pick(file(sample_images.encoded(noise.convert("RGB")), "noise.png"))
    await expect(visitor.chips).to_have_text(re.compile(r"Uploading: [1-9]\d?\s?%"))
    assert 0 < await visitor.chips.locator("progress").evaluate("(bar) => bar.value") <= 1
    await visitor.prepared()


async def test_pictures_can_be_pasted_while_a_dialog_is_open_and_words_be_dragged(visit: Visit, demo_url: str) -> None:
    visitor = await visit(demo_url)
    await visitor.page.get_by_role("button", name="Options").click()
    await expect(visitor.page.get_by_role("dialog")).to_be_visible()
    await visitor.paste(RED_CIRCLE)
    await visitor.drop(BLUE_SQUARE, at="dialog")
    await visitor.page.keyboard.press("Escape")
    await visitor.prepared(2)
    words = await visitor.page.evaluate_handle(
        "() => { const data = new DataTransfer(); data.setData('text/plain', 'words'); return data; }"
    )
    left = await visitor.page.evaluate(
        """(dataTransfer) => document.getElementById('words').dispatchEvent(
            new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }))""",
        words,
    )
    assert left is True, "the browser puts them in"
    await expect(visitor.chips).to_have_count(2)


async def test_pictures_that_went_on_one_sheet_are_one_picture_of_the_chat(visit: Visit, scripted: Scripted) -> None:
    served = await scripted(ScriptedEngine(), vision={"scripted": VisionOverride(max_images=1)})
    visitor = await visit(served.url)
    await visitor.pick(RED_CIRCLE, BLUE_SQUARE)
    await visitor.prepared(2)
    await visitor.ask("Describe these images.")
    await expect(visitor.turns.locator(".picture")).to_have_count(1)
    await expect(visitor.turns).to_contain_text("Placed 2 pictures on one sheet.")
    await visitor.page.reload()
    await expect(visitor.turns.locator(".picture")).to_have_count(1)
