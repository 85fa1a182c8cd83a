"""The built-in demo model: a real LLaVA of 5 MB that the embedded engine serves where no other model is to be had."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

NAME = "demo"


def model_files() -> tuple[Path, Path]:
    """(text model, projector) as GGUF files on disk: the engine is another process and needs their paths."""
    here = Path(str(resources.files(__name__)))
    return here / "demo.gguf", here / "demo-mmproj.gguf"
