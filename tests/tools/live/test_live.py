"""Live shadows of real uploads: the shadow really uploads, is compared by reading back, and is undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration import Side
from migration.model import Verdict
from tests.tools.live.bench import Bench, document
from tests.tools.live.conftest import MakeBench
from tools.engine import gateway, throttle
from tools.engine.limiter import Priority
from tools.engine.throttle import Place
from tools.providers.spec import Provider


@pytest.mark.parametrize("serve", Side)
@pytest.mark.parametrize("size", [1, 3_000_000])
def test_the_true_implementations_are_identical(size: int, serve: Side, bench: Bench, tmp_path: Path) -> None:
    """Whatever the size and the serving side, both make the same, and what the call itself made is all that stays."""
    path = document(tmp_path, bytes(range(256)) * (size // 256) + b"x" * (size % 256), "Größe '1'.txt")
    comparison = bench.upload(path, serve=serve)
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)
    held = bench.state()
    assert (len(held.files), len(held.objects), len(held.rows)) == (1, 1, 1)
    assert not held.marked
    assert not bench.notices
    creations = bench.sandbox.requests(bench.provider, "files.create")
    assert len(creations) == 2


@pytest.mark.parametrize(("serve", "priority"), [(Side.LEGACY, Priority.SHADOW), (Side.CANDIDATE, Priority.USER)])
def test_users_come_before_shadows(
    serve: Side, priority: Priority, make_bench: MakeBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The asynchronous upload of a shadow queues behind the users' at its provider; a caller's own does not."""
    queued: list[Priority] = []

    def upload_place(provider: Provider, size: int) -> Place:
        queued.append(throttle._priority.get())
        return throttle.upload_place(provider, size)

    monkeypatch.setattr(gateway, "upload_place", upload_place)
    comparison = make_bench().upload(document(tmp_path, b"x" * 1000, "short.txt"), serve=serve)
    assert comparison.verdict is Verdict.IDENTICAL, (comparison.detail, comparison.differences)
    assert queued == [priority]
