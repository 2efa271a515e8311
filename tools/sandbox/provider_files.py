"""The files that one provider's account holds."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.sandbox.faults import FaultKind, Plan, ServiceName
from tools.sandbox.intake import File
from tools.sandbox.serving import World
from tools.sandbox.store import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFile:
    """One uploaded file. Times are seconds since the epoch; `number` grows with each upload."""

    number: int
    id: str
    filename: str
    purpose: str
    bytes: int
    sha256: str
    content_type: str
    created_at: float
    parsed_at: float
    parsing_fails: bool
    body: str

    def to_json(self) -> dict[str, Any]:
        """The file for a look behind the curtain."""
        return asdict(self)


class ProviderFiles:
    """The files of one service."""

    def __init__(self, service: ServiceName, world: World, *, id_prefix: str = "") -> None:
        self._service = service
        self._world = world
        self._id_prefix = id_prefix

    def add(self, file: File, *, purpose: str, plan: Plan) -> ProviderFile:
        """Keep a file whose body was kept."""
        if file.body is None:
            raise ValueError(f"{file.filename} was too long to be kept")
        now = self._world.clock()
        identity = self._id_prefix + secrets.token_hex(12)
        self._world.store.insert(
            "provider_files",
            {
                "service": self._service,
                "id": identity,
                "filename": file.filename,
                "purpose": purpose,
                "bytes": file.bytes,
                "sha256": file.sha256,
                "content_type": file.content_type,
                "created_at": now,
                "parsed_at": now + plan.seconds(FaultKind.SLOW_PARSING),
                "parsing_fails": FaultKind.PARSING_FAILS in plan,
                "body": file.body.name,
            },
        )
        file.body.owned = True
        added = self.find(identity)
        if added is None:
            raise LookupError(identity)
        return added

    def find(self, identity: str) -> ProviderFile | None:
        """The file with this id."""
        found = self._select("id = ?", identity)
        return found[0] if found else None

    def all(self) -> list[ProviderFile]:
        """All files, oldest first."""
        return self._select("TRUE")

    def count(self, purpose: str | None = None) -> int:
        """How many files there are."""
        row = self._world.store.row(
            "SELECT count(*) AS n FROM provider_files WHERE service = ? AND (? IS NULL OR purpose = ?)",
            (self._service, purpose, purpose),
        )
        return int(row["n"]) if row else 0

    def remove(self, file: ProviderFile) -> None:
        """Delete a file and its body."""
        self._world.store.rows("DELETE FROM provider_files WHERE id = ?", (file.id,))
        self._world.store.remove_body(file.body)

    def document(self, file: ProviderFile) -> Document:
        """The file as something to be read."""
        return Document(
            path=self._path(file),
            filename=file.filename,
            content_type=file.content_type,
            bytes=file.bytes,
            sha256=file.sha256,
        )

    def _path(self, file: ProviderFile) -> Path:
        return self._world.store.body_path(file.body)

    def _select(self, condition: str, *parameters: str) -> list[ProviderFile]:
        columns = (
            "number, id, filename, purpose, bytes, sha256, content_type, created_at, parsed_at, parsing_fails, body"
        )
        sql = f"SELECT {columns} FROM provider_files WHERE service = ? AND {condition} ORDER BY number"  # noqa: S608 - constants
        arguments: Sequence[object] = (self._service, *parameters)
        return [
            ProviderFile(**{**dict(row), "parsing_fails": bool(row["parsing_fails"])})
            for row in self._world.store.rows(sql, arguments)
        ]
