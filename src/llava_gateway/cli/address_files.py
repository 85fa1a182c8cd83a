"""The gateways that this user runs on this machine: `serve` writes its address to a file, and the other commands read it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_NAME = "llava-gateway"


class AddressFile:
    """A context in which `write` publishes the address of this process in a file; leaving the context removes the file."""

    def __init__(self) -> None:
        self._file: Path | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, url: str) -> None:
        """Write the file. If that fails, the gateway runs anyway, but other commands can't find it by themselves."""
        with suppress(OSError):
            folder = _folder()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_private(folder):
                return
            file = folder / f"{os.getpid()}.json"
            begun = folder / f"{os.getpid()}.new"
            for old in (file, begun):  # of an earlier process with the same id
                old.unlink(missing_ok=True)
            self._file = file
            with os.fdopen(os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
                json.dump({"url": url, "pid": os.getpid()}, out)
            begun.replace(file)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink(missing_ok=True)


def published_addresses() -> list[str]:
    """Return the addresses that living processes wrote, the newest first. The caller checks whether a gateway answers there."""
    with suppress(OSError):
        if _is_private(folder := _folder()):
            files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
            return [url for file in files for url in _read(file)]
    return []


def published_address(process: str) -> str | None:
    """Return the address that this living process wrote; None if it wrote none."""
    with suppress(OSError):
        if process.isdigit() and _is_private(folder := _folder()):
            return next(_read(folder / f"{process}.json"), None)
    return None


def _read(file: Path) -> Iterator[str]:
    """Read the address in a file. Yields none for a file that is not ours, or if its process has ended (then also removes the file)."""
    import psutil

    try:
        found = json.loads(file.read_text("utf-8"))
        url, pid = str(found["url"]), int(found["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if psutil.pid_exists(pid):
        yield url
    else:
        with suppress(OSError):
            file.unlink()


def _is_private(folder: Path) -> bool:
    """Return whether no other user can write or read files there."""
    if sys.platform == "win32":
        return folder.is_dir()
    found = folder.stat()
    return folder.is_dir() and not folder.is_symlink() and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _folder() -> Path:
    """Return a folder of this user whose content may be lost at a restart of the machine."""
    import platformdirs

    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and sys.platform not in ("win32", "darwin"):
        return runtime / _NAME
    return platformdirs.user_state_path(_NAME, appauthor=False)
