"""The chat page in a real Chromium: its first load, also on slow connections, and the longest task of its scripts while a user reads a long
session, types in it and gets an answer.

The session has 200 turns with 40 images, and answers with headings, lists, tables and code. The tasks of the main thread come from
Chromium's own trace: a task counts if scripts run in it, including the style, layout and paint that it causes. Tasks are measured in CPU
time, not wall-clock time, so that other programs on the same cores do not count.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.children import child
from benchmarks.photo import encoded, photo
from benchmarks.report import Figure, Report
from tests.browsers import CHROMIUM_FLAGS, find_chromium

TURNS, EVERY = 200, 5
"""There is an image every this many turns: 40 in all."""
QUICK_TURNS = 20
FIRST_PAINT_MS = 1000
TASK_MS = 50
"""Goals. 50 ms is where browsers begin to call a task long."""
SLOW_MS = 2000
"""Goals on slow connections: something is readable on the slower one, and a question can be sent on the faster one."""
LINES = (("400 kbit/s and 400 ms", 400, 400, "readable"), ("1.6 Mbit/s and 150 ms", 1600, 150, "usable"))
"""Slow connections: name, kbit/s in both directions, ms from each request to the first byte of its response, and the measured goal."""
MOMENTS = """
window.usable = null;
new MutationObserver(() => {
  if (window.usable === null && document.querySelector('#words') && document.querySelector('.running')) window.usable = performance.now();
}).observe(document, { childList: true, subtree: true });
"""
"""A question can be sent when the page has its text box and knows the model that will answer."""
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
REQUESTS = "1 + performance.getEntriesByType('resource').length"
WORDS, WORD_SECONDS = 150, 0.01
TRANSFERRED = """
['navigation', 'resource'].flatMap((type) => performance.getEntriesByType(type)).reduce((sum, entry) => sum + entry.transferSize, 0)
"""
CATEGORIES = ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline", "v8"]
TASKS = {"RunTask", "ThreadControllerImpl::RunTask"}
SCRIPTS = {"FunctionCall", "EvaluateScript", "v8.evaluateModule", "RunMicrotasks", "FireAnimationFrame", "TimerFire"}
TYPED = "What is the difference between the second picture and the one before it, and which of them was taken later? "
ANSWER = """The picture shows a **landscape** under a wide sky, much like picture {number} before it.

### What is in it

1. a *horizon* that is slightly tilted
2. several shapes with hard edges:
   - one that is round
   - one with `four` corners
3. texture in the foreground

| thing | colour | where | size |
|---|---|---|---:|
| sky | blue | top | {number} % |
| ground | brown | bottom | 40 % |
| shape | red | left | 7 % |

```python
for thing in picture.things({number}):
    print(thing.name, thing.colour)
```

> It was probably taken in the afternoon, as the light comes from the side and the shadows are long.
"""


def run(*, quick: bool) -> Report:
    report = Report("page", f"the chat page in Chromium, with a session of {TURNS} turns and {TURNS // EVERY} pictures", quick)
    chromium = find_chromium()
    if chromium is None:
        report.notes.append("There is no Chromium: nothing was measured.")
        return report
    with child("paced_ollama", str(WORDS), str(WORD_SECONDS)) as engine:
        settings = {"engine": "ollama", "ollama_host": engine.hello["url"], "image_workers": 1}
        with child("gateway_process", json.dumps(settings)) as gateway, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
            report.notes.append(f"Chromium {browser.version}, headless, 1280x860.")
            _first_paint(report, browser, gateway.hello["url"], rounds=2 if quick else 15)
            for line in LINES:
                _slow_visit(report, browser, gateway.hello["url"], *line, rounds=1 if quick else 5)
            _long_session(report, browser, gateway.hello["url"], QUICK_TURNS if quick else TURNS, rounds=1 if quick else 5)
            browser.close()
    return report


LOADED = """() =>
['readyz', 'models', 'options', 'sessions', 'setup'].every((path) => performance.getEntriesByName(new URL(path, location).href).length)
"""
"""Whether the page has all the data that it requests at first. The page itself never becomes idle: it keeps listening for news.

It is a function, because the page's content security policy forbids `eval`, which an expression would need.
"""


@contextmanager
def _page(browser: Browser) -> Iterator[Page]:
    """Open the page as a first-time visitor, with nothing cached."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, locale="en-US")
    yield context.new_page()
    context.close()


def _first_paint(report: Report, browser: Browser, url: str, rounds: int) -> None:
    painted, sizes, requests = [], [], []
    for _ in range(rounds):
        with _page(browser) as page:
            page.goto(url)
            page.wait_for_function(LOADED)
            painted.append(page.evaluate(PAINTED))
            sizes.append(page.evaluate(TRANSFERRED))
            requests.append(page.evaluate(REQUESTS))
    report.figures.append(Figure("first visit: first paint", "ms", tuple(painted), FIRST_PAINT_MS))
    report.figures.append(Figure("first visit: transferred", "kB", tuple(size / 1000 for size in sizes), 400))
    report.figures.append(Figure("first visit: requests", "", tuple(requests)))


def _slow_visit(report: Report, browser: Browser, url: str, name: str, kbits: int, latency: int, goal: str, *, rounds: int) -> None:
    times: dict[str, list[float]] = {"readable": [], "usable": []}
    for _ in range(rounds):
        with _page(browser) as page:
            page.add_init_script(MOMENTS)
            throughput = kbits * 1000 / 8
            conditions = {"offline": False, "latency": latency, "downloadThroughput": throughput, "uploadThroughput": throughput}
            page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", conditions)
            page.goto(url, wait_until="commit", timeout=120_000)
            page.wait_for_function("() => window.usable !== null", timeout=120_000)
            times["readable"].append(page.evaluate(PAINTED))
            times["usable"].append(page.evaluate("window.usable"))
    for what, values in times.items():
        report.figures.append(Figure(f"first visit at {name}: {what}", "ms", tuple(values), SLOW_MS if what == goal else None))


def _long_session(report: Report, browser: Browser, url: str, turns: int, *, rounds: int) -> None:
    longest: dict[str, list[float]] = {"opened": [], "scrolled": [], "typed in": [], "answered": []}
    for _ in range(rounds):
        address = f"{url}/#session={_session(url, turns)}"
        with _page(browser) as page:

            def traced(what: str, page: Page = page) -> Any:
                return _traced(browser, page, longest[what])

            with traced("opened"):
                page.goto(address)
                page.wait_for_function("(turns) => document.querySelectorAll('.turn').length === turns", arg=turns)
            page.mouse.move(640, 400)
            with traced("scrolled"):
                steps = turns * 2 // 5
                for step in range(steps):
                    page.mouse.wheel(0, -2500 if step < steps * 3 // 4 else 4000)  # all the way up, then partly down again
                    page.wait_for_timeout(30)
            page.locator("#words").focus()
            with traced("typed in"):
                page.keyboard.type(TYPED[:turns], delay=20)
            with traced("answered"):
                page.keyboard.press("Enter")
                page.locator(".turn").nth(turns).wait_for()
                page.locator(".send:not(.stop)").wait_for()
    for what, values in longest.items():
        goal = None if what == "opened" else TASK_MS
        report.figures.append(Figure(f"session is {what}: longest task", "ms", tuple(values), goal))


@contextmanager
def _traced(browser: Browser, page: Page, longest: list[float]) -> Iterator[None]:
    browser.start_tracing(page=page, categories=CATEGORIES)
    yield
    longest.append(_longest_task_ms(json.loads(browser.stop_tracing())["traceEvents"]))


def _longest_task_ms(events: list[dict[str, Any]]) -> float:
    """Return the CPU time of the longest task with scripts on the main threads of pages."""
    main = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name" and e["args"]["name"] == "CrRendererMain"}
    whole = [e for e in events if e["ph"] == "X" and (e["pid"], e["tid"]) in main]
    began = [(e["pid"], e["tid"], e["ts"]) for e in whole if e["name"] in SCRIPTS]
    longest = 0.0
    for task in (e for e in whole if e["name"] in TASKS):
        thread, start, end = (task["pid"], task["tid"]), task["ts"], task["ts"] + task["dur"]
        took = task.get("tdur", task["dur"]) / 1000
        if took > longest and any((pid, tid) == thread and start <= ts <= end for pid, tid, ts in began):
            longest = took
    return longest


def _session(url: str, count: int) -> str:
    """Create a session with all its turns and images. Returns its id."""
    whole = photo((1600, 1200))
    files = []
    for number in range(count // EVERY):
        left, top = number * 14, number * 10
        files.append(encoded(whole.crop((left, top, left + 1024, top + 768)), "JPEG"))
    names = [hashlib.sha256(data).hexdigest() for data in files]
    turns = []
    for number in range(count):
        question: dict[str, Any] = {"text": f"What is in this picture, and how does it differ from number {number}?"}
        shown = [{"image": names[number // EVERY]}] if number % EVERY == 0 else []
        turns.append({"id": number + 1, "after": number or None, "parts": [*shown, question], "answer": ANSWER.format(number=number)})
    images = {name: {"data": base64.b64encode(data).decode()} for name, data in zip(names, files, strict=True)}
    document = {"format": "llava-gateway-session", "version": 1, "session": {"title": "A long one", "turns": turns}, "images": images}
    taken = httpx2.post(f"{url}/sessions/import", json=document, timeout=60, trust_env=False)
    taken.raise_for_status()
    return str(taken.json()["id"])
