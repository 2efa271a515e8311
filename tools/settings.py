"""What can be configured about the monolith, beyond what `shim.settings` has for any migration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shim.errors import ConfigurationError
from shim.settings import MEGABYTE, ShimSettings, WebAddress, reload_settings, settings_in_force, use_settings

__all__ = ["MEGABYTE", "Settings", "WebAddress", "get_settings", "reload_settings", "use_settings"]


class Settings(ShimSettings):
    """Everything that can be configured, with its default.

    Field names are the environment variables in lower case. Times are in seconds, sizes in bytes.
    """

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

    shim_allowed_roots: Annotated[tuple[Path, ...], NoDecode] = ()

    upload_concurrency: int = Field(default=32, ge=1, le=1000)
    upload_connect_timeout: float = Field(default=10.0, gt=0)
    upload_timeout: float = Field(default=600.0, gt=0)
    query_timeout: float = Field(default=300.0, gt=0)

    @field_validator("shim_allowed_roots", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """The variable holds folders as `PATH` does."""
        return tuple(filter(None, value.split(os.pathsep))) if isinstance(value, str) else value

    @property
    def upload_connections(self) -> int:
        """Connections that uploads to both providers need at once: each upload uses one at a time."""
        return 2 * self.upload_concurrency

    @property
    def uploads_db(self) -> Path:
        """Where the processes of this machine keep the journal of uploads, and the rows of the embedded storage."""
        return self.shim_home / "uploads.db"

    @property
    def storage_folder(self) -> Path:
        """Where the embedded storage has its copies."""
        return self.shim_home / "storage"

    @property
    def trials_folder(self) -> Path:
        """Where live shadows have their private copies of files."""
        return self.shim_home / "shadows"


def get_settings() -> Settings:
    """The configuration in force here.

    Raises:
        ConfigurationError: a variable has a wrong value; the message names it.
    """
    return settings_in_force(Settings)


class ProviderSettings(BaseSettings):
    """What can be configured of a provider for which `Settings` has no fields; None is the provider's own default."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    api_key: SecretStr | None = None
    api_url: WebAddress | None = None
    model: str | None = None
    max_bytes: int | None = Field(default=None, gt=0)


def provider_settings(name: str) -> ProviderSettings:
    """The variables `NAME_API_KEY`, `NAME_API_URL`, `NAME_MODEL` and `NAME_MAX_BYTES` of the environment.

    Raises:
        ConfigurationError: a variable has a wrong value; the message names it.
    """
    try:
        return ProviderSettings(_env_prefix=f"{name}_")  # pyright: ignore[reportCallIssue]  # an argument of pydantic-settings that is not in its signature
    except ValidationError as invalid:
        problems = ConfigurationError.from_validation(invalid).problems
        raise ConfigurationError({f"{name.upper()}_{field}": told for field, told in problems.items()}) from None
