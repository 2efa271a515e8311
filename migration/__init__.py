"""Puts one callable in front of a legacy function and its candidate: routes, compares, rolls back.

What a declaration and its installation take is here. Everything else is in the rooms: `migration.model` (calls,
outcomes, comparisons, ports, errors), `migration.routing`, `migration.running`, `migration.shadow`, `migration.store`,
`migration.guard`, `migration.rollout`, `migration.testing`.
"""

from migration.model.declaration import Migration
from migration.model.errors import AwaitInsteadError, CandidateCancelledError, DeclarationError, MigrationError
from migration.model.model import Call, Comparison, Decision, Reason, ShadowMode, Side
from migration.model.ports import Live, Observer, Replay, Router
from migration.routing.install import install, migrate, uninstall
from migration.routing.runtime import AlwaysLegacy, Runtime, call_blocking, use_runtime
from migration.shadow.admission import ShadowLimits
from migration.shadow.replay import ReadOnly

__all__ = [
    "AlwaysLegacy",
    "AwaitInsteadError",
    "Call",
    "CandidateCancelledError",
    "Comparison",
    "Decision",
    "DeclarationError",
    "Live",
    "Migration",
    "MigrationError",
    "Observer",
    "ReadOnly",
    "Reason",
    "Replay",
    "Router",
    "Runtime",
    "ShadowLimits",
    "ShadowMode",
    "Side",
    "call_blocking",
    "install",
    "migrate",
    "uninstall",
    "use_runtime",
]
