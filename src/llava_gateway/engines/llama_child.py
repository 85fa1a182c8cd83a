"""The child process of the embedded engine: the llama.cpp server of the xllamacpp wheel, told what to run on stdin.

`python -m llava_gateway.engines.llama_child` reads one line of JSON (the fields of `llama_process.LlamaCommand` and `api_key`), loads the
model, writes one line of JSON to stdout, {"address": "http://127.0.0.1:PORT"}, and serves until stdin ends: so it never outlives its
parent. The key comes on stdin because command lines can be read by everyone on the machine.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, TextIO


def main() -> None:
    answers = _keep_stdout()
    # Ctrl+C reaches every process of the terminal, and SIGTERM from a service manager every process of the service. When to stop is for the
    # parent to say: it may still be ending its streams.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    server = _serve(json.loads(sys.stdin.readline()))
    print(json.dumps({"address": server.listening_address}), file=answers, flush=True)
    # While the model loads, the wheel holds the interpreter's lock: a parent that dies meanwhile is noticed only here.
    while sys.stdin.readline():
        pass
    # The server's threads don't end by themselves, and there is nothing to save.
    os._exit(0)


def _keep_stdout() -> TextIO:
    """Our stdout for ourselves; whatever the engine prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _serve(command: dict[str, Any]) -> Any:
    """The running server. Raises RuntimeError when the model does not load."""
    import xllamacpp  # only here: the wheel is optional, and the parent must not load it

    params = xllamacpp.CommonParams()
    params.model.path = command["gguf"]
    if command["mmproj"]:
        params.mmproj.path = command["mmproj"]
    params.model_alias = [command["name"]]
    params.n_parallel = command["slots"]
    params.n_ctx = command["num_ctx"] * command["slots"]  # llama.cpp shares n_ctx out among the slots
    params.n_gpu_layers = command["num_gpu"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = command["threads"]
    # llama.cpp's own limit is 8 GiB, whatever the model: on a small machine it is never reached, and the process grows with every question.
    # 0 switches the cache off. The oldest conversations go first; one that is larger than the limit is not kept
    # (tools/server/server-task.cpp, `server_prompt_cache::alloc`).
    params.cache_ram_mib = command["prompt_cache"] // 2**20
    if command["embeddings"]:
        params.embedding = True
        params.n_batch = params.n_ubatch = command["num_ctx"]  # a text that is to become a vector is read in one piece
    params.warmup = False
    params.hostname = "127.0.0.1"
    params.port = 0
    params.api_keys = [command["api_key"]]
    params.cors_origins = ""  # the default lets every web page in
    params.ui = False
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
