"""Keys that must never be seen, and how to look for them."""

from __future__ import annotations

import base64
from urllib.parse import quote

CORES = {
    "KIMI_API_KEY": "Pl4nt3d/Kimi+key=q7",
    "GLM_API_KEY": "Pl4nt3d/Glm+key=w8",
    "SUPABASE_SERVICE_ROLE_KEY": "Pl4nt3d-Supabase-key-e9",
    "UNLEASH_API_TOKEN": "Pl4nt3d-Unleash-api-r1",
    "UNLEASH_ADMIN_TOKEN": "Pl4nt3d-Unleash-admin-t2",
    "OTEL_EXPORTER_OTLP_HEADERS": "Pl4nt3d-Otel-key-y3",
}
"""What is secret in the value of each variable."""

VARIABLES = {
    "KIMI_API_KEY": f"sk-{CORES['KIMI_API_KEY']}",
    "GLM_API_KEY": f"0123456789.{CORES['GLM_API_KEY']}",
    "SUPABASE_SERVICE_ROLE_KEY": f"sb_secret_{CORES['SUPABASE_SERVICE_ROLE_KEY']}",
    "UNLEASH_API_TOKEN": f"*:development.{CORES['UNLEASH_API_TOKEN']}",
    "UNLEASH_ADMIN_TOKEN": f"*:*.{CORES['UNLEASH_ADMIN_TOKEN']}",
    "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={CORES['OTEL_EXPORTER_OTLP_HEADERS']}",
}
"""The environment with the keys in it."""


def _forms(core: str) -> set[bytes]:
    """A text as it may be written: plain, percent-encoded, escaped, in hexadecimal, within something in base64."""
    raw = core.encode()
    forms = {raw, quote(core, safe="").encode(), quote(core).encode(), core.replace("/", "\\/").encode()}
    forms.add(raw.hex().encode())
    for before, mixed in ((0, 0), (1, 2), (2, 3)):  # bytes in front, and characters that also depend on these
        whole = b"\0" * before + raw
        kept = len(whole) // 3 * 4
        forms |= {encode(whole)[mixed:kept] for encode in (base64.b64encode, base64.urlsafe_b64encode)}
    return forms


NEEDLES = {variable: _forms(core) for variable, core in CORES.items()}


def seen_in(content: bytes) -> list[str]:
    """The variables whose keys stand in there, in any form."""
    return sorted(variable for variable, forms in NEEDLES.items() if any(form in content for form in forms))
