"""`shim flags`: shows and changes the flags, in the local file or on the server."""

# ruff: noqa: PLC0415  # what is heavy is imported when the command runs, so that help is quick

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from migration import MigrationError
from migration.guard import DecisionRecord
from migration.model import Stage, StageFlags, flags_of, stage_of
from shim.cli.conventions import CommandError, JsonOption, ListByDefault
from shim.cli.finding import NoApplicationError, application, settings
from shim.cli.output import finish, note, plain_table
from shim.process import who_acts

if TYPE_CHECKING:
    from flags import Flag, FlagAdmin

_MOST_SUGGESTIONS = 4
_NO_REASON = "no reason was given"

flags_app = typer.Typer(
    cls=ListByDefault,
    help="Show and change who serves. The flags are in a local file, or on the Unleash server that is configured.",
    rich_markup_mode=None,
)
FlagName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the flag.")]


@flags_app.command("list")
def flags_list(*, json: JsonOption = False) -> int:
    """Show all flags."""
    flags, source = _admin().list(), settings().unleash_url or str(settings().flags_file)
    document = {"source": source, "flags": [asdict(flag) for flag in flags]}
    none = f"No flags in {source} yet: `shim flags create` makes them."
    return finish(document, _table(flags) if flags else none, as_json=json)


@flags_app.command("show")
def flags_show(name: FlagName, *, json: JsonOption = False) -> int:
    """Show one flag."""
    with _admin_for(name) as admin:
        return _finish(admin.get(name), as_json=json)


@flags_app.command("create")
def flags_create(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Default: those of all migrations and of their shadows.")
    ] = None,
    *,
    json: JsonOption = False,
) -> int:
    """Create flags, on with 0 %. One that exists stays as it is."""
    from flags import SHADOW_SUFFIX

    wanted = [name] if name else [each + end for each in application().declared_names() for end in ("", SHADOW_SUFFIX)]
    admin = _admin()
    flags = [admin.ensure(flag) for flag in wanted]
    return finish([asdict(flag) for flag in flags], _table(flags), as_json=json)


@flags_app.command("set")
def flags_set(
    name: FlagName,
    percent: Annotated[int, typer.Argument(metavar="PERCENT", help="Whole number from 0 to 100.")],
    *,
    json: JsonOption = False,
) -> int:
    """Set the percentage of a flag."""
    with _admin_for(name) as admin:
        flag = admin.set_percentage(name, percent)
    off = "" if flag.enabled else "; it is off"
    _write_down(name, "set", f"{name} was set to {percent} % by {who_acts()}{off}.")
    return _finish(flag, as_json=json)


@flags_app.command("stage")
def flags_stage(
    name: FlagName,
    stage: Stage,
    *,
    percent: Annotated[
        int, typer.Option(min=1, max=100, help="Calls that take the step: are compared, or from `live` on answered.")
    ] = 100,
    json: JsonOption = False,
) -> int:
    """Set both flags of a migration as a stage needs them. These are NAME and NAME.shadow."""
    from flags import SHADOW_SUFFIX

    wanted = _stage_flags(name, stage, percent)
    admin = _admin()
    percentages = {name: wanted.serve, name + SHADOW_SUFFIX: wanted.shadow}  # who serves first: a step back is quick
    for flag_name in percentages:
        admin.ensure(flag_name)
    flags = [_set(admin, flag_name, percentage) for flag_name, percentage in percentages.items()]
    shares = f"{wanted.serve:g} % served by the candidate, {wanted.shadow:g} % compared"
    _write_down(name, "stage", f"{name} was put into stage {stage.value} by {who_acts()}: {shares}.")
    return finish({"stage": stage, "flags": [asdict(flag) for flag in flags]}, _table(flags), as_json=json)


@flags_app.command("on")
def flags_on(name: FlagName, *, json: JsonOption = False) -> int:
    """Turn a flag on, with the percentage that it has."""
    with _admin_for(name) as admin:
        flag = admin.turn_on(name)
    _write_down(name, "on", f"{name} was turned on by {who_acts()}: {_share(flag)}.")
    return _finish(flag, as_json=json)


@flags_app.command("off")
def flags_off(
    name: FlagName,
    *,
    because: Annotated[
        str, typer.Option(metavar="REASON", help="Kept in the flag's description and among the decisions.")
    ] = "",
    json: JsonOption = False,
) -> int:
    """Turn a flag off: everything is served by legacy."""
    why = " ".join(because.split()) or _NO_REASON
    with _admin_for(name) as admin:
        flag = admin.turn_off(name, f"{why} ({who_acts()})")
    _write_down(name, "off", f"{name} was turned off by {who_acts()}: {why}.")
    return _finish(flag, as_json=json)


def _admin() -> FlagAdmin:
    from shim.wiring import flag_admin

    return flag_admin(settings())


def _set(admin: FlagAdmin, name: str, percentage: int) -> Flag:
    """Set a percentage, and turn the flag on if that is to have an effect."""
    flag = admin.set_percentage(name, percentage)
    return admin.turn_on(name) if percentage and not flag.enabled else flag


def _stage_flags(name: str, stage: Stage, percent: int) -> StageFlags:
    """What both flags are in a stage.

    Raises:
        CommandError: no such migration is declared, it is not declared in a way that allows this stage, or `percent`
            does not suit the stage.
    """
    declared = application().migrations(settings()).values()
    modes = {migration.mode for migration in declared if migration.name == name}
    if not modes:
        raise CommandError(f"no migration {name!r} is declared; there are {', '.join(application().declared_names())}")
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


def _write_down(flag: str, action: str, sentence: str) -> None:
    """Keep who changed it among the decisions, if the flag is a migration's or that of its shadow.

    The flag has been changed by now, and that is what counts: a record that cannot be kept is only said.
    """
    from flags import SHADOW_SUFFIX
    from shim.wiring import open_guard_store

    migration = flag.removesuffix(SHADOW_SUFFIX)
    try:
        if migration not in application().names():
            return
    except NoApplicationError:
        pass  # it may be one: rather a record too many
    now, by = time.time(), f"{who_acts()} (command line)"
    record = DecisionRecord(at=now, migration=migration, action=action, by=by, sentence=sentence, carried_out_at=now)
    try:
        open_guard_store(settings()).decide(record)
    except MigrationError as error:
        note(f"the flag is changed, but `shim decisions` will not show it: {error}")


@contextmanager
def _admin_for(name: str) -> Iterator[FlagAdmin]:
    """What changes flags; a flag that does not exist is answered with those that may have been meant.

    Raises:
        CommandError: there is no such flag.
    """
    from flags import FlagNotFoundError

    admin = _admin()
    try:
        yield admin
    except FlagNotFoundError:
        raise CommandError(f"there is no flag {name!r}; {_advice(name, _existing(admin))}") from None


def _existing(admin: FlagAdmin) -> list[str]:
    from flags import FlagError

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


def _finish(flag: Flag, *, as_json: bool) -> int:
    return finish(asdict(flag), _table([flag]), as_json=as_json)


def _share(flag: Flag) -> str:
    if flag.percentage is None:
        return "several rollouts"
    return f"{flag.percentage:g} %" + (f" of {flag.instance}" if flag.instance else "")


def _table(flags: Sequence[Flag]) -> Table:
    rows = [
        (
            flag.name,
            Text("on", "green") if flag.enabled else Text("off", "red"),
            _share(flag),
            flag.stickiness or "",
            flag.description,
        )
        for flag in flags
    ]
    return plain_table(("flag", "state", "share", "sticks to", "description"), rows)
