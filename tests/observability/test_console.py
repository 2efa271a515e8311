from __future__ import annotations

import io
import re

from migration import Side
from observability import Sources, Telemetry, setup
from tests.observability.making import NAME, call_operation, run, side_operation


def printed(*errors: Exception | None, migration: str = NAME) -> list[str]:
    """What a console shows of one run for each of `errors`, and of a shadow of the last."""
    out = io.StringIO()
    handle = setup(environ={}, console=out, sources=Sources(labels=("upload.provider",)))
    telemetry = Telemetry(handle)
    for error in errors:
        run(telemetry, side_operation(migration=migration), error=error)
    assert handle.shutdown()
    return out.getvalue().splitlines()


def test_one_line_a_span() -> None:
    """A span is one line: when, name, how long, how it ended, what it was about, its trace."""
    (line,) = printed(None)
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} async-upload-kimi candidate +\d+\.\d ms ok +provider=kimi candidate primary bytes=4096 "
        r"trace=[0-9a-f]{32}",
        line,
    )


def test_failure_stands_out() -> None:
    """A failed span says FAILED and the type of the failure."""
    ok, failed = printed(None, OSError("secret"))
    assert "FAILED" not in ok
    assert "FAILED" in failed
    assert "error=OSError" in failed
    assert "secret" not in failed


def test_shadow_names_its_primary() -> None:
    """A shadow's line ends with the trace that it shadows."""
    out = io.StringIO()
    handle = setup(environ={}, console=out)
    telemetry = Telemetry(handle)
    primary = side_operation(Side.CANDIDATE)
    run(telemetry, primary)
    run(telemetry, side_operation(Side.LEGACY, link=primary.trace))
    handle.shutdown()
    assert primary.trace is not None
    assert out.getvalue().splitlines()[1].endswith(f"shadows={primary.trace.split('-')[1]}")


def test_control_characters_do_not_reach_the_terminal() -> None:
    """A name with control characters cannot move the cursor or add lines."""
    (line,) = printed(None, migration="evil\x1b[2J\nname")
    assert "evil?[2J?name" in line


def test_a_closed_console_hurts_no_call() -> None:
    """A terminal that has gone away costs the lines, not the calls."""
    out = io.StringIO()
    handle = setup(environ={}, console=out)
    out.close()
    run(Telemetry(handle), call_operation())
    handle.shutdown()
