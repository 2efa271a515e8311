"""Opens each part as the settings say: flags, the ledger, the guard, its file, rollouts.

Part of the composition root, for everybody who only looks or steers: nothing is put in front of any function.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from flags import (
    SHADOW_SUFFIX,
    FileFlagAdmin,
    FlagAdmin,
    FlagError,
    FlagNotFoundError,
    FlagServerError,
    UnleashFlagAdmin,
    UnleashRouter,
)
from migration import Call, Decision, Router
from migration.guard import Action, FlagGoneError, Guard, GuardStore, Policy, Rule
from migration.model import Operation
from migration.rollout import Exposure, FlagShown, LedgerTallies, RolloutController, RolloutStore, Tallies
from migration.running import calling_site
from migration.store import Ledger
from shim.errors import ConfigurationError
from shim.prometheus import PrometheusTallies
from shim.settings import ShimSettings

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says how much memory a control group may have, in its second and its first version."""


_POLICY = "SHIM_GUARD_POLICY"


def policy_of(text: str) -> Policy:
    """What each rule calls for; the usual, but for what `text` says (`rule:action,rule:action`).

    Raises:
        ConfigurationError: a rule or an action does not exist, or something is said twice; the message names it.
    """
    chosen: dict[str, Action] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        rule, _, action = (each.strip() for each in word.partition(":"))
        if rule not in set(Rule):
            raise ConfigurationError({_POLICY: f"{word!r} names no rule; there are {', '.join(Rule)}"})
        if action.upper() not in Action.__members__:
            words = ", ".join(each.word for each in Action)
            raise ConfigurationError({_POLICY: f"{word!r} names no action; write {rule}: and one of {words}"})
        if rule in chosen:
            raise ConfigurationError({_POLICY: f"{rule} is named twice"})
        chosen[rule] = Action[action.upper()]
    return Policy(**chosen)


class ProcessMemory:
    """This process's memory, as the operating system tells it."""

    def __init__(self) -> None:
        self._limit = min(psutil.virtual_memory().total, *filter(None, map(_read_limit, _CGROUP_LIMITS)), 2**63)

    def used(self) -> int:
        """Resident bytes."""
        return int(psutil.Process().memory_info().rss)

    def limit(self) -> int:
        """Bytes that the process may have: the smaller of its control group's limit and the machine's memory."""
        return self._limit


def _read_limit(path: str) -> int | None:
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


class MigrationFlags:
    """Changes the flags of migrations, as the guard (`FlagSwitch`) or a rollout (`FlagDial`) decides.

    Every method raises `flags.FlagError` if the flag could not be changed, and `FlagGoneError` if there is none.

    Args:
        admin: opens what changes flags; called for each change, so that each has a connection of its own.
    """

    def __init__(self, admin: Callable[[], FlagAdmin]) -> None:
        self._admin = admin

    def turn_off(self, migration: str, *, because: str) -> str:
        """Turn the migration's flag off; the reason is added to its description."""
        admin = self._admin()
        with _told_if_gone(admin, migration):
            return "on" if admin.turn_off(migration, because).enabled else "off"

    def compare_more(self, migration: str, *, percent: int, because: str) -> None:
        """Let at least `percent` of the calls be compared."""
        del because  # a flag's description holds only why it is off
        admin, name = self._admin(), migration + SHADOW_SUFFIX
        with _told_if_gone(admin, name):
            flag = admin.ensure(name)
            if not flag.enabled or flag.percentage is None or flag.percentage < percent:
                admin.set_percentage(name, percent)
                admin.turn_on(name)

    def shown(self, migration: str) -> FlagShown:
        """The flag as it is."""
        flag = self._admin().get(migration)
        exposure = None if flag.percentage is None else Exposure(flag.percentage, flag.instance)
        return FlagShown(enabled=flag.enabled, exposure=exposure)

    def open(self, migration: str, exposure: Exposure) -> None:
        """Create the flag if there is none, let in exactly these calls, and turn it on."""
        admin = self._admin()
        with _told_if_gone(admin, migration):
            admin.ensure(migration)
            admin.set_exposure(migration, exposure)
            admin.turn_on(migration)

    def set(self, migration: str, exposure: Exposure) -> None:
        """Let in exactly these calls; a flag that is off stays off."""
        admin = self._admin()
        with _told_if_gone(admin, migration):
            admin.set_exposure(migration, exposure)

    def close(self, migration: str, *, because: str) -> None:
        """Turn the flag off, which takes effect at once, and then set it to 0 %, should it be turned on again."""
        admin = self._admin()
        with _told_if_gone(admin, migration):
            admin.turn_off(migration, because)
            admin.set_exposure(migration, Exposure(0))


@contextmanager
def _told_if_gone(admin: FlagAdmin, name: str) -> Iterator[None]:
    """Turn an answer that means "there is no such flag" into `FlagGoneError`."""
    try:
        yield
    except FlagError as error:
        if not _is_gone(admin, name, error):
            raise
        gone = f"there is no flag {name} (any more), so no call is routed by it and there is nothing to change"
        raise FlagGoneError(gone) from None


def _is_gone(admin: FlagAdmin, name: str, error: FlagError) -> bool:
    """Whether a change failed because the flag is archived (Unleash answers 400 or 404) or was never made.

    The list of all flags decides: a proxy in front of a server that restarts answers 404 as well.
    """
    is_refused = isinstance(error, FlagServerError) and error.status is not None
    if not is_refused and not isinstance(error, FlagNotFoundError):
        return False
    try:
        return all(flag.name != name for flag in admin.list())
    except FlagError:
        return False


# Opens each part as the settings say: flags, the ledger, the guard, its file, rollouts.


def open_ledger(settings: ShimSettings) -> Ledger:
    """The record of calls and comparisons that all processes of this machine share."""
    return Ledger(settings.shim_db, keep_days=settings.shim_ledger_days)


def open_guard_store(settings: ShimSettings) -> GuardStore:
    """What the guard has decided, shared by all processes of this machine."""
    return GuardStore(settings.shim_db)


def open_guard(
    settings: ShimSettings,
    router: UnleashRouter,
    *,
    check_state: Callable[[], object] = lambda: None,
    made: Callable[[Operation], Sequence[Mapping[str, str]]] | None = None,
) -> Guard:
    """The guard; where it may not change the server's flags, it can only make this machine's processes use legacy.

    Args:
        settings: the configuration.
        router: the flags.
        check_state: looks at the application's own files; see `Guard`.
        made: says what a call of the candidate has made, for an audit.
    """
    return Guard(
        router,
        store=open_guard_store(settings),
        switch=flag_switch(settings),
        gauge=ProcessMemory(),
        policy=policy_of(settings.shim_guard_policy),
        hang_seconds=settings.shim_guard_hang_seconds,
        check_state=check_state,
        made=made,
    )


def flag_admin(settings: ShimSettings) -> FlagAdmin:
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


def flag_switch(settings: ShimSettings) -> MigrationFlags | None:
    """What turns a migration's flags off and on; None for a server without `UNLEASH_ADMIN_TOKEN`."""
    if settings.unleash_url is not None and settings.unleash_admin_token is None:
        return None
    return MigrationFlags(lambda: flag_admin(settings))


def open_rollout(settings: ShimSettings, migration: str) -> RolloutController:
    """The controller of a migration's rollout; it counts the calls of this machine, or of all in Prometheus.

    Raises:
        ConfigurationError: a server is configured without `UNLEASH_ADMIN_TOKEN`.
    """
    flag_admin(settings)  # says at once what is missing
    return RolloutController(
        migration,
        store=RolloutStore(open_guard_store(settings).path),
        dial=MigrationFlags(lambda: flag_admin(settings)),
        tallies=_tallies(settings),
    )


def _tallies(settings: ShimSettings) -> Tallies:
    if settings.shim_prometheus_url is not None:
        return PrometheusTallies(settings.shim_prometheus_url)
    return LedgerTallies(open_ledger(settings))


def has_no_flags_yet(settings: ShimSettings) -> bool:
    """Whether the flags are not made yet: there is neither a server nor a flags file."""
    return settings.unleash_url is None and not settings.flags_file.exists()


def open_router(settings: ShimSettings) -> UnleashRouter:
    """The router, which decides by the flags of the Unleash server when one is configured, otherwise by the flags file.

    Raises:
        ConfigurationError: a server is configured without `UNLEASH_API_TOKEN`.
    """
    if settings.unleash_url is None:
        return UnleashRouter.from_file(settings.flags_file, app_name="migration-shim", instance=settings.shim_instance)
    if settings.unleash_api_token is None:
        raise ConfigurationError({"UNLEASH_API_TOKEN": "must be set when UNLEASH_URL is"})
    return UnleashRouter.from_server(
        settings.unleash_url,
        settings.unleash_api_token.get_secret_value(),
        app_name="migration-shim",
        refresh_seconds=settings.unleash_refresh_seconds,
        instance=settings.shim_instance,
    )


def decision_now(router: Router, migration: str) -> Decision:
    """What would be decided for a call made now; its probabilities are the shares in force."""
    call = Call(
        migration=migration, function=migration, call_id=uuid.uuid4().hex, args=(), kwargs={}, site=calling_site()
    )
    return router.decide(call)
