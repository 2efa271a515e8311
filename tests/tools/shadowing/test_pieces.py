"""The server's half of resumable uploads in a rehearsal."""

from __future__ import annotations

import hashlib
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.http.recording import Exchange
from tools.shadowing.objects import MAX_UPLOADS, ObjectInPieces, ObjectKey, ObjectRefusedError, Uploads


def begun(length: int) -> ObjectInPieces:
    answer = Exchange(method="POST", url="u", status=200)
    return ObjectInPieces(place=ObjectKey("b", "a"), length=length, fact={}, answer=answer)


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_pieces_are_hashed_as_one(pieces: list[bytes]) -> None:
    """However it is cut, length and digest are those of the whole."""
    whole = b"".join(pieces)
    upload = begun(len(whole))
    for piece in pieces:
        with upload.receiving(upload.received, len(piece)):
            upload.add(piece)
    assert upload.is_complete
    assert upload.sha256 == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize(
    ("offset", "length", "status"),
    [(1, 1, HTTPStatus.CONFLICT), (0, 11, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)],
    ids=["elsewhere", "too much"],
)
def test_a_piece_that_does_not_belong_is_refused(offset: int, length: int, status: HTTPStatus) -> None:
    """With the protocol's status for it."""
    with pytest.raises(ObjectRefusedError) as refused, begun(10).receiving(offset, length):
        pytest.fail("taken in")
    assert refused.value.status is status


def test_two_pieces_at_once_are_refused() -> None:
    """They would be hashed in no order."""
    upload = begun(10)
    with upload.receiving(0, 5), pytest.raises(ObjectRefusedError) as refused, upload.receiving(0, 5):
        pytest.fail("taken in")
    assert refused.value.status is HTTPStatus.LOCKED
    with upload.receiving(0, 5):
        upload.add(b"12345")


def test_unfinished_uploads_are_bounded() -> None:
    """One too many is refused; one that ended makes room."""
    uploads = Uploads()
    names = [uploads.begin(begun(1)) for _ in range(MAX_UPLOADS)]
    with pytest.raises(ObjectRefusedError):
        uploads.begin(begun(1))
    uploads.end(names[0])
    assert uploads.begin(begun(1)) not in names
    with pytest.raises(ObjectRefusedError):
        uploads.get(names[0])
