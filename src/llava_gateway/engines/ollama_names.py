"""Names of models as Ollama reads them (pure): HOST/NAMESPACE/MODEL:TAG, where all but MODEL may be left out.

The rules are those of Ollama's types/model/name.go and internal/modelref.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from llava_gateway.errors import CloudModelRefused, InvalidModelName

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name with all its parts, as it was written."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def key(self) -> str:
        """The same for all spellings of one name: Ollama does not tell capitals apart."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}".lower()

    @property
    def from_this_machine(self) -> bool:
        """Whether its registry is on loopback."""
        name = self.host.partition(":")[0]
        return name.lower() == "localhost" or is_loopback(name)


def parse_name(text: str) -> ModelName:
    """Raises InvalidModelName, CloudModelRefused."""
    if is_cloud(text):
        raise CloudModelRefused().at("model")
    rest, tag = text, "latest"
    if text.rfind(":") > text.rfind("/"):
        rest, _, tag = text.rpartition(":")
    *before, model = rest.split("/")
    namespace = before.pop() if before else "library"
    host = before.pop() if before else "registry.ollama.ai"
    parts = ((_HOST, host), (_NAMESPACE, namespace), (_PART, model), (_PART, tag))
    # `:local` is no tag: Ollama takes it off the name.
    if before or not all(rule.fullmatch(part) for rule, part in parts) or tag.lower() == "local":
        raise InvalidModelName().at("model")
    return ModelName(host, namespace, model, tag)


def tagged(name: str) -> str:
    """The name as Ollama lists it: one without a tag means `:latest`."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def is_cloud(name: str) -> bool:
    """Ollama passes such a name on to its cloud even when no such model is installed."""
    tag = name.strip().lower().rpartition(":")[2].strip()
    return ":" in name and (tag == "cloud" or tag.endswith("-cloud"))


def is_loopback(address: str) -> bool:
    """Whether it is an IP address of this machine itself, IPv4 inside IPv6 too."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    inner = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (inner or found).is_loopback
