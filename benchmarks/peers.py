"""The gateway and LiteLLM's proxy side by side: one worker each, in front of the same stand-in for an OpenAI-compatible server. Beside
them a bare relay, the least that anything in Python can cost.

Both get the same question: eight words about an image of 336 pixels that both have seen before, as one JSON body.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import psutil

from benchmarks.children import Child, child
from benchmarks.client_process import MARGIN, steady
from benchmarks.litellm import NoLiteLLM, Proxy, litellm
from benchmarks.photo import encoded, photo
from benchmarks.questions import client
from benchmarks.report import Figure, Report, added, ratio
from benchmarks.stub_openai import PACED, PROMPT
from llava_gateway.api.documents import parse_json
from llava_gateway.images.base64 import decode_base64

SIDE = 336
WORDS = 8
PARALLEL = 10
EIGHTH = 1 / 8
CHUNK = 1.6
"""Goal: CPU of a chunk, as a multiple of the CPU that aiohttp alone needs to read it."""
BODY = 450_000
"""Bytes of base64."""
BODY_GOAL = 2.0
RELAY = "bare relay"
QUESTION = "What is in this picture?"


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    warm: int
    loads: int
    requests: int
    chunks: int


FULL = Size(rounds=200, warm=20, loads=5, requests=300, chunks=400)
QUICK = Size(rounds=3, warm=2, loads=1, requests=10, chunks=3 * MARGIN)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask: the address, the body, and the process whose CPU is measured (None: not measured)."""

    name: str
    url: str
    body: bytes
    process: psutil.Process | None = None

    def cpu(self) -> float:
        """Return the seconds of CPU so far, including child processes."""
        if self.process is None:
            return 0.0
        times = [process.cpu_times() for process in (self.process, *self.process.children(recursive=True))]
        return sum(one.user + one.system for one in times)


def run(*, quick: bool) -> Report:
    report = Report("peers", f"the gateway beside LiteLLM, a picture of {SIDE} px that is known", quick)
    size = QUICK if quick else FULL
    with ExitStack() as stack:
        stub = stack.enter_context(child("stub_openai"))
        url = stub.hello["url"]
        settings = {"engine": "openai", "openai_base_url": url, "openai_slots": 2 * PARALLEL, "image_workers": 1}
        gateway = stack.enter_context(child("gateway_process", json.dumps(settings)))
        try:
            proxy = stack.enter_context(litellm(url, (PROMPT, PACED)))
            report.notes.append(f"LiteLLM {proxy.version}, its proxy with one worker.")
        except NoLiteLLM as error:
            proxy = None
            report.notes.append(f"{error} Its rows are left out.")
        image = encoded(photo((SIDE, SIDE)), "PNG")
        report.notes.append(f"The picture is a PNG of {len(image) // 1000} kB.")
        relay = stack.enter_context(child("relay_process", url))
        asyncio.run(_requests(report, url, gateway, relay, proxy, image, size))
        aiohttp_alone = stack.enter_context(child("client_process", "aiohttp alone", f"{url}/chat/completions", str(size.chunks)))
        asyncio.run(_chunks(report, gateway, relay, proxy, aiohttp_alone, size))
        _bodies(report, size.rounds)
    return report


def _bodies(report: Report, rounds: int) -> None:
    """Measure parsing a JSON body with a base64 image, including the decoding, alternately with Python's own parser."""
    body = _our_body(random.Random(1).randbytes(BODY * 3 // 4))
    found: dict[str, list[float]] = {"json.loads": [], "read by us": [], "and decoded": []}
    for _ in range(rounds):
        _, alone = _timed(partial(json.loads, body))
        value, ours = _timed(partial(parse_json, body))
        _, decoding = _timed(partial(decode_base64, value["images"][0]))
        for name, took in zip(found, (alone, ours, ours + decoding), strict=True):
            found[name].append(took)
    report.figures += [Figure(f"CPU of a body of {BODY // 1000} kB: {name}", "us", tuple(values)) for name, values in found.items()]
    python, *others = found
    report.ratios += [ratio(f"body: {name} / json.loads", found[name], found[python], BODY_GOAL) for name in others]


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.thread_time()
    return work(), (time.thread_time() - began) * 1e6


async def _requests(report: Report, url: str, gateway: Child, relay: Child, proxy: Proxy | None, image: bytes, size: Size) -> None:
    direct = Way("direct", f"{url}/chat/completions", _openai_body(PROMPT, image, WORDS))
    ways = [direct, Way("gateway", f"{gateway.hello['url']}/ask", _our_body(image), psutil.Process(gateway.hello["pid"]))]
    ways.append(Way(RELAY, relay.hello["url"], direct.body, psutil.Process(relay.hello["pid"])))
    if proxy:
        ways.append(Way("LiteLLM", f"{proxy.url}/v1/chat/completions", direct.body, psutil.Process(proxy.pid)))
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    rates: dict[str, list[float]] = {way.name: [] for way in ways}
    cpu: dict[str, list[float]] = {way.name: [] for way in ways}
    async with client() as session:
        for _ in range(size.warm):
            for way in ways:
                await _ask(session, way)
        for _ in range(size.rounds):
            for way in ways:
                times[way.name].append(await _ask(session, way))
        for _ in range(size.loads):
            for way in ways:
                used, began = way.cpu(), time.perf_counter()
                await _load(session, way, size.requests)
                rates[way.name].append(size.requests / (time.perf_counter() - began))
                cpu[way.name].append((way.cpu() - used) / size.requests * 1000)
    peers = [way.name for way in ways[1:]]
    report.figures.append(Figure("time of a request: direct", "ms", tuple(times["direct"])))
    more = {name: added(f"time of a request: added by {name}", "ms", times[name], times["direct"]) for name in peers}
    report.figures += more.values()
    report.figures += [Figure(f"requests a second, {PARALLEL} at once: {way.name}", "1/s", tuple(rates[way.name])) for way in ways]
    report.figures += [Figure(f"CPU of a request: {name}", "ms", tuple(cpu[name])) for name in peers]
    if proxy:
        report.ratios += [
            ratio("added time: gateway / LiteLLM", more["gateway"].values, more["LiteLLM"].values, EIGHTH),
            ratio("time between requests under load: gateway / LiteLLM", rates["LiteLLM"], rates["gateway"], EIGHTH),
            ratio("CPU of a request: gateway / LiteLLM", cpu["gateway"], cpu["LiteLLM"], EIGHTH),
            ratio(f"added time: {RELAY} / LiteLLM", more[RELAY].values, more["LiteLLM"].values),
            ratio(f"time between requests under load: {RELAY} / LiteLLM", rates["LiteLLM"], rates[RELAY]),
            ratio(f"CPU of a request: {RELAY} / LiteLLM", cpu[RELAY], cpu["LiteLLM"]),
        ]


async def _chunks(report: Report, gateway: Child, relay: Child, proxy: Proxy | None, alone: Child, size: Size) -> None:
    """Read the same paced streams with all readers alternately."""
    ours = {"prompt": QUESTION, "model": PACED, "stream": True, "options": {"num_predict": size.chunks}}
    ways = [Way("gateway", f"{gateway.hello['url']}/ask", json.dumps(ours).encode(), psutil.Process(gateway.hello["pid"]))]
    theirs = {"model": PACED, "stream": True, "max_tokens": size.chunks, "messages": [{"role": "user", "content": QUESTION}]}
    ways.append(Way(RELAY, relay.hello["url"], json.dumps(theirs).encode(), psutil.Process(relay.hello["pid"])))
    if proxy:
        ways.append(Way("LiteLLM", f"{proxy.url}/v1/chat/completions", json.dumps(theirs).encode(), psutil.Process(proxy.pid)))
    found: dict[str, list[float]] = {"aiohttp alone": [], **{way.name: [] for way in ways}}
    async with client() as session:
        for _ in range(size.loads):
            found["aiohttp alone"].append(await asyncio.to_thread(alone.ask, "run"))
            for way in ways:
                found[way.name].append(await steady(partial(_stream, session, way), size.chunks, way.cpu))
    report.figures += [Figure(f"CPU of a chunk: {name}", "us", tuple(values)) for name, values in found.items()]
    report.ratios.append(ratio("CPU of a chunk: gateway / aiohttp alone", found["gateway"], found["aiohttp alone"], CHUNK))
    report.ratios.append(ratio(f"CPU of a chunk: {RELAY} / aiohttp alone", found[RELAY], found["aiohttp alone"]))
    if proxy:
        report.ratios.append(ratio("CPU of a chunk: gateway / LiteLLM", found["gateway"], found["LiteLLM"]))


async def _ask(session: aiohttp.ClientSession, way: Way) -> float:
    """Ask once. Returns milliseconds. Raises RuntimeError if there is no answer."""
    began = time.perf_counter()
    async with session.post(way.url, data=way.body, headers={"Content-Type": "application/json"}) as response:
        text = await response.read()
    took = time.perf_counter() - began
    if response.status != 200 or b"word word word" not in text:
        raise RuntimeError(f"{way.name} did not answer: {response.status} {text[:300]!r}")
    return took * 1000


async def _load(session: aiohttp.ClientSession, way: Way, requests: int) -> None:
    left = iter(range(requests))

    async def one_after_the_other() -> None:
        for _ in left:
            await _ask(session, way)

    await asyncio.gather(*(one_after_the_other() for _ in range(PARALLEL)))


async def _stream(session: aiohttp.ClientSession, way: Way, count: list[int]) -> None:
    async with session.post(way.url, data=way.body, headers={"Content-Type": "application/json"}) as response:
        async for data in response.content.iter_any():
            count[0] += data.count(b" word")


def _openai_body(model: str, image: bytes, words: int) -> bytes:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(image).decode()}}
    content = [picture, {"type": "text", "text": QUESTION}]
    return json.dumps({"model": model, "max_tokens": words, "messages": [{"role": "user", "content": content}]}).encode()


def _our_body(image: bytes) -> bytes:
    fields = {"prompt": QUESTION, "model": PROMPT, "images": [base64.b64encode(image).decode()], "options": {"num_predict": WORDS}}
    return json.dumps(fields).encode()
