"""One Settings object, built once and passed in: TOML file < environment (LLAVA_GATEWAY_*) < flags.

Every field is a row of docs/settings.md (a test keeps them together). Sizes are bytes, times are seconds, unless the name says otherwise.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from llava_gateway.chat import Policy

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MiB = 1024 * 1024
ENV_PREFIX = "LLAVA_GATEWAY_"
OTHER_VARIABLES = ("URL", "TEST_")
"""What follows the prefix in variables that are no settings: the server that `ask` and `chat` talk to, and what the tests use."""


class ModelPins(BaseModel):
    """Runner options pinned for one model, so that requests don't make the engine load it again and again."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    num_ctx: int | None = Field(None, ge=256, le=1048576)
    num_gpu: int | None = Field(None, ge=-1, le=999)


VisionFamily: TypeAlias = Literal["llava", "gemma3", "gemma4", "minicpm-v", "qwen-vl", "pixtral", "llama4", "unknown"]
"""Models of one family do the same with an image; the sizes may differ."""


class VisionOverride(BaseModel):
    """What an engine does not tell of a model's eye, or tells wrongly. What is not set is left as the engine says."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    family: VisionFamily | None = None
    image_size: int | None = Field(None, ge=28, le=4096)
    patch_size: int | None = Field(None, ge=4, le=256)
    merge: int | None = Field(None, ge=1, le=16)
    tiles: bool | None = None
    overview: Literal["last", "first"] | None = None
    max_images: int | None = Field(None, ge=1)


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        protected_namespaces=(),
        hide_input_in_errors=True,  # pydantic would print the keys beside any other mistake
    )

    # Server
    host: str = Field("127.0.0.1", description="Address to listen on; anything but loopback needs api_key.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    api_key: SecretStr | None = Field(None, description="Key every request must carry as `Authorization: Bearer KEY`; needed off loopback.")
    allowed_hosts: tuple[str, ...] = Field(
        ("127.0.0.1", "localhost", "[::1]"),
        description="Host names requests may be addressed to, without port; `host` is always one of them.",
    )

    # Engines
    engine: Literal["auto", "ollama", "embedded", "openai"] = Field(
        "auto", description="Which engine answers; auto takes Ollama when it has a vision model, else embedded."
    )
    model: str | None = Field(
        None, description="Default model; unset takes a loaded vision model, else llava:7b, else the smallest with vision."
    )
    gguf: Path | None = Field(None, description="GGUF file of a text model for the embedded engine; implies engine embedded.")
    mmproj: Path | None = Field(None, description="GGUF file of the projector that belongs to `gguf`.")
    ollama_host: str = Field("", description="Address of Ollama; unset takes OLLAMA_HOST, else 127.0.0.1:11434.")
    openai_base_url: str | None = Field(None, description="Base address of an OpenAI-compatible server, with /v1; adds it as an engine.")
    openai_api_key: SecretStr | None = Field(None, description="Key for that server.")
    keep_alive: str | int | None = Field(
        None, description="How long Ollama keeps a model loaded after an answer (`5m`, seconds, -1 for ever); unset leaves it to Ollama."
    )
    models: dict[str, ModelPins] = Field(default_factory=dict, description="num_ctx and num_gpu pinned per model name.")
    vision: dict[str, VisionOverride] = Field(
        default_factory=dict, description="What engines don't tell of a model's eye, per pattern of model names; see docs/images.md."
    )
    preset: str | None = Field(None, description="Preset used by requests that name none.")
    presets: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Presets added to (or replacing) factual, balanced and creative: options by name, and `glossary`."
    )

    # Context
    policy: Policy | None = Field(
        None,
        description="What happens when a conversation no longer fits the context: strict, pin_images, sliding or summarise."
        " Unset: pin_images in sessions, strict without.",
    )
    answer_room: int = Field(256, ge=1, description="Tokens of the context kept for an answer whose num_predict is not given.")
    num_ctx_max: int | None = Field(
        None,
        ge=4096,
        description="Context up to which num_ctx grows by itself (4096, 8192, 16384, 32768) when a conversation no longer fits; each step"
        " loads the model again. Unset: it does not grow.",
    )
    reanchor_tokens: int = Field(
        2000, ge=0, description="Tokens of talk after which a line calls an image back to the model's mind; 0 for never."
    )

    # Flow
    ollama_slots: int = Field(1, ge=1, le=256, description="Requests given to Ollama at once; set it to Ollama's own OLLAMA_NUM_PARALLEL.")
    embedded_slots: int = Field(1, ge=1, le=16, description="Requests the embedded engine works on at once.")
    embedded_prompt_cache_bytes: int | None = Field(
        None,
        ge=0,
        le=MiB * MiB,
        description="Most memory in which the embedded engine keeps conversations while it answers others, so that it need not read them"
        " again; it counts in whole MiB, and 0 keeps none. Unset: as much as its context takes, at most a quarter of the model's files, at"
        " least 16 MiB.",
    )
    openai_slots: int = Field(8, ge=1, le=256, description="Requests given to an OpenAI-compatible server at once.")
    queue_size: int = Field(32, ge=0, le=10000, description="Requests that may wait for an engine; more get 503.")
    queue_timeout: float = Field(60, gt=0, description="Longest wait in the queue.")
    connect_timeout: float = Field(2, gt=0, description="Longest wait for a connection to an engine.")
    load_timeout: float = Field(600, gt=0, description="Longest load of a model.")
    progress_timeout: float = Field(300, gt=0, description="Longest silence before the first word, where the engine reports progress.")
    first_token_timeout: float = Field(1800, gt=0, description="Longest wait for the first word, where it does not.")
    token_gap_timeout: float = Field(60, gt=0, description="Longest silence between words.")
    answer_timeout: float = Field(1800, gt=0, description="Longest answer after its first word.")
    stall_timeout: float = Field(30, gt=0, description="How long a client may stop reading before its answer is ended.")
    ping_interval: float = Field(15, gt=0, description="Pause after which a quiet event stream gets a ping comment.")
    read_ahead: bool = Field(
        True, description="Whether engines read conversations and images ahead of the question, where they are asked to and nobody asks."
    )
    shutdown_grace: float = Field(8, ge=0, description="How long running answers may go on after SIGTERM.")
    engine_poll_interval: float = Field(2, gt=0, description="How often engines are asked whether they are there.")

    # Request bodies
    body_max_bytes: int = Field(128 * MiB, ge=1024, description="Largest request body.")
    body_gap_timeout: float = Field(10, gt=0, description="Longest pause inside a request body, and longest wait for request headers.")
    prompt_max_chars: int = Field(1_000_000, ge=1, description="Longest prompt or system prompt.")

    # Images
    image_formats: tuple[str, ...] = Field(
        ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC"),
        description="Formats that are read; the list can only be made shorter.",
    )
    image_max_bytes: int = Field(20 * MiB, ge=1024, description="Largest image file.")
    images_per_turn: int = Field(8, ge=1, le=64, description="Images in one turn.")
    image_max_pixels: int = Field(50_000_000, ge=4096, description="Most pixels of an image.")
    image_max_pixels_webp_gif: int = Field(
        25_000_000, ge=4096, description="Most pixels of a WEBP or GIF, which can't be decoded in reduced size."
    )
    image_max_side: int = Field(30_000, ge=32, description="Longest side in pixels.")
    image_min_side: int = Field(8, ge=1, description="Shortest side in pixels.")
    image_max_aspect: float = Field(64, ge=1, description="Most that the long side may be of the short one.")
    store_max_pixels: int = Field(12_000_000, ge=4096, description="Size in pixels at which images are kept.")
    image_workers: int = Field(2, ge=1, le=64, description="Worker processes that decode images.")
    image_worker_memory: int = Field(1024 * MiB, ge=256 * MiB, description="Most memory of a worker, where the system can limit it.")
    image_timeout: float = Field(10, gt=0, description="Longest decode of one image.")
    store_max_bytes: int = Field(1024 * MiB, ge=MiB, description="All sessions and images together.")

    # Sessions
    session_max_turns: int = Field(1000, ge=1, description="Turns of one session.")
    session_max_bytes: int = Field(256 * MiB, ge=1024, description="One session with its images.")
    session_ttl: float = Field(7 * 24 * 3600, gt=0, description="How long an unused session is kept.")
    session_undo: float = Field(60, ge=0, description="How long a deleted session can be brought back; 0 lets it go at once.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags (init) over environment over the TOML file that `load` names."""
        return init_settings, env_settings, _TomlFile(settings_cls)

    @field_validator("image_formats")
    @classmethod
    def _known_formats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = cls.model_fields["image_formats"].default
        upper = tuple(name.upper() for name in value)
        if unknown := sorted(set(upper) - set(known)):
            raise ValueError(f"unknown formats {', '.join(unknown)}; known are {', '.join(known)}")
        return upper

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if unknown := _unknown_environment():
            raise ValueError(f"there is no setting {unknown}, which is in the environment; docs/settings.md lists them all")
        if self.mmproj and not self.gguf:
            raise ValueError("mmproj needs gguf: the text model it belongs to")
        if self.gguf and self.engine not in ("auto", "embedded"):
            raise ValueError(f"gguf runs in the embedded engine, not in {self.engine}")
        if self.engine == "openai" and not self.openai_base_url:
            raise ValueError("engine openai needs openai_base_url")
        if not self.is_loopback and self.api_key is None:
            raise ValueError(f"listening on {self.host} would let others in: set LLAVA_GATEWAY_API_KEY first, or listen on 127.0.0.1")
        return self

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK

    @property
    def engine_choice(self) -> Literal["auto", "ollama", "embedded", "openai"]:
        """`engine`, with what `gguf` implies."""
        return "embedded" if self.gguf else self.engine

    @property
    def ollama_url(self) -> str:
        """http://HOST:PORT of Ollama, read as Ollama reads OLLAMA_HOST (envconfig/config.go, `Host`): each part may be absent."""
        value = (self.ollama_host or os.environ.get("OLLAMA_HOST", "")).strip().strip("\"'")
        scheme, has_scheme, rest = value.partition("://")
        if not has_scheme:
            scheme, rest = "http", value
        port = {"http": "80", "https": "443"}.get(scheme, "11434") if has_scheme else "11434"
        host, _, path = rest.partition("/")
        before, colon, after = host.rpartition(":")
        if colon and after.isdigit() and (":" not in before or before.endswith("]")):
            host, port = before, after
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        # Where Ollama listens on every address, it is reached on loopback.
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
        return f"{scheme}://{host}:{port}/{path}".rstrip("/")

    @classmethod
    def load(cls, config: Path | None = None, **flags: Any) -> Settings:
        """Settings from the TOML file `config` (if given), the environment, and the flags that are not None.

        Raises pydantic.ValidationError, OSError, tomllib.TOMLDecodeError.
        """
        if config is not None and not config.is_file():
            raise FileNotFoundError(f"there is no settings file {config}")
        _TomlFile.path = config
        try:
            return cls(**{k: v for k, v in flags.items() if v is not None})
        finally:
            _TomlFile.path = None


def _unknown_environment() -> str:
    """The first LLAVA_GATEWAY_ variable that is no setting; "" if there is none. pydantic-settings would pass over it in silence."""
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(ENV_PREFIX)
        field = name.partition("__")[0].lower()
        if variable.upper().startswith(ENV_PREFIX) and field not in Settings.model_fields and not name.startswith(OTHER_VARIABLES):
            return variable
    return ""


class _TomlFile(TomlConfigSettingsSource):
    """The file of the `Settings.load` call that is running; pydantic-settings gives a source no other way to be told."""

    path: Path | None = None

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls, toml_file=type(self).path)


@cache
def built_in_presets() -> Mapping[str, Mapping[str, Any]]:
    """The presets of configs/presets.toml: {name: {"about": ..., option: value}}."""
    return _packaged("presets.toml")


@cache
def built_in_vision() -> Mapping[str, VisionOverride]:
    """The overrides of configs/vision.toml by pattern of model names, in order."""
    return {pattern: VisionOverride.model_validate(entry) for pattern, entry in _packaged("vision.toml").items()}


def _packaged(name: str) -> dict[str, Any]:
    """A file of configs/ that is shipped inside the package."""
    inside = resources.files("llava_gateway") / name
    if inside.is_file():
        return tomllib.loads(inside.read_text("utf-8"))
    # An editable install has no copy inside the package: the file stands in the checkout.
    return tomllib.loads((Path(__file__).parents[2] / "configs" / name).read_text("utf-8"))
