"""The server that takes the uploads, in a process of its own: `sink.c`, compiled on first use; its certificate.

It is written in C so that it is never what limits a contender: over plain HTTP a body is discarded in the kernel.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import trustme

from bench.harness import Server, SinkError, SinkWish
from bench.machine import program


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Three PEM files.

    Attributes:
        authority: what clients trust.
        chain: what the server shows.
        key: its private key.
    """

    authority: Path
    chain: Path
    key: Path

    def trust(self) -> dict[str, str]:
        """The variables by which clients find out whom to trust: OpenSSL's, requests' and curl's."""
        return dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(self.authority))


def make_certificate(folder: Path) -> Certificate:
    """Write an authority, and a certificate of it for 127.0.0.1 and localhost with its key."""
    made = Certificate(
        authority=folder / "authority.pem", chain=folder / "certificate.pem", key=folder / "certificate.key"
    )
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = authority.issue_cert("127.0.0.1", "localhost", key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(made.authority)
    made.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    made.key.touch(mode=0o600)
    made.key.write_bytes(issued.private_key_pem.bytes())
    return made


# The server that takes the uploads, in a process of its own: `sink.c`, compiled on first use.

WARM_UP_BYTES = 8192
"""A body up to this size is a warm-up, and not counted; as in `sink.c`."""

FORM_BYTES = 2048
"""What the form around a file may add to it."""

_SOURCE = Path(__file__).with_name("sink.c")
_END_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What arrived since the last reset.

    Attributes:
        uploads: whole uploads, without warm-ups.
        body_bytes: bytes of their bodies, without the framing of chunks.
        connections: connections that were made.
        broken: uploads that ended too early.
        warm_ups: uploads of at most `WARM_UP_BYTES`.
        cpu_seconds: what the sink has used since it was started.
    """

    uploads: int
    body_bytes: int
    connections: int
    broken: int
    warm_ups: int
    cpu_seconds: float

    def complaint(self, wish: SinkWish, *, share: float = 1.0) -> str | None:
        """What is wrong with what arrived, or None if it is what was to be sent."""
        files, size = round(wish.files * share), round(wish.file_bytes * share)
        if self.broken:
            return f"{self.broken} uploads ended too early"
        if self.uploads != files:
            return f"{self.uploads} uploads arrived instead of {files}"
        if not size <= self.body_bytes <= size + files * FORM_BYTES:
            return f"{self.body_bytes} bytes arrived for {size} bytes of files"
        return None


class Sink:
    """A running sink; see `running_sink`."""

    def __init__(self, process: subprocess.Popen[str], certificate: Certificate | None) -> None:
        self._process = process
        self._commands, self._answers = _pipes(process)
        port = self._answers.readline().strip()
        if not port:
            raise SinkError(f"the sink did not start: {process.stderr.read().strip() if process.stderr else ''}")
        self.server = Server(
            url=f"{'https' if certificate else 'http'}://127.0.0.1:{port}",
            authority=certificate.authority if certificate else None,
        )

    def counts(self) -> Counts:
        """What arrived since the last reset."""
        return Counts(**self._obey("counts"))

    def reset(self) -> None:
        """Forget what arrived."""
        self._obey("reset")

    def set_latency(self, milliseconds: int) -> None:
        """Wait so long before each answer to an upload."""
        self._obey(f"latency {milliseconds}")

    def keep(self, folder: Path | None) -> None:
        """Write the bodies of uploads to `folder`, as files named 1, 2, ...; None ends that."""
        self._obey(f"keep {folder}" if folder else "keep")

    def _obey(self, command: str) -> dict[str, Any]:
        self._commands.write(f"{command}\n")
        self._commands.flush()
        answer = self._answers.readline()
        if not answer:
            raise SinkError("the sink has ended")
        return dict(json.loads(answer))


@contextmanager
def running_sink(built: Path, certificate: Certificate | None = None) -> Iterator[Sink]:
    """A sink for the length of a `with` block; it speaks TLS if it is given a certificate.

    `built` is the program, as `build_sink` made it.

    Raises:
        SinkError: it does not start.
    """
    arguments = [certificate.chain, certificate.key] if certificate else []
    with subprocess.Popen(  # noqa: S603  # our own program
        [built, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Sink(process, certificate)
        finally:
            process.communicate(timeout=_END_SECONDS)  # the end of its input ends it


def build_sink(folder: Path) -> Path:
    """Compile the sink into `folder` unless it is there, and return the program.

    Raises:
        MissingProgramError: there is no compiler.
        SinkError: it cannot be compiled.
    """
    built = folder / f"sink-{hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:12]}"
    if not built.exists():
        folder.mkdir(parents=True, exist_ok=True)
        finished = subprocess.run(  # noqa: S603  # fixed words
            [program("cc"), "-O2", "-Wall", "-Wextra", "-o", built, _SOURCE, "-lssl", "-lcrypto", "-lpthread"],
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            said = finished.stderr.strip().partition("\n")[0]
            raise SinkError(f"the sink cannot be compiled; it needs gcc and OpenSSL's headers (libssl-dev): {said}")
    return built


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if process.stdin is None or process.stdout is None:
        raise SinkError("the sink was started without pipes")
    return process.stdin, process.stdout
