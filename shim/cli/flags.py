"""`shim flags`: shows and changes the flags, in the local file or on the server."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flags import SHADOW_SUFFIX, Flag, FlagAdmin, FlagError, FlagNotFoundError
from migration.model import Stage, StageFlags, flags_of, stage_of
from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode
from shim.cli.flag_log import write_down
from shim.cli.output import print_json
from shim.process import who_acts
from shim.wiring import flag_admin
from tools.migrations import NAMES, migrations_with
from tools.settings import Settings, get_settings

_MOST_SUGGESTIONS = 4
_NO_REASON = "no reason was given"


def show_all(*, as_json: bool) -> int:
    """Show all flags."""
    settings = get_settings()
    flags = flag_admin(settings).list()
    if as_json:
        print_json({"source": _source(settings), "flags": [asdict(flag) for flag in flags]})
    elif flags:
        _print_table(flags)
    else:
        Console(highlight=False).print(f"No flags in {_source(settings)} yet: `shim flags create` makes them.")
    return ExitCode.OK


def show(name: str, *, as_json: bool) -> int:
    """Show one flag."""
    with _admin_for(name) as admin:
        return _report(admin.get(name), as_json=as_json)


def create(name: str | None, *, as_json: bool) -> int:
    """Create one flag, or those of all migrations and their shadows."""
    admin = flag_admin(get_settings())
    wanted = [name] if name else [flag for migration in NAMES for flag in (migration, migration + SHADOW_SUFFIX)]
    flags = [admin.ensure(flag) for flag in wanted]
    if as_json:
        print_json([asdict(flag) for flag in flags])
    else:
        _print_table(flags)
    return ExitCode.OK


def set_percentage(name: str, percentage: int, *, as_json: bool) -> int:
    """Set a flag's percentage."""
    with _admin_for(name) as admin:
        flag = admin.set_percentage(name, percentage)
    off = "" if flag.enabled else "; it is off"
    write_down(name, "set", f"{name} was set to {percentage} % by {who_acts()}{off}.")
    return _report(flag, as_json=as_json)


def set_stage(name: str, stage: str, *, percent: int, as_json: bool) -> int:
    """Set both flags of a migration as a stage needs them; who serves first, so that a step back is quick.

    Raises:
        CommandError: no such migration is declared, it is not declared in a way that allows this stage, or `percent`
            does not suit the stage.
    """
    wanted = _stage_flags(name, Stage(stage), percent)
    admin = flag_admin(get_settings())
    percentages = {name: wanted.serve, name + SHADOW_SUFFIX: wanted.shadow}
    for flag_name in percentages:
        admin.ensure(flag_name)
    flags = [_set(admin, flag_name, percentage) for flag_name, percentage in percentages.items()]
    shares = f"{wanted.serve:g} % served by async, {wanted.shadow:g} % compared"
    write_down(name, "stage", f"{name} was put into stage {stage} by {who_acts()}: {shares}.")
    if as_json:
        print_json({"stage": stage, "flags": [asdict(flag) for flag in flags]})
    else:
        _print_table(flags)
    return ExitCode.OK


def turn_on(name: str, *, as_json: bool) -> int:
    """Turn a flag on."""
    with _admin_for(name) as admin:
        flag = admin.turn_on(name)
    write_down(name, "on", f"{name} was turned on by {who_acts()}: {_share(flag)}.")
    return _report(flag, as_json=as_json)


def turn_off(name: str, *, reason: str, as_json: bool) -> int:
    """Turn a flag off; who did it, and why, stands in its description and among the decisions."""
    why = " ".join(reason.split()) or _NO_REASON
    with _admin_for(name) as admin:
        flag = admin.turn_off(name, f"{why} ({who_acts()})")
    write_down(name, "off", f"{name} was turned off by {who_acts()}: {why}.")
    return _report(flag, as_json=as_json)


def _set(admin: FlagAdmin, name: str, percentage: int) -> Flag:
    """Set a percentage, and turn the flag on if that is to have an effect."""
    flag = admin.set_percentage(name, percentage)
    return admin.turn_on(name) if percentage and not flag.enabled else flag


def _stage_flags(name: str, stage: Stage, percent: int) -> StageFlags:
    declared = migrations_with(get_settings().shadow_mode).values()
    modes = {migration.mode for migration in declared if migration.name == name}
    if not modes:
        raise CommandError(f"no migration {name!r} is declared; there are {', '.join(NAMES)}")
    try:
        wanted = flags_of(stage, percent)
    except ValueError as unsuitable:
        raise CommandError(str(unsuitable)) from None
    for mode in modes:
        if stage_of(wanted.serve / 100, wanted.shadow / 100, mode) is not stage:
            raise CommandError(
                f"{name} cannot be in stage {stage}: its shadows are declared as {mode!s} (SHADOW_MODE), and the stage "
                + ("needs them kept" if stage.keeps else "needs them compared and not kept")
            )
    return wanted


@contextmanager
def _admin_for(name: str) -> Iterator[FlagAdmin]:
    """Whoever changes flags; a flag that does not exist is answered with those that may have been meant.

    Raises:
        CommandError: there is no such flag.
    """
    admin = flag_admin(get_settings())
    try:
        yield admin
    except FlagNotFoundError:
        raise CommandError(f"there is no flag {name!r}; {_advice(name, _names(admin))}") from None


def _names(admin: FlagAdmin) -> list[str]:
    try:
        return [flag.name for flag in admin.list()]
    except FlagError:
        return []


def _advice(name: str, existing: Sequence[str]) -> str:
    if not existing:
        return "`shim flags create` makes those of this project"
    holding = [candidate for candidate in existing if name.lower() in candidate.lower()]
    near = (holding or difflib.get_close_matches(name, existing, cutoff=0.4))[:_MOST_SUGGESTIONS]
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(existing[:_MOST_SUGGESTIONS])}"


def _source(settings: Settings) -> str:
    return settings.unleash_url or str(settings.flags_file)


def _report(flag: Flag, *, as_json: bool) -> int:
    if as_json:
        print_json(asdict(flag))
    else:
        _print_table([flag])
    return ExitCode.OK


def _share(flag: Flag) -> str:
    if flag.percentage is None:
        return "several rollouts"
    return f"{flag.percentage:g} %" + (f" of {flag.instance}" if flag.instance else "")


def _print_table(flags: Sequence[Flag]) -> None:
    table = Table("flag", "state", "share", "sticks to", "description", box=None, header_style="bold")
    for flag in flags:
        table.add_row(
            flag.name,
            Text("on", "green") if flag.enabled else Text("off", "red"),
            _share(flag),
            flag.stickiness or "",
            Text(flag.description),
        )
    Console(highlight=False).print(table)
