"""The page of flags: which there are, and what a strategy can ask for."""

from __future__ import annotations

from docs_reference.markdown import code, table
from docs_reference.markdown import page as a_page
from flags import SHADOW_SUFFIX
from flags.definitions import BUCKET, BUCKETS, INSTANCE
from migration import Reason
from tools.migrations import MIGRATIONS, NAMES

ATTRIBUTES = ("upload.provider", "file.count", "file.size")
"""What this monolith's declarations show of a call."""


def page() -> str:
    """The flags of this monolith, the context of a decision, and the reasons of decisions."""
    return a_page("Flags", _flags(), "## What a strategy sees", _context(), "## Why it was decided so", _reasons())


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
