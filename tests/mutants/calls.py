"""The calls that are sampled: both providers, both storages, every entrance, sizes around every border, failures."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Literal

from migration import Side
from tools.sandbox import Fault, FaultKind

KIB: Final = 1024
MIB: Final = 1024 * KIB

Entrance = Literal["function", "one", "many"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file of a call: `size` bytes between `head` and `tail`, the same ones each time; `size` None: there is none."""

    name: str
    size: int | None
    head: bytes = b""
    tail: bytes = b""

    def write(self, folder: Path) -> Path:
        """Put it into a folder, unless it is not to exist."""
        path = folder / self.name
        if self.size is not None:
            middle = Random(f"{self.name} {self.size}").randbytes(self.size - len(self.head) - len(self.tail))
            path.write_bytes(self.head + middle + self.tail)
        return path


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledCall:
    """One call of the monolith.

    Attributes:
        entrance: the gateway function, the tool with one file, or the tool with many.
        purpose: None leaves it to the default.
        bucket: None is the usual one.
        faults: what goes wrong meanwhile.
    """

    entrance: Entrance
    provider: Literal["kimi", "glm"]
    storage: Literal["supabase", "embedded"]
    documents: Sequence[Document]
    serve: Side = Side.LEGACY
    purpose: str | None = None
    bucket: str | None = None
    faults: Sequence[Fault] = ()

    def write_files(self, folder: Path) -> list[Path]:
        """Put the call's files into a folder."""
        folder.mkdir(parents=True)
        return [document.write(folder) for document in self.documents]


def _fault(kind: FaultKind, service: str, operation: str, retry_after: int | None = None) -> Fault:
    return Fault(kind=kind, service=service, operation=operation, times=None, retry_after=retry_after)


_NOTES = Document(name="Notes.txt", size=1000, tail=b"the last line\n")
_TABLE = Document(name="table.csv", size=5000, head=b"\xef\xbb\xbfa;b\r\n1;2\r\n", tail=b"\r\n")
_QUOTES = Document(name='a "quoted" back\\slash 100%41;b=c.txt', size=3000)
_COMBINING = Document(name=unicodedata.normalize("NFD", "Größe 文件 🙂.md"), size=2000)
_MISSING = Document(name="missing.txt", size=None)

SAMPLED_CALLS: Final = (
    SampledCall(entrance="function", provider="kimi", storage="supabase", documents=[_NOTES]),
    SampledCall(entrance="function", provider="glm", storage="embedded", documents=[_QUOTES]),
    SampledCall(entrance="one", provider="glm", storage="supabase", documents=[_COMBINING], bucket="fresh"),
    SampledCall(
        entrance="function", provider="kimi", storage="embedded", documents=[Document(name="empty.csv", size=0)]
    ),
    SampledCall(entrance="many", provider="kimi", storage="supabase", documents=[_TABLE, _QUOTES, _NOTES]),
    SampledCall(entrance="function", provider="glm", storage="supabase", documents=[_MISSING]),
    SampledCall(
        entrance="function",
        provider="glm",
        storage="supabase",
        documents=[Document(name="short.pdf", size=256 * KIB)],
        serve=Side.CANDIDATE,
    ),
    SampledCall(
        entrance="function",
        provider="kimi",
        storage="supabase",
        documents=[Document(name="long.PDF", size=256 * KIB + 1)],
    ),
    SampledCall(entrance="many", provider="kimi", storage="embedded", documents=[_NOTES, _TABLE], purpose="nonsense"),
    SampledCall(
        entrance="one",
        provider="glm",
        storage="embedded",
        documents=[Document(name="Notes.txt", size=1001)],
        faults=[_fault(FaultKind.ERROR_IN_SUCCESS, "glm", "files.create")],
    ),
    SampledCall(entrance="many", provider="glm", storage="supabase", documents=[_NOTES, _MISSING, _TABLE]),
    SampledCall(entrance="one", provider="glm", storage="supabase", documents=[_NOTES], serve=Side.CANDIDATE),
    SampledCall(
        entrance="function", provider="glm", storage="supabase", documents=[Document(name="data.xyzzy", size=MIB + 1)]
    ),
    SampledCall(
        entrance="function",
        provider="kimi",
        storage="embedded",
        documents=[Document(name="picture.PNG", size=MIB)],
        serve=Side.CANDIDATE,
    ),
    SampledCall(
        entrance="function",
        provider="kimi",
        storage="supabase",
        documents=[_NOTES],
        faults=[_fault(FaultKind.SERVER_ERROR, "supabase", "object.upload")],
    ),
    SampledCall(
        entrance="function",
        provider="kimi",
        storage="supabase",
        documents=[_NOTES],
        faults=[_fault(FaultKind.SERVER_ERROR, "supabase", "table.insert")],
    ),
    SampledCall(
        entrance="function",
        provider="kimi",
        storage="supabase",
        documents=[Document(name="film.mp4", size=6 * MIB)],
    ),
    SampledCall(
        entrance="function", provider="glm", storage="supabase", documents=[Document(name="film.mp4", size=6 * MIB + 1)]
    ),
    SampledCall(
        entrance="function",
        provider="kimi",
        storage="supabase",
        documents=[Document(name="over.bin", size=7 * MIB + 1)],
    ),
    SampledCall(
        entrance="function",
        provider="kimi",
        storage="embedded",
        documents=[Document(name="refused.txt", size=100)],
        faults=[_fault(FaultKind.RATE_LIMITED, "kimi", "files.create", retry_after=1)],
    ),
)
"""What each mutant meets, in this order; with the true implementation none of them is a mismatch."""
