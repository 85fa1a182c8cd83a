"""One Settings object, built once and passed in. Flags override the environment (LLAVA_GATEWAY_*), which overrides the TOML file.

Every field is a row of docs/settings.md (a test keeps them together). Sizes are bytes, times are seconds, unless the name says otherwise.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import platformdirs
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from llava_gateway.chat import OnDisconnect, Policy

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MiB = 1024 * 1024
ENV_PREFIX = "LLAVA_GATEWAY_"
OTHER_VARIABLES = ("URL", "TEST_")
"""The part after the prefix in variables that are not settings: the gateway for the commands, and variables of the tests."""


def _names(value: Any) -> Any:
    """Parse a list in a string: JSON, or names separated by commas."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text == "[]" or text.startswith(('["', '[ "')):  # [::1] is a name
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError('a list is written as one,two or as ["one", "two"]') from None
    return [name for part in text.split(",") if (name := part.strip())]


Names: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
"""A list of names; the environment may separate them by commas."""
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\*|[^\s/*:]+(:(\d+|\*))?|\[[0-9a-f:]+\](:(\d+|\*))?)/?", re.IGNORECASE | re.ASCII)
_HOST = re.compile(r"(\*|[a-z0-9_-]+)(\.[a-z0-9_-]+)+", re.ASCII)


def _fetch(value: Any) -> Any:
    """Parse the setting `fetch`: off, on, or a list of hosts."""
    if isinstance(value, bool):  # TOML has these
        return "on" if value else "off"
    if isinstance(value, str) and (word := value.strip().lower()) in ("off", "on"):
        return word
    named = _names(value)
    hosts = tuple(str(host).lower() for host in (named if isinstance(named, list | tuple) else [named]))
    if wrong := [host for host in hosts if not _HOST.fullmatch(host)]:
        raise ValueError(f"{wrong[0]!r} is not a host such as upload.wikimedia.org or *.wikimedia.org; without a list, fetch is off or on")
    return hosts or "off"


Fetch: TypeAlias = Annotated[Literal["off", "on"] | tuple[str, ...], NoDecode, BeforeValidator(_fetch)]


class ModelPins(BaseModel):
    """Runner options pinned for one model, so that requests with other options don't make the engine reload it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    num_ctx: int | None = Field(None, ge=256, le=1048576)
    num_gpu: int | None = Field(None, ge=-1, le=999)
    num_thread: int | None = Field(None, ge=0, le=1024)


VisionFamily: TypeAlias = Literal["llava", "gemma3", "gemma4", "minicpm-v", "qwen-vl", "pixtral", "llama4", "unknown"]
"""Models of one family process images in the same way; the sizes may differ."""


class VisionOverride(BaseModel):
    """Facts about a model's vision that the engine does not report, or reports wrongly. Fields that are not set keep the engine's value."""

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
        hide_input_in_errors=True,  # pydantic would print the keys next to any other error
    )

    # Server
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on; any address other than loopback needs api_key. Unset or `localhost`: also [::1], so that"
        " `localhost` works with IPv4 and IPv6.",
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 chooses a free one.")
    api_key: SecretStr | None = Field(
        None, description="Key that every request must have, as `Authorization: Bearer KEY`; required unless `host` is loopback."
    )
    allowed_hosts: Names = Field(
        ("127.0.0.1", "localhost", "[::1]"),
        description="Host names, without port, that browsers may use for the gateway; `host` is always allowed. Other programs may also use"
        " private names and addresses.",
    )
    allowed_origins: Names = Field(
        (),
        description="Web pages of other sites that may use the gateway: `http://localhost:3000`, `http://localhost:*`, `app://*`, or"
        " `ollama` for those that Ollama allows.",
    )
    trusted_proxies: Names = Field(
        ("127.0.0.1", "::1"),
        description="Addresses or networks (`10.0.0.0/8`) of reverse proxies. The gateway uses `X-Forwarded-Proto`, `-Host` and `-For`"
        " (or `Forwarded`) only from these.",
    )

    # Engines
    engine: Literal["auto", "ollama", "embedded", "openai"] = Field(
        "auto", description="Which engine answers; auto uses Ollama if it has a vision model, else `openai_base_url` if set, else embedded."
    )
    model: str | None = Field(
        None, description="Default model. Unset: a loaded vision model, else llava:7b, else the smallest vision model."
    )
    gguf: Path | None = Field(None, description="GGUF file of a text model for the embedded engine; implies engine embedded.")
    mmproj: Path | None = Field(None, description="GGUF file of the projector that belongs to `gguf`.")
    ollama_host: str = Field("", description="Address of Ollama. Unset: OLLAMA_HOST, else 127.0.0.1:11434.")
    openai_base_url: str | None = Field(None, description="Base address of an OpenAI-compatible server, with /v1; adds it as an engine.")
    openai_api_key: SecretStr | None = Field(None, description="Key for that server.")
    keep_alive: str | int | None = Field(
        None, description="How long Ollama keeps a model loaded after an answer (`5m`, seconds, -1 for ever). Unset: Ollama decides."
    )
    models: dict[str, ModelPins] = Field(default_factory=dict, description="Fixed num_ctx, num_gpu and num_thread, by model name.")
    vision: dict[str, VisionOverride] = Field(
        default_factory=dict,
        description="Facts about a model's vision that engines don't report, by pattern of model names.",
    )
    pull_registries: Names = Field(
        ("registry.ollama.ai", "hf.co", "huggingface.co"),
        description="Registries that models may be pulled from, as HOST or HOST:PORT; a HOST alone allows all ports.",
    )
    preset: str | None = Field(None, description="Preset for requests that name none.")
    presets: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Your own presets, which add to or replace factual, balanced and creative: options by name, and `glossary`.",
    )
    strict_vision: bool = Field(
        False,
        description="Whether a model that can't see images is rejected in a session with images. If not, it answers from what was said"
        " about them. A request may override this.",
    )

    # Context
    policy: Policy | None = Field(
        None,
        description="What happens when a conversation no longer fits the context: strict, pin_images, sliding or summarise."
        " Unset: pin_images in sessions, strict without.",
    )
    answer_room: int = Field(256, ge=1, description="Tokens of the context reserved for the answer if num_predict is not given.")
    num_ctx_max: int | None = Field(
        None,
        ge=4096,
        description="Limit up to which num_ctx grows automatically (4096, 8192, 16384, 32768) when a conversation no longer fits; each step"
        " reloads the model. Unset: it does not grow.",
    )
    reanchor_tokens: int = Field(
        2000, ge=0, description="After this many tokens of conversation since the last image, a line reminds the model of it; 0 for never."
    )

    # Flow
    ollama_slots: int = Field(1, ge=1, le=4096, description="Requests sent to Ollama at once; set it to Ollama's own OLLAMA_NUM_PARALLEL.")
    embedded_slots: int = Field(1, ge=1, le=16, description="Requests that the embedded engine works on at once.")
    embedded_prompt_cache_bytes: int | None = Field(
        None,
        ge=0,
        le=MiB * MiB,
        description="Memory in which the embedded engine keeps conversations while it answers others, so that it does not have to read"
        " them again. Only whole MiB count; 0 keeps none. Unset: as much as its context takes, at most a quarter of the model's files, at"
        " least 16 MiB.",
    )
    openai_slots: int = Field(8, ge=1, le=4096, description="Requests sent to an OpenAI-compatible server at once.")
    queue_size: int = Field(32, ge=0, le=10000, description="Requests that may wait for an engine; more get 503.")
    queue_timeout: float = Field(60, gt=0, description="Longest wait in the queue.")
    connect_timeout: float = Field(2, gt=0, description="Longest wait for a connection to an engine.")
    load_timeout: float = Field(600, gt=0, description="Longest load of a model.")
    progress_timeout: float = Field(300, gt=0, description="Longest silence before the first word, if the engine reports progress.")
    first_token_timeout: float = Field(1800, gt=0, description="Longest wait for the first word, if the engine does not report progress.")
    token_gap_timeout: float = Field(60, gt=0, description="Longest silence between words.")
    answer_timeout: float = Field(1800, gt=0, description="Longest answer after its first word.")
    on_disconnect: OnDisconnect = Field(
        "cancel",
        description="What happens to an answer in a session when its client disconnects: cancel or continue. A request may override this.",
    )
    abandoned_timeout: float = Field(1800, gt=0, description="How long an answer continues if nobody reads it.")
    stall_timeout: float = Field(30, gt=0, description="How long a client may stop reading before its connection is cut off.")
    ping_interval: float = Field(15, gt=0, description="Time without events after which an event stream gets a ping comment.")
    read_ahead: bool = Field(True, description="Whether idle engines may read conversations and images ahead of the question.")
    shutdown_grace: float = Field(8, ge=0, description="How long running answers may continue after SIGTERM.")
    engine_poll_interval: float = Field(2, gt=0, description="Time between checks whether the engines answer.")

    memory_max_bytes: int | None = Field(
        None,
        ge=64 * MiB,
        description="Memory of the gateway's process, without image workers and engines. Above 85 % of it, requests with new images get"
        " 503, above 95 % all questions. The limit of a container or a systemd unit counts in the same way. Unset: only that limit.",
    )

    # Request bodies
    body_max_bytes: int = Field(128 * MiB, ge=1024, description="Largest request body.")
    bodies_max_bytes: int | None = Field(
        None,
        ge=1024,
        description="Largest sum of all request bodies that are arriving or wait for their response; the first 64 KiB of each are not"
        " counted. A body without room waits for `body_gap_timeout`, then it gets 503. Unset: twice `body_max_bytes`.",
    )
    blob_max_bytes: int = Field(
        64 * 1024 * MiB, ge=1024, description="Largest file of a model that `ollama create` uploads. It is passed on as it arrives."
    )
    body_timeout: float = Field(
        600, gt=0, description="Longest time to receive a request body. At 400 kbit/s, an image of 20 MiB arrives in time."
    )
    body_gap_timeout: float = Field(10, gt=0, description="Longest pause within a request body, and longest wait for request headers.")
    prompt_max_chars: int = Field(1_000_000, ge=1, description="Longest prompt or system prompt.")

    # Images
    image_formats: Names = Field(
        (
            *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC", "RAW", "JPEG2000", "PSD", "ICO", "TGA", "PPM", "SVG"),
            *("PDF", "VIDEO"),
        ),
        description="Accepted formats; you can only remove formats from this list.",
    )
    image_max_bytes: int = Field(20 * MiB, ge=1024, description="Largest image file.")
    document_max_bytes: int = Field(100 * MiB, ge=1024, description="Largest PDF or camera raw file.")
    video_max_bytes: int = Field(
        500 * MiB,
        ge=1024,
        description="Largest video. It arrives in a request body, so raise `body_max_bytes` for videos above that limit.",
    )
    images_per_turn: int = Field(
        8,
        ge=1,
        le=64,
        description="Most images in one turn; raise it, up to 64, for models that take many. Pages of documents don't count.",
    )
    image_max_pixels: int = Field(64_000_000, ge=4096, description="Most pixels of an image.")
    image_max_pixels_jpeg: int = Field(
        270_000_000,
        ge=4096,
        description="Most pixels of a JPEG, which is decoded at reduced size. A progressive JPEG needs all of its data in memory:"
        " it may need as much as one of `image_max_pixels` in full colour.",
    )
    image_max_pixels_webp_gif: int = Field(
        25_000_000, ge=4096, description="Most pixels of a WEBP or GIF, which can't be decoded at reduced size."
    )
    image_max_side: int = Field(65_500, ge=32, description="Longest side in pixels.")
    image_min_side: int = Field(8, ge=1, description="Shortest side in pixels.")
    image_max_aspect: float = Field(64, ge=1, description="Largest ratio of the long side to the short side.")
    fetch: Fetch = Field(
        "off",
        description="Whether the gateway fetches images from addresses that clients send: off, on, or a list of hosts (`*.example.org`"
        " matches every host below example.org). Only public addresses are ever fetched; see operations.md.",
    )
    store_max_pixels: int = Field(12_000_000, ge=4096, description="Most pixels of a stored image; larger images are shrunk.")
    image_workers: int = Field(2, ge=1, le=64, description="Worker processes that decode images.")
    image_worker_memory: int = Field(1024 * MiB, ge=256 * MiB, description="Most memory of a worker, if the system can limit it.")
    image_timeout: float = Field(10, gt=0, description="Longest time to decode one image.")
    store_max_bytes: int = Field(
        1024 * MiB, ge=MiB, description="Most memory for all sessions and images together; what is on disk is read again when it is needed."
    )

    # Sessions
    keep: Literal["memory", "sqlite"] | None = Field(
        None,
        description="Where sessions are kept: memory (lost when the gateway stops) or sqlite (on disk, in `data_dir`). Unset: sqlite for"
        " `llava-gateway serve`, else memory.",
    )
    data_dir: Path | None = Field(
        None, description="Data directory for `keep = sqlite`. Unset: the platform's; `llava-gateway data path` prints it."
    )
    models_dir: Path | None = Field(None, description="Folder of the embedded engine's models. Unset: `models` in the data directory.")
    keep_max_bytes: int | None = Field(
        None,
        ge=MiB,
        description="Size on disk from which new images are refused. Unset: a tenth of the disk, at most 20 GB.",
    )
    session_max_turns: int = Field(1000, ge=1, description="Most turns in one session.")
    session_max_bytes: int = Field(256 * MiB, ge=1024, description="Largest session, including its images.")
    session_ttl: float = Field(7 * 24 * 3600, gt=0, description="How long an unused session stays in memory.")
    session_undo: float = Field(60, ge=0, description="How long a deleted session can be restored; 0 removes it at once.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources: flags (init) override the environment, which overrides the TOML file that `load` names."""
        return init_settings, env_settings, _TomlFile(settings_cls)

    @field_validator("image_formats")
    @classmethod
    def _known_formats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = cls.model_fields["image_formats"].default
        upper = tuple(name.upper() for name in value)
        if unknown := sorted(set(upper) - set(known)):
            raise ValueError(f"unknown formats {', '.join(unknown)}; known are {', '.join(known)}")
        return upper

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := next((text for text in value if text != "ollama" and not _ORIGIN.fullmatch(text)), None):
            raise ValueError(f"{wrong!r} is not an origin such as http://localhost:3000, http://localhost:* or app://*")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ip_network(text, strict=False)
            except ValueError:
                raise ValueError(f"{text!r} is not an address or a network such as 10.0.0.0/8") from None
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if unknown := _unknown_environment():
            nearest = did_you_mean(unknown.upper(), [f"{ENV_PREFIX}{name.upper()}" for name in (*type(self).model_fields, "url")])
            raise ValueError(f"There is no setting for the environment variable {unknown}.{nearest}")
        if self.bodies_max_bytes is not None and self.bodies_max_bytes < self.body_max_bytes:
            raise ValueError("bodies_max_bytes must be at least body_max_bytes")
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
    def bodies_limit(self) -> int:
        """`bodies_max_bytes`, or its default."""
        return self.bodies_max_bytes or 2 * self.body_max_bytes

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses to listen on. The second of two may be missing on a machine without IPv6."""
        return ("127.0.0.1", "::1") if self.host == "localhost" or "host" not in self.model_fields_set else (self.host,)

    @property
    def fetch_hosts(self) -> tuple[str, ...] | None:
        """The hosts that images may be fetched from, as `fetch` names them; None for all, () for none."""
        return self.fetch if isinstance(self.fetch, tuple) else None if self.fetch == "on" else ()

    @property
    def engine_choice(self) -> Literal["auto", "ollama", "embedded", "openai"]:
        """`engine`, or embedded if `gguf` is set."""
        return "embedded" if self.gguf else self.engine

    @property
    def data_folder(self) -> Path:
        """`data_dir`, or this user's data directory for the gateway, as the platform has it."""
        return self.data_dir or platformdirs.user_data_path("llava-gateway", appauthor=False)

    @property
    def models_folder(self) -> Path:
        """`models_dir`, or its default."""
        return self.models_dir or self.data_folder / "models"

    @property
    def ollama_url(self) -> str:
        """http://HOST:PORT of Ollama, read as Ollama reads OLLAMA_HOST (envconfig/config.go, `Host`): each part may be absent.

        An OLLAMA_HOST that leads to the gateway itself is for its clients, and says nothing about Ollama.
        """
        if self.ollama_host:
            return _ollama_url(self.ollama_host)
        url = _ollama_url(os.environ.get("OLLAMA_HOST", ""))
        own = (f"http://{host}:{self.port}" for host in ("127.0.0.1", "localhost", "[::1]"))
        return _ollama_url("") if url in own else url

    @classmethod
    def load(cls, config: Path | None = None, **flags: Any) -> Settings:
        """Load the settings from the TOML file `config` (if given), the environment, and the flags that are not None.

        Raises pydantic.ValidationError, OSError, tomllib.TOMLDecodeError.
        """
        if config is not None and config.is_dir():
            raise IsADirectoryError(f"{config} is a folder")
        if config is not None and not config.is_file():
            raise FileNotFoundError(f"there is no settings file {config}")
        _TomlFile.path = config
        try:
            return cls(**{k: v for k, v in flags.items() if v is not None})
        finally:
            _TomlFile.path = None


def _ollama_url(given: str) -> str:
    """Return http://HOST:PORT for an address in which each part may be absent."""
    value = given.strip().strip("\"'")
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
    # If Ollama listens on every address, loopback reaches it.
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
    return f"{scheme}://{host}:{port}/{path}".rstrip("/")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean ...?" with the most similar known name; "" if none is similar."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def names_at(place: tuple[int | str, ...]) -> Iterable[str]:
    """Return the names that could stand at this place of the settings."""
    tables: dict[int | str, type[BaseModel]] = {"models": ModelPins, "vision": VisionOverride}
    return (tables[place[0]] if len(place) > 1 and place[0] in tables else Settings).model_fields


def variable_of(name: str) -> str:
    """Return the environment variable that sets this field or a part of it; "" if there is none."""
    wanted = f"{ENV_PREFIX}{name.upper()}"
    given = (variable for variable, value in sorted(os.environ.items()) if value)
    return next((variable for variable in given if variable.upper() == wanted or variable.upper().startswith(f"{wanted}__")), "")


def broken_variable() -> str:
    """Return the first environment variable whose table is not valid JSON; "" if there is none."""
    for name in ("models", "vision", "presets"):
        variable = f"{ENV_PREFIX}{name.upper()}"
        for found, value in sorted(os.environ.items()):
            if found.upper() == variable and value:
                try:
                    json.loads(value)
                except ValueError:
                    return found
    return ""


def _unknown_environment() -> str:
    """Return the first LLAVA_GATEWAY_ variable that is not a setting, which pydantic-settings would silently ignore; "" if there is
    none.
    """
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(ENV_PREFIX)
        field = name.partition("__")[0].lower()
        if variable.upper().startswith(ENV_PREFIX) and field not in Settings.model_fields and not name.startswith(OTHER_VARIABLES):
            return variable
    return ""


class _TomlFile(TomlConfigSettingsSource):
    """The file of the current `Settings.load` call; pydantic-settings has no other way to pass it to a source."""

    path: Path | None = None

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls, toml_file=type(self).path)
