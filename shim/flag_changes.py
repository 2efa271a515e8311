"""Changes the flags of a migration, as its guard (`FlagSwitch`) or its rollout (`FlagDial`) decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from migration.guard import Exposure, FlagShown


class _Admin(Protocol):
    """What is needed of whoever changes flags."""

    def get(self, name: str) -> Any: ...
    def ensure(self, name: str) -> Any: ...
    def set_percentage(self, name: str, percentage: int) -> Any: ...
    def set_exposure(self, name: str, exposure: Exposure) -> Any: ...
    def turn_off(self, name: str, reason: str) -> Any: ...
    def turn_on(self, name: str) -> Any: ...


class FlagSwitch:
    """Changes the two flags of a migration.

    Args:
        admin: makes whoever can change flags; asked when something is to be changed.
        shadow_suffix: what the second flag's name ends in.
    """

    def __init__(self, admin: Callable[[], _Admin], *, shadow_suffix: str) -> None:
        self._admin = admin
        self._suffix = shadow_suffix

    def turn_off(self, migration: str, *, because: str) -> str:
        """Turn the migration's flag off; the reason stands in its description.

        Raises:
            flags.FlagError: it could not be changed.
        """
        flag = self._admin().turn_off(migration, because)
        return "on" if flag.enabled else "off"

    def compare_more(self, migration: str, *, percent: int, because: str) -> None:
        """Let at least `percent` of the calls be compared.

        Raises:
            flags.FlagError: it could not be changed.
        """
        del because  # a flag's description holds only why it is off
        admin, name = self._admin(), migration + self._suffix
        flag = admin.ensure(name)
        if not flag.enabled or flag.percentage is None or flag.percentage < percent:
            admin.set_percentage(name, percent)
            admin.turn_on(name)


class FlagDial:
    """Sets one flag; every method raises `flags.FlagError` if it could not do what it was asked.

    Args:
        admin: makes whoever can change flags; asked when something is to be changed.
    """

    def __init__(self, admin: Callable[[], _Admin]) -> None:
        self._admin = admin

    def shown(self, migration: str) -> FlagShown:
        """The flag as it is."""
        flag = self._admin().get(migration)
        exposure = None if flag.percentage is None else Exposure(flag.percentage, flag.instance)
        return FlagShown(enabled=flag.enabled, exposure=exposure)

    def open(self, migration: str, exposure: Exposure) -> None:
        """Make the flag if there is none, let in exactly these calls, and turn it on."""
        admin = self._admin()
        admin.ensure(migration)
        admin.set_exposure(migration, exposure)
        admin.turn_on(migration)

    def set(self, migration: str, exposure: Exposure) -> None:
        """Let in exactly these calls; a flag that is off stays off."""
        self._admin().set_exposure(migration, exposure)

    def close(self, migration: str, *, because: str) -> None:
        """Turn the flag off first, which takes effect for all, and then let nobody in should it be turned on again."""
        admin = self._admin()
        admin.turn_off(migration, because)
        admin.set_exposure(migration, Exposure(0))
