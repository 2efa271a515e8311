"""Stand-in for Supabase's tables: PostgREST over the monolith's table and the journal's."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from tools.sandbox.faults import SUPABASE, Fault, FaultKind
from tools.sandbox.intake import SandboxExchange, read_json, read_object
from tools.sandbox.postgrest import (
    INTENTS,
    TABLES,
    UPLOADS,
    BadQueryError,
    Query,
    Table,
    changes,
    checked_row,
    insertion,
    parse_query,
)
from tools.sandbox.serving import Endpoint, Handler, Refusal, Service, json_response

_SINGLE = "application/vnd.pgrst.object+json"
_MAX_ROWS = 1000


class Tables(Service):
    """`/rest/v1`. Errors are `{code, details, hint, message}` with PostgREST's and Postgres' codes."""

    name = SUPABASE
    prefix = "/supabase/rest/v1"

    def endpoints(self) -> Sequence[Endpoint]:
        """See the base class."""
        handlers: tuple[tuple[str, str, Handler], ...] = (
            ("insert", "POST", self._insert),
            ("select", "GET", self._select),
            ("update", "PATCH", self._update),
            ("delete", "DELETE", self._delete),
        )
        # the journal's requests are operations of their own, so that faults for the uploads' rows do not befall them
        places = (("intents", f"/{{table:{INTENTS.name}}}"), ("table", "/{table}"))
        return tuple(
            Endpoint(f"{name}.{what}", method, path, handler)
            for name, path in places
            for what, method, handler in handlers
        )

    async def _insert(self, exchange: SandboxExchange) -> web.Response:
        query = self._query(exchange)
        body = await read_json(exchange)
        rows = [self._checked(query, row) for row in (body if isinstance(body, list) else [body])]
        if len(rows) > _MAX_ROWS:
            return error(413, "PGRST000", f"more than {_MAX_ROWS} rows at once")
        try:
            with self.world.store.transaction():
                written = [written for row in rows if (written := self._write(row, exchange, query))]
        except sqlite3.IntegrityError as violation:
            return _violated(query.table, violation)
        return self._answer(exchange, query, written, status=201)

    def _write(self, row: Mapping[str, Any], exchange: SandboxExchange, query: Query) -> dict[str, Any] | None:
        given = insertion(query.table, row, now=query.now, lease_seconds=self.world.limits.intent_lease_seconds)
        names, places = ", ".join(given), ", ".join(f":{name}" for name in given)
        clause = _conflict_clause(_preferences(exchange), query, row)
        sql = f"INSERT INTO {query.table.name} ({names}) VALUES ({places}) {clause} RETURNING *"  # noqa: S608 - names were checked
        written = self.world.store.rows(sql, given)
        return dict(written[0]) if written else None

    async def _select(self, exchange: SandboxExchange) -> web.Response:
        query = self._query(exchange)
        sql = f"SELECT * FROM {query.table.name} {query.where} {query.order} LIMIT :_limit OFFSET :_offset"  # noqa: S608 - names were checked
        limits = {"_limit": -1 if query.limit is None else query.limit, "_offset": query.offset}
        rows = self.world.store.rows(sql, {**query.values, **limits})
        response = self._answer(exchange, query, [dict(row) for row in rows], status=200, represented=True)
        if "count=exact" in _preferences(exchange):
            count = f"SELECT count(*) AS n FROM {query.table.name} {query.where}"  # noqa: S608 - as above
            counted = self.world.store.row(count, query.values)
            total = counted["n"] if counted else 0
            span = f"{query.offset}-{query.offset + len(rows) - 1}" if rows else "*"
            response.headers["Content-Range"] = f"{span}/{total}"
            if 0 < len(rows) < total:
                response.set_status(web.HTTPPartialContent.status_code)
        return response

    async def _update(self, exchange: SandboxExchange) -> web.Response:
        query = self._filtered(exchange)
        row = self._checked(query, await read_object(exchange))
        if not row:
            return self._answer(exchange, query, [], status=200)
        lease_seconds = self.world.limits.intent_lease_seconds
        settings, values = changes(query.table, row, now=query.now, lease_seconds=lease_seconds)
        sql = f"UPDATE {query.table.name} SET {settings} {query.where} RETURNING *"  # noqa: S608 - names were checked
        try:
            changed = self.world.store.rows(sql, {**query.values, **values})
        except sqlite3.IntegrityError as violation:
            return _violated(query.table, violation)
        return self._answer(exchange, query, [dict(one) for one in changed], status=200)

    async def _delete(self, exchange: SandboxExchange) -> web.Response:
        query = self._filtered(exchange)
        sql = f"DELETE FROM {query.table.name} {query.where} RETURNING *"  # noqa: S608 - names were checked
        rows = self.world.store.rows(sql, query.values)
        return self._answer(exchange, query, [dict(row) for row in rows], status=200)

    def _query(self, exchange: SandboxExchange) -> Query:
        name = exchange.request.match_info["table"]
        table = TABLES.get(name)
        if table is None:
            raise Refusal(error(404, "PGRST205", f"Could not find the table 'public.{name}' in the schema cache"))
        try:
            return parse_query(table, exchange.request.query, now=self.world.clock())
        except BadQueryError as bad:
            raise Refusal(error(400, bad.code, str(bad))) from None

    def _checked(self, query: Query, row: object) -> dict[str, Any]:
        try:
            return checked_row(query.table, row, now=query.now)
        except BadQueryError as bad:
            raise Refusal(error(400, bad.code, str(bad))) from None

    def _filtered(self, exchange: SandboxExchange) -> Query:
        """A query with a filter: Supabase's databases refuse to change all rows at once."""
        query = self._query(exchange)
        if not query.where:
            verb = "UPDATE" if exchange.request.method == "PATCH" else "DELETE"
            raise Refusal(error(400, "21000", f"{verb} requires a WHERE clause"))
        return query

    def _answer(
        self,
        exchange: SandboxExchange,
        query: Query,
        rows: list[dict[str, Any]],
        *,
        status: int,
        represented: bool = False,
    ) -> web.Response:
        shown = [{name: row[name] for name in query.select} for row in rows]
        if not represented and "return=representation" not in _preferences(exchange):
            return web.Response(status=201 if status == 201 else 204)  # noqa: PLR2004 - PostgREST's two answers without a body
        if exchange.request.headers.get("Accept") != _SINGLE:
            return json_response(shown, status)
        if len(shown) != 1:
            details = f"The result contains {len(shown)} rows"
            return error(406, "PGRST116", "Cannot coerce the result to a single JSON object", details)
        return json_response(shown[0], status)

    def refuse(self, status: int, message: str) -> web.Response:
        """See the base class."""
        return error(status, "PGRST102" if status == web.HTTPBadRequest.status_code else "PGRST000", message)

    def unauthorized(self, *, key_given: bool) -> web.Response:
        """See the base class."""
        if key_given:
            return error(401, "PGRST301", "JWSError JWSInvalidSignature")
        return error(401, "42501", f"permission denied for table {UPLOADS.name}")

    def faulty(self, fault: Fault) -> web.Response:
        """See the base class."""
        match fault.kind:
            case FaultKind.RATE_LIMITED:
                return error(429, "PGRST003", "Timed out acquiring connection from connection pool")
            case FaultKind.OVERLOADED:
                return error(503, "PGRST001", "Could not connect with the database due to an internal error")
            case _:
                return error(fault.status, "XX000", "internal error")


def error(status: int, code: str, message: str, details: str | None = None) -> web.Response:
    """A PostgREST error."""
    return json_response({"code": code, "details": details, "hint": None, "message": message}, status)


def _preferences(exchange: SandboxExchange) -> set[str]:
    headers = exchange.request.headers.getall("Prefer", [])
    return {preference.strip() for header in headers for preference in header.split(",")}


def _conflict_clause(preferences: set[str], query: Query, row: Mapping[str, Any]) -> str:
    target = ", ".join(query.on_conflict or query.table.unique[0])
    if "resolution=ignore-duplicates" in preferences:
        return f"ON CONFLICT ({target}) DO NOTHING"
    if "resolution=merge-duplicates" in preferences:
        changes = ", ".join(f"{name} = excluded.{name}" for name in row)
        return f"ON CONFLICT ({target}) DO UPDATE SET {changes}"
    return ""


def _violated(table: Table, violation: sqlite3.IntegrityError) -> web.Response:
    what = str(violation).partition(": ")[2]
    match violation.sqlite_errorname:
        case "SQLITE_CONSTRAINT_NOTNULL":
            column = what.rpartition(".")[2]
            message = f'null value in column "{column}" of relation "{table.name}" violates not-null constraint'
            return error(400, "23502", message)
        case "SQLITE_CONSTRAINT_CHECK":
            return error(400, "23514", f'new row for relation "{table.name}" violates check constraint "{what}"')
        case _:
            columns = [column.rpartition(".")[2] for column in what.split(", ")]
            message = f'duplicate key value violates unique constraint "{table.constraint(columns)}"'
            return error(409, "23505", message, f"Key ({', '.join(columns)}) already exists.")
