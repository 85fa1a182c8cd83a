"""Reads model names as Ollama does (pure): HOST/NAMESPACE/MODEL:TAG, where all parts but MODEL may be left out.

The rules are those of Ollama's types/model/name.go and internal/modelref.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from llava_gateway.errors import CloudModelRefused, InvalidModelName

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name with all its parts, in their original spelling."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def key(self) -> str:
        """The same for all spellings of a name, because Ollama ignores case."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}".lower()

    @property
    def from_this_machine(self) -> bool:
        """Whether the registry of the name is on loopback."""
        name = self.host.partition(":")[0]
        return name.lower() == "localhost" or is_loopback(name)


def parse_name(text: str) -> ModelName:
    """Parse a name. Raises InvalidModelName, CloudModelRefused."""
    if is_cloud(text):
        raise CloudModelRefused().at("model")
    name = _parsed(text)
    # `:local` is no tag: Ollama removes it from the name.
    if name is None or name.tag.lower() == "local":
        raise InvalidModelName().at("model")
    return name


@lru_cache(1024)
def name_key(text: str) -> str:
    """Return the same text for all spellings of a name. Never raises: a name that Ollama would reject is its own key."""
    name = _parsed(text)
    return name.key if name else text


def _parsed(text: str) -> ModelName | None:
    rest, tag = text, "latest"
    if text.rfind(":") > text.rfind("/"):
        rest, _, tag = text.rpartition(":")
    *before, model = rest.split("/")
    namespace = before.pop() if before else "library"
    host = before.pop() if before else "registry.ollama.ai"
    parts = ((_HOST, host), (_NAMESPACE, namespace), (_PART, model), (_PART, tag))
    valid = not before and all(rule.fullmatch(part) for rule, part in parts)
    return ModelName(host, namespace, model, tag) if valid else None


def tagged(name: str) -> str:
    """Return the name as Ollama lists it: a name without a tag means `:latest`."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def is_cloud(name: str) -> bool:
    """Return whether Ollama forwards this name to its cloud, which it does even if no such model is installed."""
    tag = name.strip().lower().rpartition(":")[2].strip()
    return ":" in name and (tag == "cloud" or tag.endswith("-cloud"))


def is_loopback(address: str) -> bool:
    """Return whether this is an IP address of the machine itself, including IPv4 inside IPv6."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    inner = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (inner or found).is_loopback
