"""Prints one answer while it arrives: the words on stdout, the progress on stderr if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from typing import Any, Self

from llava_gateway.cli.client import Fields, GatewayClient, JSONObject
from llava_gateway.cli.console import console, printable
from llava_gateway.cli.messages import warning_text


def show_answer(client: GatewayClient, path: str, fields: Fields, *, words: bool = True) -> JSONObject:
    """Ask, and show the answer as `show_events` does."""
    return show_events(client.ask(path, fields), words=words)


def show_events(answering: Generator[tuple[str, JSONObject]], *, words: bool = True) -> JSONObject:
    """Read the events of an answer, and return the whole answer. With `words`, first prints its words to stdout as they arrive, and a line
    feed at the end.

    Raises Failure, KeyboardInterrupt; both stop the answer.
    """
    last = "\n"
    try:
        with closing(answering) as events, _Status() as status:
            for name, data in events:
                if name == "done":
                    return data
                if name == "delta" and words:
                    status.stop()
                    last = _write(data["text"]) or last
                elif name != "delta":
                    status.show(_progress_text(name, data))
        raise AssertionError("client.ask ends with done or raises")
    finally:
        if last != "\n":
            _write("\n")


def _write(text: str) -> str:
    """Write the text, and return its last character."""
    if sys.stdout.isatty():
        text = printable(text)
    sys.stdout.write(text)
    sys.stdout.flush()
    return text[-1:]


def _progress_text(event: str, data: JSONObject) -> str:
    """Describe an event's progress in words; "" for events without progress."""
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
    """One status line on stderr that disappears at the first word; prints nothing if stderr is not a terminal."""

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
    """Yield lines about the answer: its model and engine, the changes to the images, the token counts and the times."""
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


def warnings(answer: JSONObject, longer: str = "--num-predict COUNT") -> Iterator[str]:
    """Yield the warnings about the answer and the conversation, one per line. `longer` is the flag or command that allows a longer
    answer.
    """
    all_warnings = (*answer["warnings"], *answer["context"]["warnings"])
    for message in dict.fromkeys(warning_text(warning) for warning in all_warnings):
        yield f"warning: {message}"
    if answer["finish_reason"] == "length" and not any(warning["code"] == "context_full" for warning in all_warnings):
        count = answer["usage"]["completion_tokens"]
        yield f"warning: The answer was cut off after {count} token{'' if count == 1 else 's'}: {longer} allows more."
