"""The policy of a resumable upload, against a server that fails in every way and at every step."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.storage.port import (
    StorageAnswerError,
    StorageConnectionLostError,
    StorageError,
    StorageTimeoutError,
    StorageUnreachableError,
)
from tools.storage.supabase_terms import StorageAnswer
from tools.storage.tus_policy import (
    FIRST_DELAY,
    LONGEST_DELAY,
    PIECE_BYTES,
    RETRIES,
    Append,
    Create,
    FindOffset,
    Identify,
    Policy,
    Remove,
    TusStep,
    Wait,
    upload_resumably,
)

SIZE = 2 * PIECE_BYTES + 1000
ACTION = "store 'a'"
HOW = {"action": ACTION, "address": "there"}

FAILURES: dict[str, StorageError] = {
    "lost": StorageConnectionLostError(**HOW),
    "reset": StorageConnectionLostError(**HOW),
    "slow": StorageTimeoutError(**HOW),
    "unreachable": StorageUnreachableError(**HOW),
}
REFUSALS = {"error": 500, "overloaded": 503, "locked": 423, "limited": 429, "strange": 418}
MISHAPS = ("fine", "gone", "unfinished", *FAILURES, *REFUSALS)


def answer(status: int, body: bytes = b"", **headers: str) -> StorageAnswer:
    return StorageAnswer(
        action=ACTION, status=status, body=body, headers={name.replace("_", "-"): v for name, v in headers.items()}
    )


@dataclass
class Server:
    """Storage as the policy sees it. `mishaps` befall the steps one after another; then all goes well."""

    size: int = SIZE
    mishaps: list[str] = field(default_factory=list)
    uploads: dict[str, int] = field(default_factory=dict)
    stored: bool = False
    foreign: bool = False
    steps: list[TusStep] = field(default_factory=list)
    sent_bytes: int = 0

    def perform(self, step: TusStep) -> StorageAnswer | None:
        self.steps.append(step)
        match step:
            case Wait():
                return None
            case Remove(upload=upload):
                assert self.uploads.get(upload) != self.size, "a complete upload must never be removed"
                self.uploads.pop(upload, None)
                return None
        mishap = self.mishaps.pop(0) if self.mishaps else "fine"
        if mishap in REFUSALS:
            return answer(REFUSALS[mishap], b"no")
        if mishap == "unreachable":
            raise FAILURES[mishap]
        if mishap == "gone":
            self.uploads.clear()
        done = self._carried_out(step, part=mishap == "reset", finishes=mishap != "unfinished")
        if mishap == "unfinished":
            return answer(500, b"Internal Server Error")
        if mishap in FAILURES:
            raise FAILURES[mishap]
        return done

    def _carried_out(self, step: TusStep, *, part: bool, finishes: bool) -> StorageAnswer | None:
        match step:
            case Create():
                return self._create()
            case Append(upload=upload) | FindOffset(upload=upload) if upload not in self.uploads:
                return answer(404, b"Upload not found")
            case Append():
                return self._append(step, part=part, finishes=finishes)
            case FindOffset(upload=upload):
                return answer(200, Upload_Offset=str(self.uploads[upload]))
            case Identify() if self.stored:
                return answer(200, json.dumps({"id": "the-id", "size": self.size, "metadata": {}}).encode())
        return answer(404, b"Object not found")

    def _create(self) -> StorageAnswer:
        if self.stored or self.foreign:
            return answer(409, b"The resource already exists")
        name = f"upload-{len(self.steps)}"
        self.uploads[name] = 0
        return answer(201, Location=f"https://elsewhere.example/x/{name}")

    def _append(self, piece: Append, *, part: bool, finishes: bool) -> StorageAnswer:
        if self.uploads[piece.upload] != piece.offset:
            return answer(409, b"Upload-Offset conflict")
        assert piece.length == PIECE_BYTES or piece.offset + piece.length == self.size
        taken = piece.length // 2 if part else piece.length
        self.sent_bytes += taken
        self.uploads[piece.upload] += taken
        self.stored = self.stored or (finishes and self.uploads[piece.upload] == self.size)
        return answer(204, Upload_Offset=str(self.uploads[piece.upload]))


def carried_out(server: Server) -> StorageAnswer | None:
    plan = upload_resumably(size=server.size, key="b/a", action=ACTION, jitter=lambda: 0.0)
    try:
        step = next(plan)
        while True:
            try:
                done = server.perform(step)
            except StorageError as error:
                step = plan.throw(error)
            else:
                step = plan.send(done)
    except StopIteration as finished:
        result: StorageAnswer | None = finished.value
        return result


def kinds(server: Server) -> list[str]:
    return [type(step).__name__ for step in server.steps]


def test_ordinarily_nothing_is_asked_twice() -> None:
    """Announce, three pieces, and the question for the id."""
    server = Server()
    stored = carried_out(server)
    assert stored is not None
    assert json.loads(stored.body) == {"Key": "b/a", "Id": "the-id"}
    assert kinds(server) == ["Create", "Append", "Append", "Append", "Identify"]
    assert server.sent_bytes == SIZE


@given(st.lists(st.sampled_from(MISHAPS), max_size=30))
def test_whatever_fails_the_object_is_whole_or_an_error_is_raised(mishaps: list[str]) -> None:
    """Success is told of whole objects only, the number of requests is bounded, and nothing half is left on purpose."""
    server = Server(mishaps=list(mishaps))
    try:
        result = carried_out(server)
    except StorageUnreachableError:
        assert not server.uploads  # the type is a proof that nothing was sent
        assert len(server.steps) == 1
    except StorageError:
        pass
    else:
        assert result is None or not result.succeeded or server.stored
        if result is not None and result.status == 409:
            assert server.stored
    assert len(server.steps) < 200


@pytest.mark.parametrize("mishap", ["lost", "reset", "slow", "error", "overloaded", "locked", "limited"])
@pytest.mark.parametrize("place", range(5), ids=["create", "first", "middle", "last", "identify"])
def test_one_failure_anywhere_is_borne(mishap: str, place: int) -> None:
    """A single failure at any step costs one piece at most, and the object is there."""
    server = Server(mishaps=["fine"] * place + [mishap])
    result = carried_out(server)
    assert result is not None
    assert server.stored
    assert result.status in {200, 409}  # 409: the object is there, and place by place it is looked at
    assert server.sent_bytes <= SIZE + PIECE_BYTES


@pytest.mark.parametrize("failure", FAILURES)
def test_patience_ends(failure: str) -> None:
    """After so many failures in a row the last one is raised, and nothing unfinished is left."""
    server = Server(mishaps=["fine", "fine"] + [failure] * 50)
    with pytest.raises(StorageConnectionLostError if failure == "unreachable" else type(FAILURES[failure])):
        carried_out(server)
    assert sum(isinstance(step, Wait) for step in server.steps) == RETRIES
    assert kinds(server)[-1] == "Remove"


def test_waits_grow_and_follow_advice_within_bounds() -> None:
    """Each failure in a row doubles the wait; a server's own wish counts, up to a bound."""
    server = Server(mishaps=["fine"] + ["slow"] * 4)
    carried_out(server)
    waits = [step.seconds for step in server.steps if isinstance(step, Wait)]
    assert waits == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY, 8 * FIRST_DELAY]
    plan = upload_resumably(size=1, key="b/a", action=ACTION, jitter=lambda: 0.0)
    next(plan)
    assert plan.send(answer(503, b"later", Retry_After="1")) == Wait(seconds=1.0)
    next(plan)
    assert plan.send(answer(503, b"later", Retry_After="3600")) == Wait(seconds=LONGEST_DELAY)


def test_what_arrives_renews_patience() -> None:
    """A connection that breaks in every piece still brings the file there."""
    server = Server(mishaps=["fine", *(["reset", "fine"] * 12)])
    result = carried_out(server)
    assert result is not None
    assert result.succeeded
    assert server.sent_bytes == SIZE


def test_pieces_that_became_no_object_are_sent_anew() -> None:
    """That everything arrived is not enough: an object that Storage does not have is not told of."""
    server = Server(mishaps=["fine", "fine", "fine", "unfinished"])
    result = carried_out(server)
    assert server.stored
    assert result is not None
    assert result.succeeded
    assert server.sent_bytes == 2 * SIZE


def test_an_upload_that_may_be_complete_is_not_removed() -> None:
    """After the last piece it may be the stored object's bytes that are removed."""
    server = Server(mishaps=["fine", "fine", "fine", *["lost"] * 50])
    with pytest.raises(StorageConnectionLostError):
        carried_out(server)
    assert "Remove" not in kinds(server)
    assert server.stored


def test_an_object_of_somebody_else_is_not_waited_for() -> None:
    """A conflict that is not about the offset is the answer."""
    server = Server(foreign=True)
    refused = carried_out(server)
    assert refused is not None
    assert refused.status == 409
    assert kinds(server) == ["Create"]


def test_an_object_that_appears_meanwhile_is_not_waited_for() -> None:
    """A piece that is refused although its offset is right is refused for the object's sake."""
    server = Server()
    plan = upload_resumably(size=SIZE, key="b/a", action=ACTION, jitter=lambda: 0.0)
    next(plan)
    plan.send(answer(201, Location="/x/u"))
    assert isinstance(plan.send(answer(409, b"The resource already exists")), Wait)
    assert isinstance(next(plan), FindOffset)
    assert plan.send(answer(200, Upload_Offset="0")) == Remove(upload="u")
    with pytest.raises(StopIteration) as ended:
        next(plan)
    assert ended.value.value.status == 409
    assert server.steps == []


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_resumable_uploads_is_recognised(status: int) -> None:
    """Nothing was created, so the caller may send the whole in one request."""
    plan = upload_resumably(size=SIZE, key="b/a", action=ACTION, jitter=lambda: 0.0)
    next(plan)
    with pytest.raises(StopIteration) as ended:
        plan.send(answer(status, b"no such route"))
    assert ended.value.value is None


def test_a_missing_bucket_is_not_a_missing_protocol() -> None:
    """Its own sentence tells the two apart."""
    plan = upload_resumably(size=SIZE, key="b/a", action=ACTION, jitter=lambda: 0.0)
    next(plan)
    with pytest.raises(StopIteration) as ended:
        plan.send(answer(404, b"Bucket not found"))
    assert ended.value.value.status == 404


@pytest.mark.parametrize(
    "nonsense",
    [
        [answer(201)],
        [answer(201, Location="/x/u"), answer(204)],
        [answer(201, Location="/x/u"), answer(204, Upload_Offset="many")],
        [answer(201, Location="/x/u"), answer(204, Upload_Offset=str(SIZE + 1))],
        [answer(201, Location="/x/u"), *[answer(204, Upload_Offset="0")] * (RETRIES + 1)],
    ],
    ids=["no place", "no offset", "no number", "too far", "nothing kept"],
)
def test_nonsense_is_an_error(nonsense: list[StorageAnswer]) -> None:
    """An answer that cannot be understood ends the upload; nothing is guessed."""
    plan = upload_resumably(size=SIZE, key="b/a", action=ACTION, jitter=lambda: 0.0)
    with pytest.raises(StorageAnswerError):
        answered(plan, nonsense)


def answered(plan: Policy[StorageAnswer | None], answers: list[StorageAnswer]) -> None:
    """Give a plan these answers; what needs none is passed over."""
    step = next(plan)
    for said in answers:
        step = plan.send(said)
        while isinstance(step, Remove | Wait):
            step = next(plan)
