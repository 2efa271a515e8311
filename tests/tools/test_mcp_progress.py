"""How far a call is, told from its requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.http.attempts import looked_on_by, note_begin, note_sent, onlooker
from tools.mcp import QueryPhase, QueryProgress, phase_of

KIMI = "https://api.moonshot.ai/v1"
GLM = "https://api.z.ai/api/paas/v4"
SUPABASE = "https://x.supabase.co"

REQUESTS = [
    ("upload_file", "storage:kimi/report.txt", QueryPhase.COPY),
    ("find_upload", "storage:kimi/0123", None),
    ("record_upload", "storage:id", None),
    ("POST", f"{SUPABASE}/storage/v1/object/user-files/files/a.txt", QueryPhase.COPY),
    ("PATCH", f"{SUPABASE}/storage/v1/upload/resumable/id", QueryPhase.COPY),
    ("GET", f"{SUPABASE}/storage/v1/object/info/files/a.txt", None),
    ("POST", f"{SUPABASE}/rest/v1/uploads", None),
    ("POST", f"{KIMI}/files", QueryPhase.UPLOAD),
    ("GET", f"{KIMI}/files?limit=100", None),
    ("GET", f"{KIMI}/files/id/content", QueryPhase.READING),
    ("POST", f"{GLM}/files/parser/create", QueryPhase.READING),
    ("POST", f"{GLM}/chat/completions", QueryPhase.ANSWERING),
]


@pytest.mark.parametrize(("method", "url", "phase"), REQUESTS)
def test_what_a_request_is_made_for(method: str, url: str, phase: QueryPhase | None) -> None:
    """Each request of either implementation, to either provider and storage, is known for what it is."""
    assert phase_of(method, url) is phase


@given(st.lists(st.sampled_from(REQUESTS)))
def test_a_phase_never_goes_back(requests: list[tuple[str, str, QueryPhase | None]]) -> None:
    """Whatever is asked in whatever order, the furthest phase stays, and each was begun at most once."""
    progress = QueryProgress()
    for method, url, _ in requests:
        before = progress.phase
        progress.began(method=method, url=url)
        assert progress.phase >= before
    assert progress.seen == sorted(set(progress.seen))


def test_bytes_of_a_phase() -> None:
    """The pieces of a body add up, a body that is sent again begins with nothing, and so does a further phase."""
    progress = QueryProgress()
    progress.began(method="PATCH", url=f"{SUPABASE}/storage/v1/upload/resumable/id")
    progress.sent(5)
    progress.began(method="PATCH", url=f"{SUPABASE}/storage/v1/upload/resumable/id")
    progress.sent(5)
    assert progress.bytes_sent == 10
    progress.began(method="POST", url=f"{KIMI}/files")
    assert progress.bytes_sent == 0
    progress.sent(7)
    progress.began(method="POST", url=f"{KIMI}/files")
    assert progress.bytes_sent == 0


def test_who_looks_on_cannot_hurt() -> None:
    """What an onlooker raises ends there, and outside of its context nothing is told."""

    class Failing:
        def began(self, *, method: str, url: str) -> None:
            raise ValueError(method + url)

        def sent(self, count: int) -> None:
            raise ValueError(count)

    with looked_on_by(Failing()):
        note_begin(method="POST", url=KIMI)
        note_sent(1)
    assert onlooker() is None
