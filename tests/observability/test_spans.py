from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode, get_current_span

from migration import Comparison, Decision, Reason, Side
from migration.model import Difference, Notice, NoticeKind, Operation, Outcome, Verdict
from observability import Telemetry, TelemetryHandle, setup
from observability.names import Attribute, Event
from observability.testing import Capture
from tests.observability.making import NAME, a_call, a_decision, call_operation, run, side_operation


def context(span: ReadableSpan) -> Any:
    assert span.context is not None
    return span.context


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_side_runs_inside_its_call(telemetry: Telemetry, capture: Capture) -> None:
    """The span of a side is a child of the span of its call, in the same trace."""
    whole, side = call_operation(), side_operation(Side.LEGACY)
    with telemetry.operation(whole):
        run(telemetry, side)
        whole.outcome = side.outcome
    parent, child = capture.span(NAME), capture.span(f"{NAME} legacy")
    assert parent.parent is None
    assert child.parent == parent.context


def test_names_of_implementations(telemetry: Telemetry, capture: Capture) -> None:
    """The candidate is called `candidate`, in span names and attributes."""
    run(telemetry, side_operation(Side.CANDIDATE))
    assert attributes(capture.span(f"{NAME} candidate"))[Attribute.SIDE] == "candidate"


def test_call_shows_where_and_why(telemetry: Telemetry, capture: Capture) -> None:
    """The call's span says what is uploaded, who called, who serves, and why."""
    run(telemetry, call_operation(size=7))
    assert attributes(capture.span(NAME)) == {
        "upload.provider": "kimi",
        "file.size": 7,
        "migration.side": "candidate",
        "migration.role": "primary",
        "feature_flag.result.reason": "split",
        "code.function.name": "ask",
        "code.file.path": "smart_file_query.py",
        "code.line.number": 42,
    }


def test_trace_is_handed_back(telemetry: Telemetry, capture: Capture) -> None:
    """The operation is given the traceparent of its span while it runs."""
    operation = call_operation()
    with telemetry.operation(operation):
        current = get_current_span().get_span_context()
        assert operation.trace == f"00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags:02x}"
    assert current == capture.span(NAME).context


def test_shadow_is_its_own_trace(telemetry: Telemetry, capture: Capture) -> None:
    """A shadow is a root even inside another span, and linked to its primary."""
    primary = side_operation(Side.CANDIDATE)
    run(telemetry, primary)
    with telemetry.operation(call_operation()):
        run(telemetry, side_operation(Side.LEGACY, link=primary.trace))
    shadow = capture.span(f"{NAME} legacy")
    of_primary = context(capture.span(f"{NAME} candidate"))
    assert shadow.parent is None
    assert context(shadow).trace_id != of_primary.trace_id
    (link,) = shadow.links
    assert (link.context.trace_id, link.context.span_id) == (of_primary.trace_id, of_primary.span_id)
    assert attributes(shadow)[Attribute.ROLE] == "shadow"


def test_shadow_without_a_usable_link(telemetry: Telemetry, capture: Capture) -> None:
    """A link that is no traceparent costs the link, not the span."""
    run(telemetry, side_operation(Side.LEGACY, link="nonsense"))
    assert capture.span(f"{NAME} legacy").links == ()


def test_success_has_no_error(telemetry: Telemetry, capture: Capture) -> None:
    """Status and `error.type` are left alone on success."""
    run(telemetry, side_operation())
    span = capture.span(f"{NAME} candidate")
    assert span.status.status_code is StatusCode.UNSET
    assert Attribute.ERROR_TYPE not in attributes(span)


def test_failure_is_named_but_not_quoted(telemetry: Telemetry, capture: Capture) -> None:
    """A failure shows its type and where it was raised; its message, which may hold anything, is nowhere."""
    try:
        raise RuntimeError("key sk-secret for secret-name.pdf")  # noqa: TRY301  # gives it a traceback
    except RuntimeError as raised:
        run(telemetry, side_operation(), error=raised)
    span = capture.span(f"{NAME} candidate")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert attributes(span)[Attribute.ERROR_TYPE] == "RuntimeError"
    assert attributes(span)[Attribute.ERROR_LOCATION].startswith("test_spans.py:")
    assert span.events == ()
    assert "secret" not in span.to_json()


def test_arguments_are_never_shown(telemetry: Telemetry, capture: Capture) -> None:
    """What a function was called with is not in its spans."""
    run(telemetry, call_operation())
    assert "secret-name" not in capture.span(NAME).to_json()


def test_fallback_shows_who_served(telemetry: Telemetry, capture: Capture) -> None:
    """After a fallback the call's span names the side that answered."""
    whole = call_operation()
    with telemetry.operation(whole):
        whole.outcome = Outcome(side=Side.LEGACY, seconds=1.0)
    assert attributes(capture.span(NAME))[Attribute.SIDE] == "legacy"


def test_interrupt_without_outcome(telemetry: Telemetry, capture: Capture) -> None:
    """What passes through the manager before there is an outcome is the failure, and the span still ends."""

    def interrupted() -> None:
        with telemetry.operation(side_operation()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert attributes(capture.span(f"{NAME} candidate"))[Attribute.ERROR_TYPE] == "KeyboardInterrupt"
    assert not get_current_span().get_span_context().is_valid


def test_flag_evaluation_event(telemetry: Telemetry, capture: Capture) -> None:
    """The decision is a log event inside the call's span, with the names of the conventions."""
    decision = a_decision(reason=Reason.ERROR, serve=Side.LEGACY, error="OSError", flag_version="v9", probability=0.0)
    run(telemetry, Operation(call=a_call(), decision=decision))
    (event,) = capture.events(Event.FLAG_EVALUATION)
    assert event.span_id == context(capture.span(NAME)).span_id
    assert dict(event.attributes or {}) == {
        "feature_flag.key": NAME,
        "feature_flag.result.variant": "legacy",
        "feature_flag.result.reason": "error",
        "feature_flag.context.id": "unit-1",
        "feature_flag.provider.name": "file",
        "feature_flag.version": "v9",
        "error.type": "OSError",
        "migration.decision.probability": 0.0,
        "migration.decision.shadow_probability": 0.0,
    }


def test_one_evaluation_a_call(telemetry: Telemetry, capture: Capture) -> None:
    """The runs of the sides do not report the decision again."""
    whole = call_operation()
    with telemetry.operation(whole):
        run(telemetry, side_operation())
        whole.outcome = Outcome(side=Side.CANDIDATE, seconds=1.0)
    assert len(capture.events(Event.FLAG_EVALUATION)) == 1


def test_difference_is_an_event_without_values(telemetry: Telemetry, capture: Capture) -> None:
    """A shadow that differs is reported in the shadow's trace, with the names of the fields and not their values."""
    shadow = side_operation(Side.LEGACY, link="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    run(telemetry, shadow)
    comparison = Comparison(
        call=a_call(),
        decision=a_decision(),
        verdict=Verdict.DIFFERENT,
        differences=(Difference(field="filename", legacy="secret-a", candidate="secret-b"),),
        shadow_trace=shadow.trace,
    )
    telemetry.compared(comparison)
    (event,) = capture.events(Event.SHADOW_COMPARED)
    assert event.trace_id == context(capture.span(f"{NAME} legacy")).trace_id
    assert (event.attributes or {})[Attribute.DIFFERENT_FIELDS] == ("filename",)
    assert "secret" not in str(event.attributes)


def test_identical_is_no_event(telemetry: Telemetry, capture: Capture) -> None:
    """Agreement is counted and needs no look."""
    telemetry.compared(Comparison(call=a_call(), decision=a_decision(), verdict=Verdict.IDENTICAL))
    assert capture.events(Event.SHADOW_COMPARED) == []


def test_notice_is_an_event(telemetry: Telemetry, capture: Capture) -> None:
    """A message for operators is passed on as the body of a log event."""
    telemetry.noticed(Notice(kind=NoticeKind.FELL_BACK, migration=NAME, text="legacy served the call"))
    (event,) = capture.events(Event.NOTICE)
    assert event.body == "legacy served the call"


def test_disabled_sees_nothing() -> None:
    """With OTEL_SDK_DISABLED nothing is observed, and everything can be called all the same."""
    capture = Capture()
    handle = setup(environ={"OTEL_SDK_DISABLED": "TRUE"}, capture=capture, prometheus_port=0)
    telemetry = Telemetry(handle)
    operation = call_operation()
    run(telemetry, operation)
    telemetry.compared(Comparison(call=a_call(), decision=a_decision(), verdict=Verdict.DIFFERENT))
    telemetry.noticed(Notice(kind=NoticeKind.BLOCKED_EVENT_LOOP, migration=NAME, text="-"))
    assert not handle.enabled
    assert handle.prometheus_url is None
    assert operation.trace is None
    assert capture.spans() == ()
    assert handle.shutdown()


def test_two_telemetries_do_not_mix(telemetry: Telemetry, capture: Capture) -> None:
    """Two set-ups in one process see only what they are told."""
    other_capture = Capture()
    other_handle = setup(environ={}, capture=other_capture)
    run(Telemetry(other_handle), call_operation(migration="other"))
    run(telemetry, call_operation())
    other_handle.shutdown()
    assert [span.name for span in capture.spans()] == [NAME]
    assert [span.name for span in other_capture.spans()] == ["other"]


def test_service_name(handle: TelemetryHandle, telemetry: Telemetry, capture: Capture) -> None:
    """The service is named after the environment, or after this project."""
    run(telemetry, call_operation())
    assert capture.span(NAME).resource.attributes[Attribute.SERVICE_NAME] == "migration-shim"
    assert handle.enabled
    named = Capture()
    other = setup(environ={"OTEL_SERVICE_NAME": "monolith"}, capture=named)
    run(Telemetry(other), call_operation())
    other.shutdown()
    assert named.span(NAME).resource.attributes[Attribute.SERVICE_NAME] == "monolith"


def test_unknown_decision_values_survive(telemetry: Telemetry, capture: Capture) -> None:
    """A decision without source, version or error leaves those attributes out."""
    run(telemetry, Operation(call=a_call(), decision=Decision(serve=Side.LEGACY, reason=Reason.DEFAULT)))
    (event,) = capture.events(Event.FLAG_EVALUATION)
    absent = {Attribute.FLAG_PROVIDER_NAME, Attribute.FLAG_VERSION, Attribute.ERROR_TYPE}
    assert absent.isdisjoint(event.attributes or {})
