"""The names of models in Ollama's API: all models have a tag, and of two with the same name only the first can be asked for."""

from __future__ import annotations

from collections.abc import Sequence

from llava_gateway.engines.base import ModelInfo, same_name
from llava_gateway.engines.ollama_names import name_key, tagged
from llava_gateway.gateway.gateway import Gateway


async def find_model(gateway: Gateway, name: str) -> ModelInfo:
    """Return the model that clients mean by a name. Asks the engines again before it gives up. Raises ModelNotFound,
    UpstreamUnavailable.
    """
    return _first(gateway.pool.state.models, name) or await gateway.pool.resolve(name)


def listed_name(model: ModelInfo) -> str:
    """Return the name under which a model is listed."""
    name = tagged(model.name)
    return name if same_name(name, model.name) else model.name


def listed(models: Sequence[ModelInfo]) -> list[ModelInfo]:
    """Return the models without those that no name of Ollama's API reaches, because another engine has a model of the same name."""
    by_name: dict[str, ModelInfo] = {}
    for model in models:
        by_name.setdefault(name_key(model.name), model)
    return list(by_name.values())


def _first(models: Sequence[ModelInfo], name: str) -> ModelInfo | None:
    return next((model for model in models if same_name(model.name, name)), None)
