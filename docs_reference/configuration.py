"""The pages of environment variables (defaults from the settings, meanings from here) and of flags."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from docs_reference import code, page, table
from flags import SHADOW_SUFFIX
from flags.definitions import BUCKET, BUCKETS, INSTANCE
from migration import Reason
from tools.migrations import MIGRATIONS, NAMES
from tools.settings import Settings

MEANINGS: Mapping[tuple[str, ...], str] = {
    ("KIMI_API_KEY", "GLM_API_KEY"): "the providers' keys; without one the command line uses the sandbox",
    ("KIMI_API_URL",): "where Kimi is",
    ("GLM_API_URL",): "where GLM is",
    ("KIMI_MODEL", "GLM_MODEL"): "models that answer questions",
    ("KIMI_MAX_BYTES", "GLM_MAX_BYTES"): "largest file, bytes",
    ("SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"): "the storage; without both, a folder with SQLite in `SHIM_HOME`",
    ("SUPABASE_BUCKET",): "bucket of the copies",
    ("UNLEASH_URL", "UNLEASH_API_TOKEN"): "the Unleash server, and a backend token",
    ("UNLEASH_ADMIN_TOKEN",): "lets `shim flags` change flags on the server",
    ("UNLEASH_PROJECT", "UNLEASH_ENVIRONMENT"): "where `shim flags` changes them",
    ("UNLEASH_FLAGS_FILE",): "the flags without a server; an edit takes effect within a second",
    ("UNLEASH_REFRESH_SECONDS",): "between two polls of the server",
    ("SHIM_HOME",): "state of this machine (follows `XDG_STATE_HOME`)",
    ("SHIM_ALLOWED_ROOTS",): "folders whose files may be asked about, separated by `:`",
    ("SHIM_LEDGER_DAYS",): "days after which comparisons are forgotten",
    ("SHIM_CONSOLE_TOKEN",): "what rolling back on the console page takes, at least 16 characters",
    (
        "SHIM_GUARD_POLICY",
    ): "what the guard does by which rule, where it is not the usual: `error_rate:rollback,new_kind:none` (`none`, `freeze`, `rollback`)",
    ("SHIM_GUARD_HANG_SECONDS",): "seconds after which an upload in flight counts as a timeout, for both paths alike",
    ("SHIM_PROMETHEUS_PORT",): "port of a Prometheus endpoint on the loopback; 0 takes a free one",
    ("SHIM_PROMETHEUS_URL",): "the Prometheus that scrapes all machines; `shim rollout` counts their calls there",
    ("SHIM_INSTANCE",): "by which `shim rollout` can begin with this process alone",
    ("UPLOAD_CONCURRENCY",): "uploads at once to each provider on the asynchronous path; fewer if it refuses more",
    ("UPLOAD_CONNECT_TIMEOUT", "UPLOAD_TIMEOUT"): "seconds to connect, seconds in all",
    ("QUERY_TIMEOUT",): "seconds for reading a document and answering a question",
    ("SHADOW_QUEUE", "SHADOW_QUEUE_BYTES"): "comparisons waiting or running, and the bytes of their files",
    (
        "SHADOW_TIMEOUT",
        "SHADOW_PATIENCE",
    ): "seconds for a comparison with its wait, seconds of that for which uploads in flight go first",
    (
        "SHADOW_MEETS",
    ): "share of the uploads that may be in flight while a comparison runs, which slows them; 1 for no limit",
    (
        "SHADOW_MAX_BYTES",
        "SHADOW_HOURLY_BYTES",
    ): "largest upload that is compared, and what comparisons of one process may read within an hour, bytes",
    (
        "SHADOW_NOISE_SHARE",
    ): "share of the comparisons for which legacy runs twice, to learn in what it differs from itself",
    (
        "SHADOW_MODE",
    ): "how the shadow of a compared upload runs: `replay` (nothing is created), `live` (really uploads, is compared and undone), `kept` (dual write)",
    (
        "SHADOW_LIVE_OBJECTS",
        "SHADOW_LIVE_HOURLY_BYTES",
    ): "files of live shadows that may be there at once, and bytes that these may upload within an hour, on one machine",
    ("SHADOW_LIVE_TIMEOUT",): "seconds in which a live shadow must have uploaded and be read back",
    ("DRAIN_TIMEOUT",): "seconds that uploads in flight may take at exit, and after SIGTERM",
}
"""What each variable means; several that differ in their prefix only stand together."""

COMPUTED: Mapping[str, str] = {
    "SHIM_HOME": "`~/.local/state/shim`",
    "SHIM_INSTANCE": "name of the machine",
    "SHIM_ALLOWED_ROOTS": "the working directory",
    "UNLEASH_FLAGS_FILE": "`SHIM_HOME/flags.json`",
}
"""Defaults that are worked out when the program starts."""


def configuration_page() -> str:
    """Every variable with its default and its meaning."""
    rows = [
        (", ".join(map(code, names)), ", ".join(dict.fromkeys(map(default, names))), meaning)
        for names, meaning in MEANINGS.items()
    ]
    return page(
        "Configuration",
        "Environment variables; a wrong value is reported by name before anything starts. Times are in seconds, sizes in bytes.",
        table(("variable", "default", "meaning"), rows),
        "The standard `OTEL_*` variables say where telemetry goes; nothing is sent unless `OTEL_EXPORTER_OTLP_ENDPOINT` (or one of its "
        "siblings) is set.",
    )


def default(variable: str) -> str:
    """What holds when the variable is not set."""
    if variable in COMPUTED:
        return COMPUTED[variable]
    value = Settings.model_fields[variable.lower()].default
    if value is None or value is PydanticUndefined or value in {"", ()} or isinstance(value, SecretStr):
        return "none"
    return f"{value:g}" if isinstance(value, float) else (code(value) if isinstance(value, str) else str(value))


ATTRIBUTES = ("upload.provider", "file.count", "file.size")
"""What this monolith's declarations show of a call."""


def flags_page() -> str:
    """The flags of this monolith, the context of a decision, and the reasons of decisions."""
    return page("Flags", _flags(), "## What a strategy sees", _context(), "## Why it was decided so", _reasons())


def _flags() -> str:
    rows = []
    for name in NAMES:
        functions = ", ".join(code(target) for target, each in MIGRATIONS.items() if each.name == name)
        rows.append((code(name), "share of the calls that the candidate answers", functions))
        rows.append((code(f"{name}{SHADOW_SUFFIX}"), "share of the calls that a shadow compares", functions))
    return table(("flag", "percentage", "functions"), rows)


def _context() -> str:
    return table(
        ("field", "what it holds"),
        [
            ("`sessionId`", "the call id: percentages are taken of it"),
            ("`userId`", "the attribute `user` of the declaration, if it gives one"),
            ("`appName`", "`migration-shim`"),
            (f"property `{INSTANCE}`", "`SHIM_INSTANCE`"),
            (f"property `{BUCKET}`", f"a number below {BUCKETS:,}, drawn from the call id: for shares below 1 %"),
            *((f"property `{name}`", "of the call's files, as the declaration gives it") for name in ATTRIBUTES),
        ],
    )


def _reasons() -> str:
    return table(("reason",), [(code(reason.value),) for reason in Reason])
