"""The command line of llama-server over the llama.cpp server of the xllamacpp wheel: what `ollama serve` starts as its engine."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import xllamacpp

# Each flag that takes a value: where the value goes (a dotted path below CommonParams), and what it is read as.
VALUES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "--model": ("model.path", str),
    "--mmproj": ("mmproj.path", str),
    "--host": ("hostname", str),
    "--port": ("port", int),
    "--ctx-size": ("n_ctx", int),
    "--parallel": ("n_parallel", int),
    "--batch-size": ("n_batch", int),
    "--ubatch-size": ("n_ubatch", int),
    "--n-gpu-layers": ("n_gpu_layers", int),
    "--image-min-tokens": ("image_min_tokens", int),
    "--chat-template": ("chat_template", str),
    "--keep": ("n_keep", int),
    "--threads": ("cpuparams.n_threads", int),
}
SWITCHES: dict[str, tuple[str, bool]] = {
    "--no-mmproj-offload": ("mmproj_use_gpu", False),
    "--jinja": ("use_jinja", True),
    "--no-jinja": ("use_jinja", False),
    "--context-shift": ("ctx_shift", True),
    "--embedding": ("embedding", True),
    "--embeddings": ("embedding", True),
}
SHORT = {
    "-m": "--model",
    "-c": "--ctx-size",
    "-np": "--parallel",
    "-b": "--batch-size",
    "-ub": "--ubatch-size",
    "-ngl": "--n-gpu-layers",
    "-t": "--threads",
}
# What makes no difference on a CPU with one model.
IGNORED_VALUES = {
    "--log-verbosity",
    "--flash-attn",
    "--load-mode",
    "--cache-type-k",
    "--cache-type-v",
    "--split-mode",
    "--main-gpu",
    "--lora",
    "--fit-target",
}
IGNORED_SWITCHES = {"--no-webui", "--offline", "--no-log-prefix", "--no-log-timestamps", "--no-mmap"}


def parameters(arguments: Iterator[str]) -> Any:
    """Build CommonParams from llama-server's arguments. Prints unknown ones to stderr."""
    params = xllamacpp.CommonParams()
    for argument in arguments:
        flag = SHORT.get(argument, argument)
        if flag in VALUES:
            path, read = VALUES[flag]
            assign(params, path, read(next(arguments)))
        elif flag in SWITCHES:
            assign(params, *SWITCHES[flag])
        elif flag in IGNORED_VALUES:
            next(arguments)
        elif flag not in IGNORED_SWITCHES:
            print("ignored", argument, file=sys.stderr)
    return params


def assign(params: Any, path: str, value: object) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        params = getattr(params, parent)
    setattr(params, name, value)


def main() -> None:
    if "--version" in sys.argv:
        print("version:", xllamacpp.__version__.split(".")[-1])
        return
    server = xllamacpp.Server(parameters(iter(sys.argv[1:])))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print("listening", server.listening_address, flush=True)
    stop.wait()
    os._exit(0)  # the server's own end waits for requests that may never come back


if __name__ == "__main__":
    main()
