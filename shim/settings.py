"""What can be configured about any migration, and the one mechanism by which settings are read and put in force.

An application that has more to configure derives its own from `ShimSettings` and reads it by
`settings_in_force(ItsSettings)`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from migration.running.propagation import current
from shim.errors import ConfigurationError

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
    if state:
        return Path(state) / "shim"
    try:
        home = Path.home()
    except RuntimeError:  # neither `HOME` nor a name for this user: as in containers, where mostly nothing can be kept
        home = Path("/")
    return home / ".local" / "state" / "shim"


class ShimSettings(BaseSettings):
    """What can be configured about any migration, with its default.

    Field names are the environment variables in lower case. Times are in seconds, sizes in bytes.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    unleash_url: WebAddress | None = None
    unleash_api_token: SecretStr | None = None
    unleash_admin_token: SecretStr | None = None
    unleash_project: str = "default"
    unleash_environment: str = "development"
    unleash_flags_file: Path | None = None
    unleash_refresh_seconds: float = Field(default=1.0, gt=0, le=60)

    shim_home: Path = Field(default_factory=_default_home)
    shim_prometheus_port: int | None = Field(default=None, ge=0, le=65535)
    shim_prometheus_url: WebAddress | None = None
    shim_instance: str = Field(default_factory=socket.gethostname, min_length=1, max_length=200)
    shim_ledger_days: int = Field(default=30, ge=1, le=3650)
    shim_console_token: SecretStr | None = Field(default=None, min_length=16)
    shim_guard_policy: str = ""
    shim_guard_hang_seconds: float = Field(default=120.0, gt=0)

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
    def flags_file(self) -> Path:
        """The file that flags are read from when there is no Unleash server."""
        return self.unleash_flags_file or self.shim_home / "flags.json"

    @property
    def shim_db(self) -> Path:
        """Where the processes of this machine keep what they share: ledger, guard, rollouts, undo journal, samples."""
        return self.shim_home / "shim.db"


S = TypeVar("S", bound=ShimSettings)


@cache
def _from_environment(kind: type[S]) -> S:
    try:
        return kind()
    except ValidationError as invalid:
        raise ConfigurationError.from_validation(invalid) from None


_override: ContextVar[ShimSettings | None] = ContextVar("settings_override", default=None)


def settings_in_force(kind: type[S]) -> S:
    """The configuration in force here, as an application's own kind of settings.

    Raises:
        ConfigurationError: a variable has a wrong value; the message names it.
    """
    found = current(_override)
    return found if isinstance(found, kind) else _from_environment(kind)


def get_settings() -> ShimSettings:
    """The configuration in force here.

    Raises:
        ConfigurationError: a variable has a wrong value; the message names it.
    """
    return settings_in_force(ShimSettings)


@contextmanager
def use_settings(settings: ShimSettings) -> Iterator[None]:
    """Put other settings in force for this context: a replay, a sandbox, a test."""
    token = _override.set(settings)
    try:
        yield
    finally:
        _override.reset(token)


def reload_settings() -> None:
    """Read the environment again the next time that settings are asked for."""
    _from_environment.cache_clear()
