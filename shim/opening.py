"""Opens each part as the settings say: flags, the ledger, the guard, its file, rollouts.

Part of the composition root, for everybody who only looks or steers: nothing is put in front of any function.
"""

from __future__ import annotations

import uuid

from flags import SHADOW_SUFFIX, FileFlagAdmin, FlagAdmin, UnleashFlagAdmin, UnleashRouter
from migration import Call, Decision, Ledger, calling_site
from migration.guard import Guard, GuardStore, LedgerTallies, RolloutController, RolloutStore, Tallies
from observability import PrometheusTallies
from shim.flag_changes import FlagDial, FlagSwitch
from shim.guarding import ProcessMemory, policy_of
from tools.errors import ConfigurationError
from tools.recovery.made import things_made
from tools.settings import Settings


def open_ledger(settings: Settings) -> Ledger:
    """The record of calls and comparisons that all processes of this machine share."""
    return Ledger(settings.ledger_file, keep_days=settings.shim_ledger_days)


def open_guard_store(settings: Settings) -> GuardStore:
    """What the guard has decided, shared by all processes of this machine."""
    return GuardStore(settings.shim_home / "guard.db")


def open_guard(settings: Settings, router: UnleashRouter) -> Guard:
    """The guard; where it may not change the server's flags, it can only make this machine's processes use legacy."""
    return Guard(
        router,
        store=open_guard_store(settings),
        switch=flag_switch(settings),
        gauge=ProcessMemory(),
        policy=policy_of(settings.shim_guard_policy),
        hang_seconds=settings.shim_guard_hang_seconds,
        made=things_made,
    )


def flag_admin(settings: Settings) -> FlagAdmin:
    """What changes the flags: the Unleash server when one is configured, otherwise the flags file.

    Raises:
        ConfigurationError: a server is configured without `UNLEASH_ADMIN_TOKEN`.
    """
    if settings.unleash_url is None:
        return FileFlagAdmin(settings.flags_file)
    if settings.unleash_admin_token is None:
        raise ConfigurationError({"UNLEASH_ADMIN_TOKEN": "must be set to change flags on an Unleash server"})
    return UnleashFlagAdmin(
        settings.unleash_url,
        settings.unleash_admin_token.get_secret_value(),
        project=settings.unleash_project,
        environment=settings.unleash_environment,
    )


def flag_switch(settings: Settings) -> FlagSwitch | None:
    """What turns a migration's flags off and on; None for a server without `UNLEASH_ADMIN_TOKEN`."""
    if settings.unleash_url is not None and settings.unleash_admin_token is None:
        return None
    return FlagSwitch(lambda: flag_admin(settings), shadow_suffix=SHADOW_SUFFIX)


def open_rollout(settings: Settings, migration: str) -> RolloutController:
    """The controller of a migration's rollout; it counts the calls of this machine, or of all in Prometheus.

    Raises:
        ConfigurationError: a server is configured without `UNLEASH_ADMIN_TOKEN`.
    """
    flag_admin(settings)  # says at once what is missing
    return RolloutController(
        migration,
        store=RolloutStore(open_guard_store(settings).path),
        dial=FlagDial(lambda: flag_admin(settings)),
        tallies=_tallies(settings),
    )


def _tallies(settings: Settings) -> Tallies:
    if settings.shim_prometheus_url is not None:
        return PrometheusTallies(settings.shim_prometheus_url)
    return LedgerTallies(open_ledger(settings))


def has_no_flags_yet(settings: Settings) -> bool:
    """Whether nobody has made the flags so far: there is neither a server nor a flags file."""
    return settings.unleash_url is None and not settings.flags_file.exists()


def open_router(settings: Settings) -> UnleashRouter:
    """The router, which decides by the flags of the Unleash server when one is configured, otherwise by the flags file.

    Raises:
        ConfigurationError: a server is configured without `UNLEASH_API_TOKEN`.
    """
    if settings.unleash_url is None:
        return UnleashRouter.from_file(settings.flags_file, app_name="upload-shim", instance=settings.shim_instance)
    if settings.unleash_api_token is None:
        raise ConfigurationError({"UNLEASH_API_TOKEN": "must be set when UNLEASH_URL is"})
    return UnleashRouter.from_server(
        settings.unleash_url,
        settings.unleash_api_token.get_secret_value(),
        app_name="upload-shim",
        refresh_seconds=settings.unleash_refresh_seconds,
        instance=settings.shim_instance,
    )


def decision_now(router: UnleashRouter, migration: str) -> Decision:
    """What would be decided for a call made now; its probabilities are the shares in force."""
    call = Call(migration=migration, function=migration, unit=uuid.uuid4().hex, args=(), kwargs={}, site=calling_site())
    return router.decide(call)
