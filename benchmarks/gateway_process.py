"""The gateway in a process of its own, as `llava-gateway serve` runs it, that also tells its CPU time. Its argument: settings as JSON.

Commands: `cpu`: user and system seconds of this process (image workers and engines are processes of their own);
`engine`: address, key and process id of the embedded engine's server, so that it can be asked directly too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from benchmarks.children import say, serve_commands
from llava_gateway.api.app import create_app
from llava_gateway.api.deps import gateway_in
from llava_gateway.api.server import build_server, prepare_process
from llava_gateway.cli.console import set_up_logging
from llava_gateway.engines.embedded import EmbeddedEngine
from llava_gateway.settings import Settings


def main() -> None:
    set_up_logging()
    app = create_app(Settings(port=0, **json.loads(sys.argv[1])))

    def engine() -> dict[str, str | int]:
        embedded = gateway_in(app).pool.engine("embedded")
        assert isinstance(embedded, EmbeddedEngine)
        assert embedded._child is not None
        assert embedded._child.server is not None
        process = embedded._child.server.process
        return {"address": process.address, "api_key": process.api_key, "pid": process.pid}

    serve_commands({"cpu": time.process_time, "engine": engine}, lambda: os.kill(os.getpid(), signal.SIGTERM))
    prepare_process()
    build_server(gateway_in(app).settings, lambda port: say({"url": f"http://127.0.0.1:{port}", "pid": os.getpid()}), app).run()


if __name__ == "__main__":
    main()
