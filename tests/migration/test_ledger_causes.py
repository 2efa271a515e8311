"""Comparisons are grouped by what may have caused them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from migration import Side
from migration.model import Difference, Verdict
from migration.shadow.comparing import differences, shown
from migration.store import DifferenceKind, RecordedComparison, Symptom, causes, symptoms
from migration.store.causes import generalised

Found = tuple[str, str, str]


def recorded(
    number: int,
    *found: Found,
    verdict: Verdict = Verdict.DIFFERENT,
    function: str = "f",
    detail: str = "",
    noisy: tuple[str, ...] = (),
) -> RecordedComparison:
    return RecordedComparison(
        id=number,
        at=float(number),
        migration="m",
        function=function,
        call_id="u",
        mode="replay",
        verdict=verdict,
        differences=tuple(Difference(field=name, legacy=old, candidate=new) for name, old, new in found),
        noisy=noisy,
        masked=(),
        unused_masks=(),
        detail=detail,
        attributes={},
        flag_version=None,
        primary_side=Side.LEGACY,
        primary_seconds=None,
        shadow_seconds=None,
        primary_trace=None,
        shadow_trace=None,
    )


def length(index: int = 0) -> Found:
    return f"requests[{index}].parts[1].length", "10", "9"


def digest(index: int = 0) -> Found:
    return f"requests[{index}].parts[1].sha256", "'aa'", "'bb'"


def test_fields_that_differ_together_are_one_cause() -> None:
    """A lost byte shows in several fields and, over several calls, under several indexes; it is one thing."""
    [cause] = causes(
        [recorded(3, length(4), digest(4)), recorded(2, length(), digest()), recorded(1, length(), digest())]
    )
    assert [each.field for each in cause.symptoms] == ["requests[*].parts[*].length", "requests[*].parts[*].sha256"]
    assert (cause.count, cause.first_at, cause.last_at, cause.example) == (3, 1.0, 3.0, 3)
    assert (cause.migration, cause.function, cause.verdict) == ("m", "f", "different")


def test_fields_that_also_differ_alone_are_causes_of_their_own() -> None:
    """The more frequent one comes first; a comparison with both counts for both."""
    found = causes([recorded(3, digest()), recorded(2, length(), digest())])
    assert [(cause.symptoms[0].field.rpartition(".")[2], cause.count) for cause in found] == [
        ("sha256", 2),
        ("length", 1),
    ]


def test_functions_and_verdicts_are_kept_apart() -> None:
    """The same field of another function is another cause."""
    error = ("error.type", "(absent)", "'OSError'")
    found = causes(
        [
            recorded(3, length()),
            recorded(2, length(), function="g"),
            recorded(1, error, verdict=Verdict.CANDIDATE_ERROR),
        ]
    )
    assert {(cause.function, cause.verdict) for cause in found} == {
        ("f", "different"),
        ("g", "different"),
        ("f", "candidate_error"),
    }


def test_an_error_of_one_side_is_the_cause_of_everything_else() -> None:
    """That the failed side has no result and sent less is no news; errors of different types are kept apart."""

    def failed(number: int, kind: str) -> RecordedComparison:
        return recorded(
            number,
            ("result.id", "'1'", "(absent)"),
            ("requests.count", "2", "1"),
            ("error.type", "(absent)", repr(kind)),
            ("error.text", "(absent)", f"'file {number}'"),
            verdict=Verdict.CANDIDATE_ERROR,
        )

    found = causes([failed(3, "OSError"), failed(2, "ValueError"), failed(1, "OSError")])
    assert [(cause.count, cause.symptoms) for cause in found] == [
        (
            2,
            (Symptom(field="error.type", kind=DifferenceKind.ERROR, legacy="(no error)", candidate="OSError: file 3"),),
        ),
        (
            1,
            (
                Symptom(
                    field="error.type", kind=DifferenceKind.ERROR, legacy="(no error)", candidate="ValueError: file 2"
                ),
            ),
        ),
    ]


def test_an_error_of_legacy_stands_on_its_side() -> None:
    """Even when so much differs that its text is not listed."""
    [symptom] = symptoms(
        Verdict.LEGACY_ERROR, [Difference(field="error.type", legacy="'OSError'", candidate="(absent)")]
    )
    assert (symptom.legacy, symptom.candidate) == ("OSError", "(no error)")
    [symptom] = symptoms(Verdict.LEGACY_ERROR, [])
    assert (symptom.legacy, symptom.candidate) == ("", "(no error)")


def test_what_was_not_compared_is_grouped_by_its_reason() -> None:
    """Figures in the reason do not keep two groups apart."""
    found = causes(
        [
            recorded(3, verdict=Verdict.DROPPED, detail="64 shadows are already waiting"),
            recorded(2, verdict=Verdict.DROPPED, detail="8 shadows are already waiting"),
            recorded(1, verdict=Verdict.DROPPED, detail="nothing was recorded"),
        ]
    )
    assert [(cause.count, cause.detail) for cause in found] == [
        (2, "64 shadows are already waiting"),
        (1, "nothing was recorded"),
    ]


def test_noise_is_no_cause() -> None:
    """Beside a field that means something, one that is known to be noise is left out; alone it stands."""
    noisy = digest()[0]
    found = causes([recorded(2, length(), digest(), noisy=(noisy,)), recorded(1, digest(), noisy=(noisy,))])
    assert [[each.field for each in cause.symptoms] for cause in found] == [
        ["requests[*].parts[*].length"],
        ["requests[*].parts[*].sha256"],
    ]


def test_nothing_has_no_causes() -> None:
    """No comparison, no group."""
    assert causes([]) == []


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=300),
    st.binary(max_size=5),
    st.just({}),
    st.just([]),
)


@given(VALUES, VALUES)
def test_kinds_follow_the_types(left: object, right: object) -> None:
    """Two values of one type differ in value, of two types in type, whatever they are and however long."""
    found = differences({"a": left}, {"a": right})
    expected = DifferenceKind.VALUE if type(left) is type(right) else DifferenceKind.TYPE
    for symptom in symptoms(Verdict.DIFFERENT, found):
        assert symptom.kind is expected, (shown(left), shown(right))


@given(VALUES, st.booleans())
def test_a_field_that_one_side_lacks_is_absent(value: object, legacy: bool) -> None:  # noqa: FBT001  # drawn
    """Whichever side has it."""
    old, new = ({"a": value}, {}) if legacy else ({}, {"a": value})
    [symptom] = symptoms(Verdict.DIFFERENT, differences(old, new))
    assert symptom.kind is DifferenceKind.ABSENT


@given(st.lists(st.tuples(st.sampled_from(["a", "b.c", "header.x-y"]), st.integers(0, 10**6)), min_size=1))
def test_paths_without_indexes(parts: list[tuple[str, int]]) -> None:
    """Whatever the indexes are, the general path is the same, and it has no figure in brackets."""
    path = ".".join(f"{name}[{index}]" for name, index in parts)
    assert generalised(path) == ".".join(f"{name}[*]" for name, _ in parts)
    assert generalised(generalised(path)) == generalised(path)
