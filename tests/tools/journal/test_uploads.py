"""The rule under whatever happens: many uploads of several processes, step by step in any order, with crashes."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.tools.journal.making import SECONDS, intent
from tools.journal.port import CLAIMING, Facts, Finished, Held, State
from tools.journal.sqlite import SqliteJournal
from tools.journal.upload import Ask, JournaledUpload, Pause, claim, claimed

CONTENTS = (b"one", b"two")
PROCESSES = 3


class Work(Enum):
    """What a side does itself."""

    STORE = 1
    SEND = 2
    RECORD = 3


Step = Ask | Pause | Work
Plan = Generator[Step, Any, str]


def side(upload: JournaledUpload) -> Plan:
    """What both sides do: the claim, and what they tell the journal of their work. The result is the provider's id."""
    opening = yield from claim(upload)
    if isinstance(opening, Finished):
        yield Work.STORE
        return opening.provider_file_id
    assert opening is not None
    try:
        upload.stored((yield Work.STORE))
        upload.delivered((yield Work.SEND))
        recorded = yield Work.RECORD
    except BaseException as error:
        upload.failed(error)
        raise
    upload.done(recorded=recorded)
    assert upload.provider_file_id is not None
    return upload.provider_file_id


class RefusedError(Exception):
    """The provider said no."""


class LostError(Exception):
    """The answer was lost."""


class Cancelled(BaseException):
    """The caller is gone."""


@dataclass
class FakeOwner:
    """A process that can die without this one dying."""

    name: str
    living: set[str]

    def is_alive(self, name: str) -> bool:
        return name in self.living


class Process(SqliteJournal):
    """The journal as one of several processes has it."""

    def __init__(self, path: Path, owner: FakeOwner, clock: Any) -> None:
        super().__init__(path, now=clock)
        self.fake = owner

    def _owner(self) -> Any:
        return self.fake

    @property
    def is_dead(self) -> bool:
        return self.fake.name not in self.fake.living

    def note(self, *args: Any, **kwargs: Any) -> None:
        if not self.is_dead:
            super().note(*args, **kwargs)

    def close(self, *args: Any, **kwargs: Any) -> None:
        if not self.is_dead:
            super().close(*args, **kwargs)


@dataclass(eq=False)
class Call:
    """One upload, and the step at which it stands."""

    content: bytes
    process: Process
    plan: Plan
    upload: JournaledUpload
    step: Step
    began: float
    ended: str | None = None
    result: str | None = None


@dataclass
class Provider:
    """What was really made, of which content."""

    made: dict[str, bytes] = field(default_factory=dict)

    def make(self, content: bytes) -> str:
        file_id = f"file-{len(self.made)}"
        self.made[file_id] = content
        return file_id


class Uploads(RuleBasedStateMachine):
    """Uploads in flight, and what must be true of them at any time."""

    @initialize()
    def begin_with_nothing(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1_000.0
        self.living = {str(number) for number in range(PROCESSES)}
        path = Path(self.folder.name) / "journal.db"
        self.processes = [Process(path, FakeOwner(str(n), self.living), lambda: self.now) for n in range(PROCESSES)]
        self.provider = Provider()
        self.ended: dict[str, float] = {}
        self.calls: list[Call] = []
        self.born = PROCESSES

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        for call in self.in_flight():
            self._go_to_the_end(call)
        for process in self.processes:
            assert process.flush(SECONDS)
        left = self.processes[0].unfinished()
        assert not [entry for entry in left if entry.state in CLAIMING and entry.owner in self.living]
        for call in self.calls:
            if call.result is not None:
                assert self.provider.made[call.result] == call.content
        self.folder.cleanup()

    def in_flight(self) -> list[Call]:
        return [call for call in self.calls if call.ended is None]

    @rule(content=st.sampled_from(CONTENTS), process=st.integers(0, PROCESSES - 1))
    def begin(self, content: bytes, process: int) -> None:
        journal = self.processes[process]
        began = self.now
        upload = JournaledUpload(
            journal=journal, intent=intent(content), timeout=1e9, began=began, clock=lambda: self.now
        )
        plan = side(upload)
        self.calls.append(Call(content, journal, plan, upload, next(plan), began))
        assert journal.flush(SECONDS)  # what the other processes see next is no matter of chance

    @precondition(lambda self: self.in_flight())
    @rule(data=st.data(), outcome=st.sampled_from(["fine", "fine", "fine", "refused", "lost", "cancelled"]))
    def go_on(self, data: st.DataObject, outcome: str) -> None:
        call = data.draw(st.sampled_from(self.in_flight()))
        self.now += 1
        self._step(call, outcome, made=data.draw(st.booleans()))

    @rule(process=st.integers(0, PROCESSES - 1))
    def die(self, process: int) -> None:
        """A process is killed; another one takes its place."""
        dead = self.processes[process]
        assert dead.flush(SECONDS)
        self.living.discard(dead.fake.name)
        for call in self.in_flight():
            if call.process is dead:
                call.ended = "killed"
        self.living.add(str(self.born))
        self.processes[process] = Process(dead.path, FakeOwner(str(self.born), self.living), lambda: self.now)
        self.born += 1

    @invariant()
    def one_upload_of_a_content_works_on_it(self) -> None:
        working = [call for call in getattr(self, "calls", []) if call.ended is None and self._has_claim(call)]
        for content in CONTENTS:
            assert len([call for call in working if call.content == content]) <= 1

    def _has_claim(self, call: Call) -> bool:
        return call.step in {Work.SEND, Work.RECORD}

    def _step(self, call: Call, outcome: str, *, made: bool) -> None:
        before = call.step
        try:
            match call.step:
                case Ask(future=future):
                    opening = future.result(SECONDS)
                    call.step = call.plan.send(opening)
                    assert isinstance(opening, Held) == isinstance(call.step, Pause)
                case Pause():
                    call.step = call.plan.send(None)
                case Work.STORE:
                    self._ordinary(call, outcome, "copy")
                case Work.SEND:
                    self._send(call, outcome, made=made)
                case Work.RECORD:
                    self._ordinary(call, outcome if outcome == "cancelled" else "fine", outcome == "fine")
        except StopIteration as finished:
            call.ended, call.result = "served", finished.value
            self._note_end(call, before)
            assert self.ended[call.result or ""] >= call.began  # of an upload that this call overlapped, or its own
        except (RefusedError, LostError, Cancelled) as error:
            call.ended = type(error).__name__
            self._note_end(call, before)
        assert call.process.flush(SECONDS)  # what the other processes see next is no matter of chance

    def _note_end(self, call: Call, last: Step) -> None:
        """When the upload that was given a file has ended, by its own account."""
        if last is Work.RECORD and call.upload.provider_file_id is not None:
            self.ended[call.upload.provider_file_id] = self.now

    def _ordinary(self, call: Call, outcome: str, value: object) -> None:
        errors = {"refused": RefusedError, "lost": LostError, "cancelled": Cancelled}
        call.step = call.plan.send(value) if outcome == "fine" else call.plan.throw(errors[outcome]())

    def _send(self, call: Call, outcome: str, *, made: bool) -> None:
        attempt = call.upload.attempts.begin()
        if outcome == "fine":
            attempt.status = 200
            call.step = call.plan.send(self.provider.make(call.content))
            return
        attempt.status = 400 if outcome == "refused" else None
        if outcome != "refused" and made:
            self.provider.make(call.content)
        self._ordinary(call, outcome, None)

    def _go_to_the_end(self, call: Call) -> None:
        for _ in self._limited():
            if call.ended is not None:
                return
            self.now += 1
            if isinstance(call.step, Pause):  # the holder goes first
                for other in self.in_flight():
                    if other is not call:
                        self._step(other, "fine", made=False)
            self._step(call, "fine", made=False)
        raise AssertionError("an upload waits for ever")

    @staticmethod
    def _limited() -> Iterator[int]:
        return iter(range(1_000))


TestUploads = Uploads.TestCase
TestUploads.settings = settings(max_examples=40, stateful_step_count=40)


def test_a_doubtful_success_is_not_done(tmp_path: Path) -> None:
    """An attempt without an answer before the one that was answered leaves the outcome unknown, with the id."""
    journal = SqliteJournal(tmp_path / "journal.db")
    upload = JournaledUpload(journal=journal, intent=intent(), timeout=1, began=0, clock=lambda: 0)
    assert claimed(upload) is not None
    upload.stored("copy")
    upload.attempts.begin()
    upload.attempts.begin().status = 200
    upload.delivered("file")
    upload.done(recorded=True)
    assert journal.flush(SECONDS)
    [entry] = journal.unfinished()
    assert (entry.state, entry.facts.attempts) == (State.UNKNOWN, 2)
    assert entry.facts == Facts(supabase_file_id="copy", provider_file_id="file", attempts=2, error=entry.facts.error)
