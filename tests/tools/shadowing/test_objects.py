"""One object, described in three protocols."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.http.facts import RequestTarget
from tools.shadowing.objects import (
    Fact,
    ObjectFacts,
    ObjectKey,
    announcement,
    described_by_announcement,
    described_by_form,
    described_by_headers,
)

PLACE = ObjectKey("user-files", "kimi-gateway/a?.txt")
metadata = st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.none()), max_size=4)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@given(st.sampled_from(["text/plain", "a/b; c=d"]), st.integers(0, 10**6).map(str), metadata)
def test_the_same_object_reads_the_same_in_every_protocol(
    content_type: str, seconds: str, said: dict[str, object]
) -> None:
    """Content type, cache control and metadata, whichever way they came."""
    document = json.dumps(said)
    form = described_by_form({"cacheControl": seconds, "metadata": document}, content_type)
    headers = {"Content-Type": content_type, "Cache-Control": f"max-age={seconds}", "x-metadata": encoded(document)}
    values = {"contentType": content_type, "cacheControl": seconds, "metadata": document}
    announced = ",".join(f"{name} {encoded(value)}" for name, value in values.items())
    assert form == described_by_headers(headers) == described_by_announcement(announcement(announced))


def test_what_is_left_out_reads_the_same_in_every_protocol() -> None:
    """Storage has one set of defaults."""
    assert described_by_form({}, None) == described_by_headers({}) == described_by_announcement({})


def test_a_field_that_nobody_knows_is_not_ignored() -> None:
    """A form with more than Storage reads is not the same form."""
    assert described_by_form({"odd": "1"}, None) != described_by_form({}, None)


@pytest.mark.parametrize("broken", ["no base64", "e30=", encoded("no json")])
def test_broken_metadata_are_compared_as_they_are(broken: str) -> None:
    """Nothing that arrives can make a comparison fail."""
    described = described_by_headers({"x-metadata": broken})["metadata"]
    assert described == {} if broken == "e30=" else isinstance(described, str)


@given(st.text(max_size=200))
def test_any_announcement_can_be_read(header: str) -> None:
    """Whatever stands in the header."""
    described_by_announcement(announcement(header))


@pytest.mark.parametrize(
    ("method", "path", "stores"),
    [
        ("POST", "/storage/v1/object/user-files/kimi-gateway/a?.txt", True),
        ("PUT", "/storage/v1/object/user-files/kimi-gateway/a?.txt", True),
        ("GET", "/storage/v1/object/user-files/kimi-gateway/a?.txt", False),
        ("POST", "/storage/v1/object/list/user-files", False),
        ("POST", "/storage/v1/object/move", False),
        ("DELETE", "/storage/v1/object/user-files", False),
        ("POST", "/storage/v1/bucket", False),
        ("POST", "/rest/v1/provider_file_uploads", False),
    ],
)
def test_what_stores_an_object(method: str, path: str, stores: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """Only storing is taken out of the comparison of requests; all else stays in it."""
    assert (ObjectKey.stored_at(RequestTarget("supabase", method, path)) == PLACE) is stores
    assert ObjectKey.stored_at(RequestTarget("kimi", method, path)) is None


def test_what_looks_at_an_object() -> None:
    """Only the question what is there."""
    path = "/storage/v1/object/info/user-files/kimi-gateway/a?.txt"
    assert ObjectKey.looked_at(RequestTarget("supabase", "GET", path)) == PLACE
    assert ObjectKey.looked_at(RequestTarget("supabase", "POST", path)) is None
    assert ObjectKey.looked_at(RequestTarget("supabase", "GET", "/storage/v1/bucket/a")) is None


def test_an_object_stands_where_it_became_complete() -> None:
    """Not where it was begun; and one that never became complete says so."""
    seen: list[Fact] = []
    facts = ObjectFacts(seen)
    first, never = facts.begun(PLACE), facts.begun(ObjectKey("user-files", "b"))
    seen.append({"service": "kimi"})
    facts.stored(first, length=1, sha256="x")
    assert [fact.get("outcome") for fact in seen] == ["never complete", None, "stored"]
    assert seen[0] is never


def test_refusals_are_compared_without_content() -> None:
    """One protocol is refused before its content is known."""
    seen: list[Fact] = []
    facts = ObjectFacts(seen)
    facts.refused(facts.begun(PLACE), length=7, recorded=True)
    assert "sha256" not in seen[0]
    assert (seen[0]["outcome"], seen[0]["length"]) == ("refused", 7)
