"""What an application shows of itself on the console: a view with tables, given as plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

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
