"""Reads Ollama's facts about its models: the rows of /api/tags and /api/ps, and /api/show (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from llava_gateway.chat import JSON, EngineRequest
from llava_gateway.engines.base import ModelInfo, same_name
from llava_gateway.engines.memory import cache_bytes_per_token
from llava_gateway.engines.ollama_prompt import places_images
from llava_gateway.engines.tools import for_a_model_without_tools
from llava_gateway.errors import UpstreamProtocolError
from llava_gateway.images.facts import VisionFacts

VISION_MIN_CTX = 2048
"""The least num_ctx that Ollama uses for a vision model (server/sched.go, `getRunner`)."""
LEAST_TOKENS = 1024
LEAST_TOKENS_FOR = ("qwen2vl", "qwen25vl", "qwen3vl", "qwen3vlmoe")
"""Ollama starts the engine with --image-min-tokens 1024 for these (llm/llama_server.go, `qwenVLServerArgs`)."""


@dataclass(frozen=True, slots=True)
class Details:
    """The facts of /api/show about a model. They stay valid as long as the model's digest stays the same."""

    vision: bool
    facts: VisionFacts
    context_length: int | None
    places_images: bool
    num_ctx: int | None = None
    """The num_ctx of the Modelfile."""
    num_thread: int | None = None
    """The num_thread of the Modelfile."""
    system: str = ""
    messages: tuple[str, ...] = ()
    """The words of the messages that the Modelfile puts before every conversation, after the system prompt."""
    cache_bytes_per_token: int | None = None
    tools: bool | None = None
    """Whether its template supports tools. None if an old Ollama does not report it, like the next."""
    thinking: bool | None = None

    def suited(self, request: EngineRequest) -> EngineRequest:
        """Return the request without what Ollama would reject for this model. Raises ModelLacksTools."""
        if self.tools is False:
            request = for_a_model_without_tools(request)
        return replace(request, think=None) if request.think and self.thinking is False else request

    def before(self, request: EngineRequest) -> tuple[str, ...]:
        """Return the words that Ollama puts before those of a request (server/routes.go, `ChatHandler`)."""
        own_system = bool(self.messages) or (bool(request.messages) and request.messages[0].role != "system")
        return (self.system, *self.messages) if self.system and own_system else self.messages

    def clamped(self, num_ctx: int) -> int:
        """Return the num_ctx that Ollama uses for a requested one."""
        least = max(num_ctx, VISION_MIN_CTX) if self.vision else num_ctx
        return min(least, self.context_length or least)


def running(rows: list[dict[str, Any]], model: str) -> dict[str, Any] | None:
    """Return the row of a model among the loaded ones; None if it is not loaded."""
    return next((row for row in rows if same_name(row["name"], model)), None)


def rows_of(answer: JSON) -> list[dict[str, Any]]:
    """Return the rows of /api/tags or /api/ps that have a name."""
    rows = answer.get("models") or []
    if not isinstance(rows, list):
        raise UpstreamProtocolError
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("name"), str)]


def model_info(row: Mapping[str, Any], known: Details, running: Mapping[str, Any] | None) -> ModelInfo:
    """Return a model from its row of /api/tags and, if it is loaded, of /api/ps."""
    about = row.get("details") or {}
    return ModelInfo(
        name=row["name"],
        engine="ollama",
        vision=known.vision,
        facts=known.facts,
        context_length=known.context_length,
        loaded=running is not None,
        loaded_context=whole(running, "context_length") if running else None,
        size_bytes=whole(row, "size"),
        family=str(about.get("family", "")),
        parameters=str(about.get("parameter_size", "")),
        quantization=str(about.get("quantization_level", "")),
        own_context=known.num_ctx,
        memory_bytes=whole(running, "size") if running else None,
        gpu_bytes=whole(running, "size_vram") or 0 if running else None,
        cache_bytes_per_token=known.cache_bytes_per_token,
    )


def read_details(answer: Any) -> Details:
    """Read the answer of /api/show. Raises UpstreamProtocolError."""
    if not isinstance(answer, dict):
        raise UpstreamProtocolError
    info, projector = answer.get("model_info") or {}, answer.get("projector_info") or {}
    capabilities = answer.get("capabilities")
    # Ollama before 0.6.4 lists no capabilities.
    can = set(map(str, capabilities)) if isinstance(capabilities, list) else None
    vision = bool(projector) if can is None else "vision" in can
    architecture = str(info.get("general.architecture", ""))
    return Details(
        vision=vision,
        facts=_facts(projector, info, architecture) if vision else VisionFacts(),
        context_length=whole(info, f"{architecture}.context_length"),
        places_images=places_images(str(answer.get("template") or "")),
        num_ctx=_parameter(str(answer.get("parameters") or ""), "num_ctx"),
        num_thread=_parameter(str(answer.get("parameters") or ""), "num_thread"),
        system=str(answer.get("system") or ""),
        messages=tuple(str(row["content"]) for row in answer.get("messages") or () if isinstance(row, dict) and row.get("content")),
        cache_bytes_per_token=cache_bytes_per_token(info, architecture),
        tools=None if can is None else "tools" in can,
        thinking=None if can is None else "thinking" in can,
    )


def _parameter(parameters: str, name: str) -> int | None:
    """Return a whole number from a Modelfile's parameters, which /api/show lists one per line as name and value."""
    values = [line.split()[1] for line in parameters.splitlines() if line.split()[:1] == [name] and len(line.split()) > 1]
    return int(values[0]) if values and values[0].isdecimal() else None


def _facts(projector: JSON, info: JSON, architecture: str) -> VisionFacts:
    """Read the vision facts from the projector's keys, or from the model's own if its vision encoder is built in (gemma3, qwen2.5vl,
    mistral3)."""
    least = LEAST_TOKENS if architecture in LEAST_TOKENS_FOR else None
    if not projector:
        merge = f"{architecture}.spatial_merge_size" if architecture == "mistral3" else f"{architecture}.vision.spatial_merge_size"
        return VisionFacts(
            projector_type=architecture,
            image_size=whole(info, f"{architecture}.vision.image_size"),
            patch_size=whole(info, f"{architecture}.vision.patch_size"),
            merge=whole(info, merge),
            least_tokens=least,
        )
    # The first LLaVA files have no projector type; llama.cpp treats them as mlp (tools/mtmd/clip.cpp).
    default = "mlp" if projector.get("clip.has_llava_projector") else ""
    flat = projector.get("clip.vision.image_grid_pinpoints") or []
    return VisionFacts(
        projector_type=str(projector.get("clip.projector_type") or projector.get("clip.vision.projector_type") or default),
        image_size=whole(projector, "clip.vision.image_size"),
        patch_size=whole(projector, "clip.vision.patch_size"),
        pinpoints=tuple(zip(flat[::2], flat[1::2], strict=False)),
        merge=whole(projector, "clip.vision.spatial_merge_size") or whole(projector, "clip.vision.projector.scale_factor"),
        queries=whole(projector, "clip.minicpmv_query_num"),
        version=whole(projector, "clip.minicpmv_version"),
        least_tokens=least,
    )


def has_pinpoints(answer: JSON) -> bool:
    """Return whether the model has a grid. A short answer may leave out the grid's list."""
    return "clip.vision.image_grid_pinpoints" in (answer.get("projector_info") or {})


def whole(values: Mapping[str, Any], key: str) -> int | None:
    """Return a whole number; None if the value is none."""
    value = values.get(key)
    return value if type(value) is int else None
