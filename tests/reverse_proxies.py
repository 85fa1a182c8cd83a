"""Real nginx and Caddy in front of a gateway, configured with exactly the blocks of docs/operations.md."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

OPERATIONS = Path(__file__).parents[1] / "docs" / "operations.md"
DOCUMENTED = "pictures.example"
NAME = "pictures.localhost"
"""Browsers resolve names under `localhost` to this machine."""


Front: TypeAlias = Callable[[int], AbstractContextManager[str]]
"""A function that starts a proxy in front of a port and returns the https address."""
FRONTS = pytest.mark.parametrize(
    ("in_front", "prefix"),
    [pytest.param((kind, prefix), prefix, id=f"{kind}{prefix}") for kind in ("nginx", "caddy") for prefix in ("", "/llava")],
    indirect=["in_front"],
)


def find_nginx() -> Path | None:
    return _find("LLAVA_GATEWAY_TEST_NGINX", "nginx")


def find_caddy() -> Path | None:
    return _find("LLAVA_GATEWAY_TEST_CADDY", "caddy")


def _find(variable: str, name: str) -> Path | None:
    found = os.environ.get(variable) or shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


def documented_block(language: str, *, prefix: bool = False) -> str:
    """Return the block of docs/operations.md for nginx or Caddy, with or without a path prefix."""
    blocks = re.findall(rf"```{language}\n(.*?)```", OPERATIONS.read_text("utf-8"), re.DOTALL)
    (found,) = (block for block in blocks if ("/llava/" in block) is prefix)
    return str(found)


def self_made_certificate(folder: Path, name: str = NAME) -> tuple[Path, Path]:
    """Write a certificate for a name and its key to files."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@contextmanager
def nginx(binary: Path, block: str, gateway_port: int, folder: Path) -> Iterator[str]:
    """Start nginx with a block of the documentation. Yields the https address."""
    certificate, key = self_made_certificate(folder)
    port = free_port()
    for before, after in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        (f"server_name {DOCUMENTED}", f"server_name {NAME}"),
        (f"/etc/ssl/{DOCUMENTED}.pem", str(certificate)),
        (f"/etc/ssl/private/{DOCUMENTED}.key", str(key)),
        ("http://127.0.0.1:8000", f"http://127.0.0.1:{gateway_port}"),
    ):
        block = _replaced(block, before, after)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr warn;\n"
        f"events {{}}\nhttp {{ access_log off;\n{paths}\n{block}}}\n",
        "utf-8",
    )
    with _running([str(binary), "-p", str(folder), "-c", str(config)], port):
        yield f"https://{NAME}:{port}"


@contextmanager
def caddy(binary: Path, block: str, gateway_port: int, folder: Path) -> Iterator[str]:
    """Start Caddy with a block of the documentation, and with a certificate of its own instead of requesting one. Yields the https
    address.
    """
    certificate, key = self_made_certificate(folder)
    port = free_port()
    block = _replaced(block, f"{DOCUMENTED} {{", f"https://{NAME}:{port} {{\n    bind 127.0.0.1\n    tls {certificate} {key}")
    block = _replaced(block, "127.0.0.1:8000", f"127.0.0.1:{gateway_port}")
    config = folder / "Caddyfile"
    config.write_text(f"{{\n    admin off\n    auto_https disable_redirects\n}}\n{block}", "utf-8")
    environment = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with _running([str(binary), "run", "--adapter", "caddyfile", "--config", str(config)], port, environment):
        yield f"https://{NAME}:{port}"


def _replaced(text: str, before: str, after: str) -> str:
    assert before in text, f"docs/operations.md has no {before!r} any more"
    return text.replace(before, after)


@contextmanager
def _running(command: list[str], port: int, environment: dict[str, str] | None = None) -> Iterator[None]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        for _ in range(1000):
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended: {process.communicate()[0].decode()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:  # Caddy waits for the event stream of a page that is still open
            process.kill()
            process.communicate()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
