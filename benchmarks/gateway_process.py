"""The gateway in its own process, as `llava-gateway serve` runs it, with a report of its CPU time. Its argument: settings as JSON.

Commands: `cpu` returns user and system seconds of this process (image workers and engines have their own processes); `engine` returns
address, key and process id of the embedded engine's server, for direct questions; `held` returns what requests hold: slots and places in
queues, open files, tasks and bytes of bodies.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time

import psutil

from benchmarks.children import say, serve_commands
from llava_gateway.api.app import create_app
from llava_gateway.api.deps import bodies_in, gateway_in
from llava_gateway.api.server import build_server, prepare_process
from llava_gateway.cli.console import set_up_logging
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.gateway.files import raise_files_limit
from llava_gateway.settings import Settings


def main() -> None:
    set_up_logging()
    raise_files_limit()
    loops: list[asyncio.AbstractEventLoop] = []
    app = create_app(Settings(port=0, **json.loads(sys.argv[1])))

    def engine() -> dict[str, str | int]:
        embedded = gateway_in(app).pool.engine("embedded")
        assert isinstance(embedded, EmbeddedEngine)
        assert embedded._child is not None
        assert embedded._child.server is not None
        process = embedded._child.server.process
        return {"address": process.address, "api_key": process.api_key, "pid": process.pid}

    def held() -> dict[str, int]:
        slots = sum(queue.active + queue.waiting for queue in gateway_in(app).queues.values())
        files = psutil.Process().num_fds() if sys.platform != "win32" else 0
        return {"slots": slots, "files": files, "tasks": len(asyncio.all_tasks(loops[0])), "bodies": bodies_in(app).held}

    def listening(port: int) -> None:
        loops.append(asyncio.get_running_loop())
        say({"url": f"http://127.0.0.1:{port}", "pid": os.getpid()})

    serve_commands({"cpu": time.process_time, "engine": engine, "held": held}, lambda: os.kill(os.getpid(), signal.SIGTERM))
    prepare_process()
    build_server(gateway_in(app).settings, listening, app).run()


if __name__ == "__main__":
    main()
