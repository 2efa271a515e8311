"""The services of an upload, as a replay knows them: their addresses, credentials, headers and answers."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Final

from shim.http.facts import COMPARED_HEADERS, RequestFacts, RequestTarget, target_of
from shim.http.recording import Exchange
from tools.providers.answers import listed_name
from tools.providers.spec import PROVIDERS
from tools.settings import Settings


def is_listing(target: RequestTarget) -> bool:
    """Looking changes nothing and is not compared: one side looks where the other sends again on a guess."""
    return target.service in PROVIDERS and (target.method, target.path) == ("GET", "/files")


def _addresses(settings: Settings) -> Mapping[str, tuple[str, str]]:
    """The name of the setting and the address of each service that is configured."""
    found = {name: (each.address_setting, each.address(settings)) for name, each in PROVIDERS.items()}
    supabase = {} if settings.supabase_url is None else {"supabase": ("supabase_url", settings.supabase_url)}
    return {name: where for name, where in (found | supabase).items() if where[1]}


def upload_target(settings: Settings, method: str, url: str) -> RequestTarget | None:
    """What a request is for; None for an address of no known service."""
    return target_of({name: address for name, (_, address) in _addresses(settings).items()}, method, url)


def may_upload(settings: Settings, method: str, url: str) -> bool:
    """Whether a request can be one of an upload: of a file to a provider, of an object to Supabase."""
    target = upload_target(settings, method, url)
    if target is None or target.method in {"GET", "HEAD", "DELETE"}:
        return False
    return target.path.startswith("/files" if target.service in PROVIDERS else "/storage/")


def with_every_service_at(recorder: str, settings: Settings) -> Settings:
    """The same settings with every service at the recorder's address."""
    places = {field: f"{recorder}/{service}" for service, (field, _) in _addresses(settings).items()}
    return settings.model_copy(update=places)


def known_credentials(settings: Settings) -> dict[str, str]:
    """Each configured credential with the name under which a report may show it."""
    secrets = {each.key_setting: each.secret(settings) for each in PROVIDERS.values()}
    secrets["supabase_service_role_key"] = settings.supabase_service_role_key
    return {secret.get_secret_value(): f"<{field}>" for field, secret in secrets.items() if secret is not None}


def _metadata(value: str) -> object:
    """Supabase's object metadata: JSON in base64; anything else is compared as it is."""
    try:
        return json.loads(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return value


HEADERS: Final[Mapping[str, Callable[[str], object]]] = {
    **COMPARED_HEADERS,
    "accept-profile": str,
    "content-profile": str,
    "x-metadata": _metadata,
    "x-upsert": str,
}
"""What is compared of which headers: those of any service, and Supabase's."""


def is_final(answer: Exchange) -> bool:
    """Whether this answer is a refusal for good, which a retry does not change."""
    return any(each.files.refuses_for_good(answer.status, answer.body) for each in PROVIDERS.values())


def strangeness(request: RequestFacts) -> Callable[[Exchange], int]:
    """0 for an answer that can be about the file of a request, 1 if it can but for the name, 2 if it cannot.

    Several files that are uploaded at once may arrive in any order. A provider's answer names its file, but providers
    write names in their own way, so an answer is always given, if need be one for a file of this size.
    """

    def of(answer: Exchange) -> int:
        if request.filename is None:
            return 0
        try:
            body = json.loads(answer.body)
        except ValueError:
            return 0
        if not isinstance(body, dict) or "filename" not in body:
            return 0
        if body.get("bytes") != request.size:
            return 2
        return 0 if listed_name(str(body["filename"])) == listed_name(request.filename) else 1

    return of
