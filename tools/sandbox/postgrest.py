"""The tables behind PostgREST, and its query language, as far as the monolith and its tests speak it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from multidict import MultiMapping

_DAY = timedelta(days=1)


def show_time(seconds: float) -> str:
    """Seconds since the epoch as text that sorts as the times do."""
    return _shown(datetime.fromtimestamp(seconds, UTC))


def read_time(text: str, now: float) -> str:
    """A time in the words of Postgres, or in ISO 8601, as `show_time` gives it.

    Raises:
        ValueError, OverflowError: the text is no time.
    """
    present = datetime.fromtimestamp(now, UTC)
    today = present.replace(hour=0, minute=0, second=0, microsecond=0)
    words = {"now": present, "today": today, "yesterday": today - _DAY, "tomorrow": today + _DAY}
    words["epoch"] = datetime.fromtimestamp(0, UTC)
    time = words.get(text.strip().lower()) or datetime.fromisoformat(text)
    return _shown(time if time.tzinfo is not None else time.replace(tzinfo=UTC))


def _shown(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


# The tables behind PostgREST, and what their triggers and defaults write.


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as its clients see it.

    Attributes:
        name: its name.
        columns: their names.
        numbers: columns of whole numbers.
        times: columns of times.
        unique: what can name a row in `on_conflict`; the first is the primary key.
    """

    name: str
    columns: tuple[str, ...]
    numbers: frozenset[str]
    times: frozenset[str]
    unique: tuple[tuple[str, ...], ...]

    def constraint(self, columns: list[str]) -> str:
        """The name of what allows these columns' values only once."""
        if tuple(columns) == self.unique[0]:
            return f"{self.name}_pkey"
        return f"{self.name}_{'_'.join(columns)}_key" if tuple(columns) in self.unique else f"{self.name}_claim"


UPLOADS = Table(
    name="provider_file_uploads",
    columns=(
        "id",
        "provider",
        "provider_file_id",
        "supabase_file_id",
        "sha256",
        "filename",
        "file_size_bytes",
        "upload_status",
        "upload_method",
        "error_message",
        "last_used",
        "created_at",
        "updated_at",
    ),
    numbers=frozenset({"id", "file_size_bytes"}),
    times=frozenset({"last_used", "created_at", "updated_at"}),
    unique=(("id",), ("provider", "provider_file_id")),
)

INTENTS = Table(
    name="upload_intents",
    columns=(
        "upload_id",
        "provider",
        "account",
        "purpose",
        "sha256",
        "filename",
        "size",
        "path",
        "side",
        "state",
        "owner",
        "lease_until",
        "supabase_file_id",
        "provider_file_id",
        "attempts",
        "error",
        "began_at",
        "updated_at",
        "finished_at",
    ),
    numbers=frozenset({"size", "attempts"}),
    times=frozenset({"lease_until", "began_at", "updated_at", "finished_at"}),
    unique=(("upload_id",),),
)

TABLES = {table.name: table for table in (UPLOADS, INTENTS)}

_CLAIMING = "('intended', 'stored', 'sending', 'delivered')"


def insertion(table: Table, row: Mapping[str, Any], *, now: float, lease_seconds: float) -> dict[str, Any]:
    """A new row, with what the table adds by itself."""
    time = show_time(now)
    if table is UPLOADS:
        return {"created_at": time, "updated_at": time, **row}
    state = row.get("state", "intended")
    return {
        **row,
        "state": state,
        "began_at": time,
        "updated_at": time,
        "lease_until": None if row.get("owner") is None else show_time(now + lease_seconds),
        "finished_at": None if f"'{state}'" in _CLAIMING else time,
    }


def changes(table: Table, row: Mapping[str, Any], *, now: float, lease_seconds: float) -> tuple[str, dict[str, Any]]:
    """What an update sets, as SQL, and its values; with what the table changes by itself."""
    set_to = {name: f":_new_{name}" for name in row}
    values = {f"_new_{name}": value for name, value in row.items()}
    if table is INTENTS:
        owner, state = set_to.get("owner", "owner"), set_to.get("state", "state")
        set_to |= {
            "began_at": "began_at",
            "updated_at": ":_now",
            "lease_until": f"CASE WHEN {owner} IS NOT NULL THEN :_lease END",
            "finished_at": f"CASE WHEN {state} NOT IN {_CLAIMING} THEN coalesce(finished_at, :_now) END",
        }
        values |= {"_now": show_time(now), "_lease": show_time(now + lease_seconds)}
    return ", ".join(f"{name} = {value}" for name, value in set_to.items()), values


_COMPARISONS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_BIGINT = 2**63
_LIST_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,]+)')
_JOINED_ITEM = re.compile(r"(?:[^,()]|\([^()]*\))+")


class BadQueryError(Exception):
    """The query or the row cannot be understood; `code` is PostgREST's or Postgres'."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(slots=True, kw_only=True)
class Query:
    """A query in terms of SQL. It names known columns only; values are bound, never part of the text."""

    table: Table
    now: float
    select: tuple[str, ...]
    where: str = ""
    order: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    offset: int = 0
    on_conflict: tuple[str, ...] | None = None


def parse_query(table: Table, parameters: MultiMapping[str], *, now: float) -> Query:
    """Read a query string.

    Args:
        table: what is asked about.
        parameters: the query string.
        now: seconds since the epoch, for conditions that name the present.

    Raises:
        BadQueryError: an unknown column or operator, or a value of the wrong type.
    """
    query = Query(table=table, now=now, select=table.columns)
    conditions: list[str] = []
    for name, value in parameters.items():
        match name:
            case "select":
                query.select = _selected(table, value)
            case "order":
                query.order = "ORDER BY " + ", ".join(_ordering(table, term) for term in value.split(","))
            case "limit":
                query.limit = _natural(value)
            case "offset":
                query.offset = _natural(value)
            case "on_conflict":
                query.on_conflict = _conflict_target(table, value)
            case "columns":
                _check_written(table, (column.strip('"') for column in value.split(",")))
            case "or" | "and":
                conditions.append(_joined(query, name, value))
            case _:
                conditions.append(_condition(query, _known(table, name), value))
    query.where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return query


def checked_row(table: Table, row: object, *, now: float) -> dict[str, Any]:
    """A row to be written, with known columns and values of their types.

    Raises:
        BadQueryError: it is no object, a column is unknown, or a value does not fit.
    """
    if not isinstance(row, Mapping):
        raise BadQueryError("PGRST102", "a row must be an object")
    _check_written(table, row)
    return {name: _fitting(table, name, value, now) for name, value in row.items()}


def _check_written(table: Table, names: Iterable[str]) -> None:
    for name in names:
        if name not in table.columns:
            message = f"Could not find the '{name}' column of '{table.name}' in the schema cache"
            raise BadQueryError("PGRST204", message)


def _fitting(table: Table, name: str, value: object, now: float) -> object:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadQueryError("22P02", f"the value of {name} is not a text or a number")
    return _typed(table, name, str(value), now)


def _selected(table: Table, value: str) -> tuple[str, ...]:
    names = [name.strip() for name in value.split(",")]
    return table.columns if names == ["*"] else tuple(_known(table, name) for name in names)


def _ordering(table: Table, term: str) -> str:
    column, *directions = term.split(".")
    sql = {"asc": "ASC", "desc": "DESC", "nullsfirst": "NULLS FIRST", "nullslast": "NULLS LAST"}
    if any(direction not in sql for direction in directions):
        raise BadQueryError("PGRST100", f'failed to parse order ({term})"')
    return " ".join((_known(table, column), *(sql[direction] for direction in directions)))


def _conflict_target(table: Table, value: str) -> tuple[str, ...]:
    target = tuple(sorted(_known(table, name.strip()) for name in value.split(",")))
    if target not in table.unique:
        message = "there is no unique or exclusion constraint matching the ON CONFLICT specification"
        raise BadQueryError("42P10", message)
    return target


def _joined(query: Query, word: str, expression: str) -> str:
    """Conditions of which one, or each, is to hold: `(column.operator.value,...)`."""
    if not (expression.startswith("(") and expression.endswith(")")):
        raise BadQueryError("PGRST100", f'"failed to parse logic tree ({expression})"')
    conditions: list[str] = []
    for item in _JOINED_ITEM.findall(expression[1:-1]):
        column, _, rest = item.partition(".")
        conditions.append(_condition(query, _known(query.table, column), rest))
    return f"({f' {word.upper()} '.join(conditions)})"


def _condition(query: Query, column: str, expression: str) -> str:
    operator, _, operand = expression.partition(".")
    if operator == "not":
        return f"NOT ({_condition(query, column, operand)})"
    if operator in _COMPARISONS:
        return f"{column} {_COMPARISONS[operator]} {_bound(query, column, operand)}"
    if operator == "is" and operand.lower() == "null":
        return f"{column} IS NULL"
    if operator == "in" and operand.startswith("(") and operand.endswith(")"):
        items = [quoted or bare for quoted, bare in _LIST_ITEM.findall(operand[1:-1])]
        return f"{column} IN ({', '.join(_bound(query, column, item) for item in items)})"
    if operator in {"like", "ilike"}:
        return _pattern(query, column, operand.replace("*", "%"), folded=operator == "ilike")
    raise BadQueryError("PGRST100", f'"failed to parse filter ({expression})"')


def _pattern(query: Query, column: str, pattern: str, *, folded: bool) -> str:
    if folded:
        return f"{column} LIKE {_bound(query, column, pattern)}"
    glob = re.sub(r"[*?\[]", r"[\g<0>]", pattern).replace("%", "*").replace("_", "?")
    return f"{column} GLOB {_bound(query, column, glob)}"


def _bound(query: Query, column: str, value: str) -> str:
    name = f"_{len(query.values)}"
    query.values[name] = _typed(query.table, column, value, query.now)
    return f":{name}"


def _typed(table: Table, column: str, value: str, now: float) -> str | int:
    if column in table.numbers:
        return _as_number(value)
    return _as_time(value, now) if column in table.times else value


def _as_time(value: str, now: float) -> str:
    try:
        return read_time(value, now)
    except (ValueError, OverflowError):
        message = f'invalid input syntax for type timestamp with time zone: "{value}"'
        raise BadQueryError("22007", message) from None


def _as_number(value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        raise BadQueryError("22P02", f'invalid input syntax for type bigint: "{value}"') from None
    if not -_BIGINT <= number < _BIGINT:
        raise BadQueryError("22003", f'value "{value}" is out of range for type bigint')
    return number


def _natural(value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) >= _BIGINT:
        raise BadQueryError("PGRST100", f'"failed to parse limit or offset ({value})"')
    return int(value)


def _known(table: Table, name: str) -> str:
    if name not in table.columns:
        raise BadQueryError("42703", f"column {table.name}.{name} does not exist")
    return name
