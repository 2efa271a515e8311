"""PostgREST's query language, as far as the monolith and its tests speak it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from multidict import MultiMapping

TABLE = "provider_file_uploads"
COLUMNS = (
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
)
_NUMBERS = frozenset({"id", "file_size_bytes"})
_COMPARISONS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_UNIQUE = (("id",), ("provider", "provider_file_id"))
_BIGINT = 2**63
_LIST_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,]+)')


class BadQueryError(Exception):
    """The query or the row cannot be understood; `code` is PostgREST's or Postgres'."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(slots=True, kw_only=True)
class Query:
    """A query in terms of SQL. It names known columns only; values are bound, never part of the text."""

    select: tuple[str, ...] = COLUMNS
    where: str = ""
    order: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    offset: int = 0
    on_conflict: tuple[str, ...] | None = None


def parse_query(parameters: MultiMapping[str]) -> Query:
    """Read a query string.

    Raises:
        BadQueryError: an unknown column or operator, or a value of the wrong type.
    """
    query = Query()
    conditions: list[str] = []
    for name, value in parameters.items():
        match name:
            case "select":
                query.select = _selected(value)
            case "order":
                query.order = "ORDER BY " + ", ".join(map(_ordering, value.split(",")))
            case "limit":
                query.limit = _natural(value)
            case "offset":
                query.offset = _natural(value)
            case "on_conflict":
                query.on_conflict = _conflict_target(value)
            case "columns":
                _check_written(column.strip('"') for column in value.split(","))
            case _:
                conditions.append(_condition(_known(name), value, query.values))
    query.where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return query


def checked_row(row: object) -> dict[str, Any]:
    """A row to be written, with known columns and values of their types.

    Raises:
        BadQueryError: it is no object, a column is unknown, or a value does not fit.
    """
    if not isinstance(row, Mapping):
        raise BadQueryError("PGRST102", "a row must be an object")
    _check_written(row)
    return {name: _fitting(name, value) for name, value in row.items()}


def _check_written(names: Iterable[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            raise BadQueryError("PGRST204", f"Could not find the '{name}' column of '{TABLE}' in the schema cache")


def _fitting(name: str, value: object) -> object:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadQueryError("22P02", f"the value of {name} is not a text or a number")
    return _as_number(str(value)) if name in _NUMBERS else str(value)


def _selected(value: str) -> tuple[str, ...]:
    names = [name.strip() for name in value.split(",")]
    return COLUMNS if names == ["*"] else tuple(map(_known, names))


def _ordering(term: str) -> str:
    column, *directions = term.split(".")
    sql = {"asc": "ASC", "desc": "DESC", "nullsfirst": "NULLS FIRST", "nullslast": "NULLS LAST"}
    if any(direction not in sql for direction in directions):
        raise BadQueryError("PGRST100", f'failed to parse order ({term})"')
    return " ".join((_known(column), *(sql[direction] for direction in directions)))


def _conflict_target(value: str) -> tuple[str, ...]:
    target = tuple(sorted(_known(name.strip()) for name in value.split(",")))
    if target not in _UNIQUE:
        message = "there is no unique or exclusion constraint matching the ON CONFLICT specification"
        raise BadQueryError("42P10", message)
    return target


def _condition(column: str, expression: str, values: dict[str, Any]) -> str:
    operator, _, operand = expression.partition(".")
    if operator == "not":
        return f"NOT ({_condition(column, operand, values)})"
    if operator in _COMPARISONS:
        return f"{column} {_COMPARISONS[operator]} {_bound(column, operand, values)}"
    if operator == "is" and operand.lower() == "null":
        return f"{column} IS NULL"
    if operator == "in" and operand.startswith("(") and operand.endswith(")"):
        items = [quoted or bare for quoted, bare in _LIST_ITEM.findall(operand[1:-1])]
        return f"{column} IN ({', '.join(_bound(column, item, values) for item in items)})"
    if operator in {"like", "ilike"}:
        return _pattern(column, operand.replace("*", "%"), values, folded=operator == "ilike")
    raise BadQueryError("PGRST100", f'"failed to parse filter ({expression})"')


def _pattern(column: str, pattern: str, values: dict[str, Any], *, folded: bool) -> str:
    if folded:
        return f"{column} LIKE {_bound(column, pattern, values)}"
    glob = re.sub(r"[*?\[]", r"[\g<0>]", pattern).replace("%", "*").replace("_", "?")
    return f"{column} GLOB {_bound(column, glob, values)}"


def _bound(column: str, value: str, values: dict[str, Any]) -> str:
    name = f"_{len(values)}"
    values[name] = _as_number(value) if column in _NUMBERS else value
    return f":{name}"


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


def _known(name: str) -> str:
    if name not in COLUMNS:
        raise BadQueryError("42703", f"column {TABLE}.{name} does not exist")
    return name
