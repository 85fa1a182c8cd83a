"""The child process of the embedded engine: runs the llama.cpp server of the xllamacpp wheel, as stdin says.

`python -m llava_gateway.engines.llama_child` reads one line of JSON (the fields of `llama_process.LlamaCommand` and `api_key`),
loads the model, writes one line of JSON to stdout, {"address": "http://127.0.0.1:PORT"}, and serves until stdin ends. So it never
outlives its parent. The key comes on stdin because every user of the machine can read command lines.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn, TextIO


def main() -> NoReturn:
    """Serve until stdin ends. Never returns or raises: the destructor of the server would wait for its threads, which don't end."""
    server = None  # the only reference, which lives until the process ends
    try:
        answers = _keep_stdout()
        # Ctrl+C reaches every process of the terminal, and SIGTERM from a service manager reaches every process of the service. The parent
        # decides when to stop, because it may still be ending its streams.
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, signal.SIG_IGN)
        server = _serve(json.loads(sys.stdin.readline()))
        print(json.dumps({"address": server.listening_address}), file=answers, flush=True)
        # While the model loads, the wheel holds the interpreter's lock. So a parent that dies meanwhile is noticed only here.
        while sys.stdin.readline():
            pass
    except BaseException:
        with suppress(OSError):  # the parent is gone
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _keep_stdout() -> TextIO:
    """Keep stdout for our own line, and redirect everything that the engine prints to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _serve(command: dict[str, Any]) -> Any:
    """Start the server and return it. Raises RuntimeError if the model does not load."""
    import xllamacpp  # only here: the wheel is optional, and the parent must not load it

    params = xllamacpp.CommonParams()
    params.model.path = command["gguf"]
    if command["mmproj"]:
        params.mmproj.path = command["mmproj"]
    params.model_alias = [command["name"]]
    params.n_parallel = command["slots"]
    params.n_ctx = command["num_ctx"] * command["slots"]  # llama.cpp divides n_ctx among the slots
    params.n_gpu_layers = command["num_gpu"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = command["threads"]
    # llama.cpp's own limit is 8 GiB for every model. A small machine never reaches it, so the process would grow with every question. 0
    # switches the cache off. The oldest conversations are dropped first, and one that is larger than the limit is not kept
    # (tools/server/server-task.cpp, `server_prompt_cache::alloc`).
    params.cache_ram_mib = command["prompt_cache"] // 2**20
    if command["embeddings"]:
        params.embedding = True
        params.n_batch = params.n_ubatch = command["num_ctx"]  # a text to embed is read in one piece
    params.warmup = False
    params.hostname = "127.0.0.1"
    params.port = 0
    params.api_keys = [command["api_key"]]
    params.cors_origins = ""  # the default allows every web page
    params.ui = False
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
