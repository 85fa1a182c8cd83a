"""The limit on open files of this process, and how many answers it allows."""

from __future__ import annotations

import sys
from contextlib import suppress

from llava_gateway.settings import Settings

FILES_OF_OUR_OWN = 64
FILES_OF_AN_ANSWER = 2
"""Its sockets: one to the client, one to the engine."""
MOST_FILES = 65_536
"""The limit is raised no further than this: some systems call their hard limit infinite, but refuse to set it."""


def connections_limit() -> int:
    """Return how many answers the limit on open files allows at once."""
    if sys.platform == "win32":
        return sys.maxsize
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(0, (soft - FILES_OF_OUR_OWN) // FILES_OF_AN_ANSWER)


def raise_files_limit() -> None:
    """Raise the limit on open files as far as this process may."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # then the old limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def slots_wanted(settings: Settings) -> int:
    """Return the slots of all engines that the settings name."""
    choice = settings.engine_choice
    slots = settings.ollama_slots if choice in ("auto", "ollama") else 0
    slots += settings.openai_slots if choice == "openai" or (choice == "auto" and settings.openai_base_url) else 0
    return slots + (settings.embedded_slots if choice in ("auto", "embedded") else 0)


def files_wanted(settings: Settings) -> int:
    """Return the limit on open files that the slots of the settings need."""
    return FILES_OF_AN_ANSWER * slots_wanted(settings) + FILES_OF_OUR_OWN
