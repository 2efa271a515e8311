"""The one place that reads the environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tools.errors import ConfigurationError

MEGABYTE = 1024 * 1024


def _web_address(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    if "@" in urlsplit(value).netloc:
        raise ValueError("must not hold a user or password: addresses are shown, keys have variables of their own")
    return value.rstrip("/")


WebAddress = Annotated[str, AfterValidator(_web_address)]


def _default_home() -> Path:
    """State lives where the XDG base directory specification puts it."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "shim"


class Settings(BaseSettings):
    """Everything that can be configured, with its default.

    Field names are the environment variables in lower case. Times are in seconds, sizes in bytes.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    kimi_api_key: SecretStr | None = None
    kimi_api_url: WebAddress = "https://api.moonshot.ai/v1"
    kimi_model: str = "kimi-k2-0905-preview"
    kimi_max_bytes: int = Field(default=100 * MEGABYTE, gt=0)

    glm_api_key: SecretStr | None = None
    glm_api_url: WebAddress = "https://api.z.ai/api/paas/v4"
    glm_model: str = "glm-4.6"
    glm_max_bytes: int = Field(default=20 * MEGABYTE, gt=0)

    supabase_url: WebAddress | None = None
    supabase_service_role_key: SecretStr | None = None
    supabase_bucket: str = "user-files"

    unleash_url: WebAddress | None = None
    unleash_api_token: SecretStr | None = None
    unleash_admin_token: SecretStr | None = None
    unleash_project: str = "default"
    unleash_environment: str = "development"
    unleash_flags_file: Path | None = None
    unleash_refresh_seconds: float = Field(default=1.0, gt=0, le=60)

    shim_home: Path = Field(default_factory=_default_home)
    shim_allowed_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    shim_prometheus_port: int | None = Field(default=None, ge=0, le=65535)
    shim_prometheus_url: WebAddress | None = None
    shim_instance: str = Field(default_factory=socket.gethostname, min_length=1, max_length=200)
    shim_ledger_days: int = Field(default=30, ge=1, le=3650)
    shim_console_token: SecretStr | None = Field(default=None, min_length=16)
    shim_guard_policy: str = ""
    shim_guard_hang_seconds: float = Field(default=120.0, gt=0)

    upload_concurrency: int = Field(default=32, ge=1, le=1000)
    upload_connect_timeout: float = Field(default=10.0, gt=0)
    upload_timeout: float = Field(default=600.0, gt=0)
    query_timeout: float = Field(default=300.0, gt=0)

    shadow_queue: int = Field(default=64, ge=1, le=10_000)
    shadow_queue_bytes: int = Field(default=256 * MEGABYTE, gt=0)
    shadow_max_bytes: int = Field(default=64 * MEGABYTE, gt=0)
    shadow_hourly_bytes: int = Field(default=8192 * MEGABYTE, gt=0)
    shadow_timeout: float = Field(default=60.0, gt=0)
    shadow_patience: float = Field(default=1.0, ge=0)
    shadow_meets: float = Field(default=0.005, gt=0, le=1)
    shadow_noise_share: float = Field(default=0.1, ge=0, le=1)
    shadow_mode: Literal["replay", "live", "kept"] = "replay"
    shadow_live_objects: int = Field(default=20, ge=1, le=10_000)
    shadow_live_hourly_bytes: int = Field(default=256 * MEGABYTE, gt=0)
    shadow_live_timeout: float = Field(default=30.0, gt=0)
    drain_timeout: float = Field(default=10.0, ge=0)

    @property
    def upload_connections(self) -> int:
        """Connections that uploads to both providers need at once: each upload uses one at a time."""
        return 2 * self.upload_concurrency

    @property
    def flags_file(self) -> Path:
        """The file that flags are read from when there is no Unleash server."""
        return self.unleash_flags_file or self.shim_home / "flags.json"

    @property
    def ledger_file(self) -> Path:
        """Where the processes of this machine record calls and comparisons."""
        return self.shim_home / "ledger.db"

    @property
    def journal_file(self) -> Path:
        """Where the processes of this machine write down what they are about to upload."""
        return self.shim_home / "journal.db"

    @property
    def undo_file(self) -> Path:
        """Where the processes of this machine write down what live shadows make, until it is undone."""
        return self.shim_home / "shadows.db"

    @property
    def vitals_file(self) -> Path:
        """Where the processes of this machine write down what the console shows of them."""
        return self.shim_home / "vitals.db"

    @property
    def trials_folder(self) -> Path:
        """Where live shadows have their private copies of files."""
        return self.shim_home / "shadows"


@cache
def _from_environment() -> Settings:
    roots = os.environ.get("SHIM_ALLOWED_ROOTS", "")
    try:
        return Settings(shim_allowed_roots=tuple(Path(root) for root in roots.split(os.pathsep) if root))
    except ValidationError as invalid:
        raise ConfigurationError.from_validation(invalid) from None


_override: ContextVar[Settings | None] = ContextVar("settings_override", default=None)


def get_settings() -> Settings:
    """The configuration in force here.

    Raises:
        ConfigurationError: a variable has a wrong value; the message names it.
    """
    return _override.get() or _from_environment()


@contextmanager
def use_settings(settings: Settings) -> Iterator[None]:
    """Put other settings in force for this context: a rehearsal, a sandbox, a test."""
    token = _override.set(settings)
    try:
        yield
    finally:
        _override.reset(token)


def reload_settings() -> None:
    """Read the environment anew at the next `get_settings()`."""
    _from_environment.cache_clear()
