"""Uploading processes that are killed, and what must hold when recovery has been there."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.tools.planted import planted_environment
from tests.tools.recovery.bench import Account, Bench
from tools.sandbox import Fault, FaultKind

ROOT = Path(__file__).parents[3]
BATCH = 20
"""Uploads that are killed between two recoveries."""

RECOVERIES_KILLED = 2
"""Recoveries that are killed after each batch, before one comes to its end."""

RECOVERY_SECONDS = 2.5
"""How long they live at most: they look twice, a second apart, before they repeat what is missing."""


@dataclass(slots=True)
class Content:
    """One content, with the ids that callers were given for it."""

    sha256: str
    path: Path
    told: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """What came of all of them."""

    killed: int = 0
    recoveries: int = 0
    ended: int = 0
    states: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unfinished: int = 0

    def take(self, contents: list[Content], before: Account, account: Account) -> None:
        """Compare what is there with what must be. Whose row is written may have told its caller."""
        for content in contents:
            complete = [row for row in before.rows if row["sha256"] == content.sha256]
            files = account.files.get(content.sha256, [])
            rows = [row for row in account.rows if row["sha256"] == content.sha256]
            with_row = {row["provider_file_id"] for row in rows if row["upload_status"] == "completed"}
            if not set(content.told) <= set(files) & with_row or (rows and not account.copies.get(content.sha256)):
                self.lost.append(content.sha256)
            if not files and not account.is_absent(content.sha256):
                self.lost.append(content.sha256)
            if len(files) > max(1, len(complete)):
                self.doubled.append(content.sha256)
            self.orphans += [file_id for file_id in files if file_id not in with_row]
            self.orphans += [file_id for file_id in with_row if file_id not in files]
            if account.copies.get(content.sha256) and not rows:
                self.orphans.append(content.sha256)

    def __str__(self) -> str:
        return (
            f"{self.killed} processes killed, {self.ended} more had ended, and {self.recoveries} recoveries killed; "
            f"unfinished: {dict(self.states)}; last recovery: {dict(self.steps)}; "
            f"lost {len(self.lost)}, duplicates {len(self.doubled)}, orphans {len(self.orphans)}, "
            f"still unfinished {self.unfinished}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What became of one process: what its caller was given, whether it had ended by itself, and how long it lived."""

    answer: str | None
    ended: bool
    lived: float


class Nursery:
    """Makes processes that upload, and kills them."""

    def __init__(self, process: subprocess.Popen[str], bench: Bench) -> None:
        self._process = process
        self._bench = bench

    def live_for(self, seconds: float, path: Path) -> Life:
        """Let one upload a file for so long at most."""
        return self._carry_out(
            {"side": self._bench.side, "provider": self._bench.provider, "path": str(path), "seconds": seconds}
        )

    def recover_for(self, seconds: float) -> Life:
        """Let one recover for so long at most."""
        return self._carry_out({"seconds": seconds})

    def _carry_out(self, order: dict[str, object]) -> Life:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Life(**json.loads(self._process.stdout.readline()))


@contextmanager
def nursery(bench: Bench) -> Iterator[Nursery]:
    """A nursery for the time of a test."""
    with subprocess.Popen(  # noqa: S603  # a program of the test's own
        [sys.executable, str(Path(__file__).with_name("uploader.py"))],
        cwd=ROOT,
        env=planted_environment(bench.settings),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield Nursery(process, bench)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)


def kill_many(bench: Bench, wanted: int, seed: int) -> Tally:
    """Kill so many uploads at random moments, some of contents that were uploaded before; recover after each batch."""
    chance, tally = random.Random(seed), Tally()
    bench.sandbox.set_limits(kimi_max_files=100_000, glm_max_files=100_000)
    with nursery(bench) as processes:
        longest = _seconds_of_one(bench, processes)
        while tally.killed < wanted:
            contents: list[Content] = []
            bench.sandbox.set_faults(_weather(bench))
            for _ in range(min(BATCH, wanted - tally.killed)):
                content = _chosen(bench, contents, chance)
                life = processes.live_for(_moment(chance, longest), content.path)
                content.told += [life.answer] if life.answer else []
                tally.ended += life.ended
                tally.killed += not life.ended
                # a busy machine takes a different time for each, and the moments are to lie within it
                longest = min(longest, life.lived) if life.ended else 1.03 * longest
            bench.sandbox.clear_faults()
            tally.states.update(str(entry.state) for entry in bench.unfinished())
            before = bench.account()
            for content in contents:
                if chance.random() < 0.2:
                    content.path.unlink()
            for _ in range(RECOVERIES_KILLED):
                tally.recoveries += not processes.recover_for(chance.uniform(0.0, RECOVERY_SECONDS)).ended
            tally.steps.update(str(each.step) for each in bench.recover())
            tally.unfinished += len(bench.unfinished())
            tally.take(contents, before, bench.account())
    return tally


def _seconds_of_one(bench: Bench, processes: Nursery) -> float:
    """How long one upload takes at the quickest of a few."""
    lives = [processes.live_for(30.0, bench.document()) for _ in range(4)]
    assert all(life.answer for life in lives)
    return min(life.lived for life in lives)


def _chosen(bench: Bench, contents: list[Content], chance: random.Random) -> Content:
    """A new content, or one of this batch: a caller tries again after a crash."""
    if contents and chance.random() < 0.25:
        return chance.choice(contents)
    # some have name and size in common, so that the provider's listing cannot tell them apart
    path = bench.document(name=f"{uuid.uuid4().hex}/plan.txt" if chance.random() < 0.3 else None)
    contents.append(Content(sha256=bench.intent(path).sha256, path=path))
    return contents[-1]


def _moment(chance: random.Random, longest: float) -> float:
    """When to kill: mostly within the time that an upload takes, now and then when it is sent again."""
    return chance.uniform(0.0, 1.2 * longest) if chance.random() < 0.95 else chance.uniform(longest, 1.2)


def _weather(bench: Bench) -> list[Fault]:
    """Answers come late, or not at all."""
    service = bench.provider

    def fault(kind: FaultKind, probability: float, seconds: float = 0.0) -> Fault:
        return Fault(
            kind=kind, service=service, operation="files.create", times=None, probability=probability, seconds=seconds
        )

    return [fault(FaultKind.LATENCY, 0.4, 0.05), fault(FaultKind.DROP_AFTER_COMMIT, 0.15)]
