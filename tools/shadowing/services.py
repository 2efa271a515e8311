"""Which service an address belongs to, and settings that lead every service to the recorder of a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tools.settings import Settings

_ADDRESSES = {"kimi": "kimi_api_url", "glm": "glm_api_url", "supabase": "supabase_url"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is for, wherever the service happens to be."""

    service: str
    method: str
    path: str


LISTINGS = frozenset(Target(service, "GET", "/files") for service in ("kimi", "glm"))
"""Looking changes nothing and is not compared: one side looks where the other sends again on a guess."""


def target_of(settings: Settings, method: str, url: str) -> Target | None:
    """The service and the path below its address; None for an address of no known service."""
    for service, field in _ADDRESSES.items():
        base = getattr(settings, field)
        if base is not None and url.startswith((base + "/", base + "?")):
            return Target(service, method.upper(), unquote(urlsplit(url[len(base) :]).path))
    return None


def with_every_service_at(recorder: str, settings: Settings) -> Settings:
    """The same settings with every service at the recorder's address."""
    return settings.model_copy(
        update={field: f"{recorder}/{service}" for service, field in _ADDRESSES.items() if getattr(settings, field)}
    )


def known_credentials(settings: Settings) -> dict[str, str]:
    """Each configured credential with the name under which a report may show it."""
    fields = ("kimi_api_key", "glm_api_key", "supabase_service_role_key")
    secrets = {field: getattr(settings, field) for field in fields}
    return {secret.get_secret_value(): f"<{field}>" for field, secret in secrets.items() if secret is not None}
