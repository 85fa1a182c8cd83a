"""Input that is piped into a command."""

from __future__ import annotations

import os
import stat
import sys
import threading

from llava_gateway.cli.image_paths import is_known

_PIECE_BYTES = 65536
_HEAD_BYTES = 512


def on_terminal() -> bool:
    """Return whether stdin is a terminal; False if stdin is closed."""
    return sys.stdin is not None and sys.stdin.isatty()


def piped() -> int | None:
    """Return the descriptor of stdin if it is a pipe, a file or a socket; None for a terminal, a device such as /dev/null, or a closed
    stdin.
    """
    if sys.stdin is None:
        return None
    try:
        descriptor = sys.stdin.fileno()
        mode = os.fstat(descriptor).st_mode
    except (OSError, ValueError):
        return None
    return descriptor if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode) else None


class Piped:
    """Reads a descriptor in the background: a pipe that nobody writes to or closes must not block a command."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._data = bytearray()
        self._begun = threading.Event()
        self._gave_up = False
        self._thread = threading.Thread(target=self._read, name="stdin", daemon=True)
        self._thread.start()

    def whole(self, seconds: float) -> bytes | None:
        """Wait for the end and return everything; None if the input does not begin, or does not end, within `seconds`."""
        self._gave_up = not self._begun.wait(seconds)
        if self._gave_up:
            return None
        self._thread.join()
        return bytes(self._data)

    @property
    def is_late(self) -> bool:
        """Whether input arrived only after `whole` had given up."""
        return self._gave_up and bool(self._data)

    def _read(self) -> None:
        # Not through sys.stdin: at the end of the program, Python would wait for the lock of an unfinished read.
        try:
            while piece := os.read(self._descriptor, _PIECE_BYTES):
                self._data += piece
                self._begun.set()
        except OSError:  # a folder, or a terminal that has gone
            pass
        finally:
            self._begun.set()


def has_unread_input() -> bool:
    """Return whether stdin has unread input, without reading it. Text in a file does not count: a loop in a shell may read its lines
    from there.
    """
    descriptor = piped()
    if descriptor is None or sys.platform == "win32":
        return False
    import fcntl
    import termios

    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return is_known(os.pread(descriptor, _HEAD_BYTES, os.lseek(descriptor, 0, os.SEEK_CUR)))
        waiting = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4)
    except OSError:
        return False
    return int.from_bytes(waiting, sys.byteorder) > 0
