"""An application: the migrations that it declares, and what puts them to work in a process.

    app = Application(
        migrations={
            "shop.old:price": Migration(name="new-prices", candidate="shop.new:price", replay=ReadOnly()),
        },
    )

    with app.running():
        ...

Started in the main thread, it ends the process in an orderly way on SIGTERM, see `shim.process`.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

from migration import Migration, MigrationError, Observer, Router, Runtime, ShadowMode
from migration.forking import new_lock, unforked
from migration.model import Operation
from migration.store import LedgerReader
from shim.errors import ShimError

if TYPE_CHECKING:
    from observability import Gauge
    from observability.testing import Capture
    from shim.drill import Workloads
    from shim.installation import Installation
    from shim.mcp import AssistantTools
    from shim.removal.readiness import Check
    from shim.settings import ShimSettings

Cell = str | float | None


class CellKind(StrEnum):
    """How the values of a column are written."""

    TEXT = "text"
    CODE = "code"  # an identifier
    WARNING = "warning"  # a text that needs attention
    COUNT = "count"
    BYTES = "bytes"
    SECONDS = "seconds"
    TIME = "time"  # seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionTable:
    """A table of a section.

    Attributes:
        title: what it holds.
        columns: the name of each column, and how its values are written.
        rows: the values, row by row, as many as there are columns; None is nothing.
        empty: what is said when there are no rows, and why there are none.
    """

    title: str
    columns: Sequence[tuple[str, CellKind]]
    rows: Sequence[Sequence[Cell]]
    empty: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionContent:
    """What a section shows at one moment.

    Attributes:
        tables: one below the other.
        notices: sentences that need attention.
        hints: further sentences.
    """

    tables: Sequence[SectionTable]
    notices: Sequence[str] = ()
    hints: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSection:
    """A view of its own on the console.

    Attributes:
        name: what it is called in the list of views, in one word.
        title: its heading.
        read: what it shows now; may block. What it raises is shown on the page.
    """

    name: str
    title: str
    read: Callable[[], SectionContent]


class AlreadyRunningError(ShimError):
    """An application is started that runs in this process already."""


class DeclarationsError(ShimError):
    """What is to be the migrations of an application is no mapping of declarations; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What an application says of itself in `shim status`.

    Attributes:
        data: as plain data, for `--json` and for assistants.
        lines: as sentences, each with whether it needs attention.
    """

    data: Mapping[str, object]
    lines: Sequence[tuple[str, bool]] = ()


def _nothing(*_: object) -> None:
    """What an extension does where nothing is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """What only this application has, as functions; each may be left out. They run with its settings in force.

    Attributes:
        check_state: looks whether its own files can be used, at the start and then once a second; while it raises
            `migration.model.StoreRefusedError`, legacy serves every call, and the guard says so.
        prepare: before the application is running, in the thread that starts it: import what `begin` needs. A child
            that is forked while another thread imports waits for that for ever.
        begin: with the first call of each process: begin what is to be done in the background, bounded by itself. It
            runs on the caller's time.
        end: after the last call: write down what is left, within bounds.
        loop_closing: when a background loop of the process ends, on that loop.
        gauges: figures that are exported as metrics beside those of the migrations.
        labels: declared attributes of calls that are labels of metrics as well.
        made: what a successful call of the candidate has made, for an audit.
        sections: what `shim status` shows beside the migrations, by name.
        views: what the console shows beside the migrations, each in a view of its own.
        open_work: what must be done before legacy can go, for `shim ready`.
        workloads: what a drill calls; by default a function of the drill itself.
        assistants: what `shim mcp` serves beside the operators' tools.
        commands: commands of its own, by name: `pkg.mod:object`, a function or a `typer.Typer`.
    """

    check_state: Callable[[], object] = _nothing
    prepare: Callable[[], object] = _nothing
    begin: Callable[[Runtime], object] = _nothing
    end: Callable[[], object] = _nothing
    loop_closing: Callable[[], Awaitable[None]] | None = None
    gauges: Callable[[], Sequence[Gauge]] = tuple
    labels: Sequence[str] = ()
    made: Callable[[Operation], Sequence[Mapping[str, str]]] | None = None
    sections: Callable[[], Mapping[str, Section]] = dict
    views: Callable[[], Sequence[ConsoleSection]] = tuple
    open_work: Callable[[], Sequence[Check]] = tuple
    workloads: Callable[[], Workloads] | None = None
    assistants: Callable[[], Sequence[AssistantTools]] = tuple
    commands: Mapping[str, str] = field(default_factory=dict)


def _from_environment() -> ShimSettings:
    from shim.settings import get_settings  # noqa: PLC0415  # heavy, and help needs none

    return get_settings()


class Application:
    """Declared migrations, and their wiring in a process.

    Args:
        migrations: the declarations, by the function in front of which each is installed (`pkg.mod:func`). A string
            (`pkg.mod:NAME`) names such a mapping, which is imported when it is needed.
        settings: gives the configuration; that of the environment by default.
        extensions: what only this application has.
    """

    def __init__(
        self,
        *,
        migrations: Mapping[str, Migration] | str,
        settings: Callable[[], ShimSettings] = _from_environment,
        extensions: Sequence[Extension] = (),
    ) -> None:
        self.extensions = tuple(extensions)
        self._migrations = migrations
        self._settings = settings
        self._installation: Installation | None = None
        self._lock = new_lock()

    # What is declared

    @property
    def declared_at(self) -> str | None:
        """Where the mapping of the migrations is (`pkg.mod:NAME`), if it was given by its name."""
        return self._migrations if isinstance(self._migrations, str) else None

    def settings(self) -> ShimSettings:
        """The configuration in force.

        Raises:
            ConfigurationError: a variable has a wrong value.
        """
        return self._settings()

    def migrations(self, settings: ShimSettings | None = None) -> Mapping[str, Migration]:
        """The declarations, by target; with `settings` in its `SHADOW_MODE`, where they leave that open and allow it.

        Raises:
            DeclarationsError: there is no such mapping.
        """
        declared = self._migrations
        found = _resolved(declared) if isinstance(declared, str) else _checked(declared, "no migrations declared")
        if settings is None:
            return found
        return {target: _in_mode(each, ShadowMode(settings.shadow_mode)) for target, each in found.items()}

    def declared_names(self) -> tuple[str, ...]:
        """The names of the declared migrations, which are the names of their flags.

        Raises:
            DeclarationsError: there is no such mapping.
        """
        return tuple(dict.fromkeys(migration.name for migration in self.migrations().values()))

    def names(self, settings: ShimSettings | None = None) -> tuple[str, ...]:
        """The declared names, and after them those that only the state on disk knows.

        Raises:
            DeclarationsError: there is no such mapping.
        """
        return tuple(dict.fromkeys((*self.declared_names(), *names_on_disk(settings or self.settings()))))

    # In a process

    def start(
        self,
        settings: ShimSettings | None = None,
        *,
        console: TextIO | None = None,
        capture: Capture | None = None,
        observers: Sequence[Observer] = (),
        migrations: Mapping[str, Migration] | None = None,
    ) -> Installation:
        """Put every migration in front of its legacy function. A step that fails undoes those before it.

        Afterwards the process may fork, now or later. Its children route calls as it does. Each process begins what is
        done in the background with its own first call, or with `begin`.

        Args:
            settings: the configuration; that of the application by default.
            console: where finished spans are printed as one line each.
            capture: keeps telemetry in memory, for tests.
            observers: what else watches the calls.
            migrations: what is installed where; what is declared by default.

        Raises:
            AlreadyRunningError: it runs in this process already.
            ConfigurationError: a variable has a value that cannot be used.
            observability.ObservabilityError: likewise for the `OTEL_*` variables and the Prometheus port.
            migration.TargetNotFoundError: a migration is declared in front of no function.
        """
        with self._lock, unforked():  # it imports, which a fork must not cut off
            if self._installation is not None:
                raise AlreadyRunningError("this application runs in this process already; call stop() first")
            from shim.installation import Installation  # noqa: PLC0415  # heavy, and a command that looks on needs none of it

            settings = settings or self.settings()
            self._installation = Installation.opened(
                settings,
                migrations=self.migrations(settings) if migrations is None else migrations,
                extensions=self.extensions,
                console=console,
                capture=capture,
                observers=observers,
            )
            return self._installation

    def begin(self) -> None:
        """Begin now what begins with the first call of a process: follow flags and the guard, finish earlier work.

        For a process that may have no call for a long time, and that does not fork from now on.
        """
        with self._lock:
            installation = self._installation
        if installation is not None:
            installation.begin()

    def stop(self) -> None:
        """Finish calls in flight, take out what this application installed, send the last telemetry.

        Bounded, never raises, and does nothing where the application does not run. A step that fails is reported in the
        log and keeps no other from its work.
        """
        with self._lock:
            installation, self._installation = self._installation, None
        if installation is not None:
            installation.stop()

    @contextmanager
    def running(
        self,
        settings: ShimSettings | None = None,
        *,
        console: TextIO | None = None,
        capture: Capture | None = None,
        observers: Sequence[Observer] = (),
        migrations: Mapping[str, Migration] | None = None,
    ) -> Iterator[Installation]:
        """`start()` and, at the end, `stop()`."""
        installation = self.start(
            settings, console=console, capture=capture, observers=observers, migrations=migrations
        )
        try:
            yield installation
        finally:
            self.stop()

    @contextmanager
    def comparing(self, settings: ShimSettings, router: Router, observer: Observer) -> Iterator[Runtime]:
        """Put every migration in front of its legacy function for comparisons on demand, as they are declared.

        Nothing else decides or watches: no flags, no guard, no telemetry, no ledger.
        """
        from shim.installation import comparing  # noqa: PLC0415  # as above

        with comparing(settings, self.migrations(), self.extensions, router=router, observer=observer) as runtime:
            yield runtime


def names_on_disk(settings: ShimSettings) -> tuple[str, ...]:
    """The migrations of which this machine's files know something; none of a file that cannot be read."""
    from shim.wiring import open_guard_store  # noqa: PLC0415  # heavy

    found: list[str] = []
    for read in (LedgerReader(settings.shim_db).migrations, open_guard_store(settings).statuses):
        try:
            found += read()
        except MigrationError:
            continue  # the reader of its contents says what is wrong with it
    return tuple(dict.fromkeys(found))


def _resolved(reference: str) -> Mapping[str, Migration]:
    module, _, name = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise DeclarationsError(f"no migrations at {reference}: {error}") from error
    return _checked(found, f"no migrations at {reference}")


def _checked(found: object, problem: str) -> Mapping[str, Migration]:
    """The mapping, if it is one of declarations by target."""
    if not isinstance(found, Mapping):
        kind = type(found).__name__
        raise DeclarationsError(f"{problem}: it is of type {kind}, not a mapping of declarations by target")
    for target, each in found.items():
        if not isinstance(target, str) or not isinstance(each, Migration):
            kind = type(each).__name__
            raise DeclarationsError(f"{problem}: what declares {target!r} is of type {kind}, not a Migration")
    return found


def _in_mode(migration: Migration, mode: ShadowMode) -> Migration:
    """The migration with its shadows in this mode, if its declaration leaves the mode open and has what that takes."""
    allowed = migration.live if mode.is_real else migration.replay
    if migration.shadow_mode is not None or allowed is None:
        return migration
    return replace(migration, shadow_mode=mode)
