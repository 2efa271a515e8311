"""Whether a contender sends the file, the whole file, and nothing but the file.

The sink that is measured against throws bodies away, so each contender first sends one file to a sink that keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.clients.uploads import PURPOSE
from bench.files import Files
from bench.harness import Contender, Row, RunFailedError, Scale, SinkWish
from bench.running import Stage, run_once
from bench.sink import WARM_UP_BYTES, running_sink

_PROOF_BYTES = 3 * 1024 * 1024 + 7
"""More than any piece in which files are read, and no multiple of one."""


class Proofs:
    """Who has proved itself already; a contender that does so in one row need not in the next."""

    def __init__(self, scale: Scale, stage: Stage) -> None:
        self._scale = scale
        self._stage = stage
        self._failures: dict[str, str | None] = {}

    def failure(self, row: Row, contender: Contender) -> str | None:
        """What is wrong with what a contender sends, or None."""
        if row.sink is None or "files" not in row.options:
            return None
        options = {name: value for name, value in contender.options.items() if name != "files"}
        key = f"{contender.entry} {contender.uvloop} {row.sink.tls} {sorted(options.items())}"
        if key not in self._failures:
            try:
                self._prove(row, contender, row.sink)
            except RunFailedError as error:
                self._failures[key] = str(error)
            else:
                self._failures[key] = None
        return self._failures[key]

    def _prove(self, row: Row, contender: Contender, wish: SinkWish) -> None:
        files = Files(folder=self._scale.files, size=_PROOF_BYTES)
        files.make()
        [file] = files.paths
        options = {**row.options, "files": [str(file)], "tiny": str(files.tiny)}
        small = replace(
            row,
            options=options,
            stalls=False,
            sink=replace(wish, files=1, file_bytes=_PROOF_BYTES, latency_ms=0),
        )
        certificate = self._stage.certificate if wish.tls else None
        with (
            TemporaryDirectory(dir=self._stage.folder) as kept,
            running_sink(self._stage.sink_program, certificate) as sink,
        ):
            sink.keep(Path(kept))
            run_once(small, replace(contender, share=1.0), self._stage, sink)
            sink.keep(None)
            [body] = [path.read_bytes() for path in Path(kept).iterdir() if path.stat().st_size > WARM_UP_BYTES]
        check_form(body, file.read_bytes())


def check_form(body: bytes, content: bytes) -> None:
    """See that a form has the purpose and, as its last part, the file.

    Raises:
        RunFailedError: it has something else.
    """
    parts = parts_of(body)
    if parts.get("purpose") != PURPOSE.encode():
        raise RunFailedError("the form that arrived does not have the purpose")
    if parts.get("file") != content:
        raise RunFailedError("the file that arrived is not the file that was to be sent")


def parts_of(body: bytes) -> Mapping[str, bytes]:
    """The parts of a multipart form by name (RFC 7578); what is no form has none."""
    boundary = body.partition(b"\r\n")[0]
    parts = {}
    for part in body.split(boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0]
        parts[name.decode(errors="replace")] = content.removesuffix(b"\r\n")
    return parts
