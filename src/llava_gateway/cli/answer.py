"""Shows one answer while it comes: words on stdout, what happens meanwhile on stderr if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any, Self

from llava_gateway.cli.client import Fields, GatewayClient, JSONObject
from llava_gateway.cli.console import console, printable


def show_answer(client: GatewayClient, path: str, fields: Fields, *, words: bool = True) -> JSONObject:
    """The whole answer, after its words (with `words`) went to stdout one by one and ended with a line feed.

    Raises Failure, KeyboardInterrupt; leaving either way stops the answer.
    """
    last = "\n"
    try:
        with closing(client.ask(path, fields)) as events, _Status() as status:
            for name, data in events:
                if name == "done":
                    return data
                if name == "delta" and words:
                    status.stop()
                    last = _write(data["text"]) or last
                elif name != "delta":
                    status.show(_doing(name, data))
        raise AssertionError("client.ask ends with done or raises")
    finally:
        if last != "\n":
            _write("\n")


def _write(text: str) -> str:
    """The last character of what was written."""
    if sys.stdout.isatty():
        text = printable(text)
    sys.stdout.write(text)
    sys.stdout.flush()
    return text[-1:]


def _doing(event: str, data: JSONObject) -> str:
    """What the gateway is at, in words; "" for events that say nothing of it."""
    match event:
        case "queued":
            return f"Waiting: place {data['position']} in the queue"
        case "loading":
            last = f" (last time it took {data['last_load_ms'] / 1000:.0f} s)" if data["last_load_ms"] else ""
            return f"Loading {data['model']}{last}"
        case "progress":
            share = f" {100 * data['processed'] // data['total']} %" if data["total"] else ""
            return f"Reading{share}"
        case "reasoning":
            return "Thinking"
    return ""


class _Status:
    """One line on stderr that goes away with the first word; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._status: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._status = self._stack.enter_context(console(sys.stderr).status("Asking"))
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def show(self, text: str) -> None:
        if self._status is not None and text:
            self._status.update(text)

    def stop(self) -> None:
        self._stack.close()
        self._status = None


def details(answer: JSONObject) -> Iterator[str]:
    """Who answered, what was done to the images, what it cost: a line each."""
    yield f"{answer['model']} ({answer['engine']}), finish reason {answer['finish_reason']}"
    for number, image in enumerate(answer["images"], 1):
        sent = image["sent"]
        tokens = f", {sent['tokens']} tokens" if sent["tokens"] else ""
        changes = f". {' '.join(change['message'] for change in image['changes'])}" if image["changes"] else ""
        pieces = f"{sent['pieces']} pieces of " if sent["pieces"] > 1 else ""
        size = f"{image['width']}x{image['height']}, sent as {pieces}{sent['width']}x{sent['height']} {sent['format']}{tokens}"
        yield f"image {number}: {size}{changes}"
    usage, timings = answer["usage"], answer["timings"]
    yield f"tokens: {usage['prompt_tokens']} in ({usage['cached_tokens'] or 0} of them cached), {usage['completion_tokens']} out"
    if timings["first_token_ms"] is not None:
        yield f"first word after {timings['first_token_ms'] / 1000:.2f} s, all after {timings['total_ms'] / 1000:.2f} s"


def warnings(answer: JSONObject) -> Iterator[str]:
    """What the person should know, of the answer and of the conversation: a line each."""
    for message in dict.fromkeys(warning["message"] for warning in (*answer["warnings"], *answer["context"]["warnings"])):
        yield f"warning: {message}"
