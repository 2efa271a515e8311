"""Routing by a local file."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flags import FileFlagAdmin, FlagFileError, Freshness, UnleashRouter
from migration import Reason, Router, Side
from tests.flags.helpers import NAME, decide_until, eventually, feature, make_call, payload, rollout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flags.json"


@pytest.fixture
def admin(path: Path) -> FileFlagAdmin:
    return FileFlagAdmin(path)


@pytest.fixture
def router(path: Path, admin: FileFlagAdmin) -> Iterator[UnleashRouter]:
    admin.ensure(NAME)
    admin.set_percentage(NAME, 100)
    router = UnleashRouter.from_file(path, interval=0.02)
    yield router
    router.close()


def test_is_a_router(router: UnleashRouter) -> None:
    """The first decision already follows the file and carries all that is known of it."""
    port: Router = router
    decision = port.decide(make_call())
    assert (decision.serve, decision.shadow, decision.probability) == (Side.CANDIDATE, False, 1.0)
    assert (decision.reason, decision.source, decision.error) == (Reason.STATIC, "file", None)
    assert decision.flag_version is not None


def test_an_edit_takes_effect(router: UnleashRouter, admin: FileFlagAdmin) -> None:
    """Turning the flag off, on, and to another percentage is seen, and the version changes with it."""
    versions = {router.decide(make_call()).flag_version}
    admin.turn_off(NAME, "too many errors")
    decision = decide_until(router, lambda decision: decision.serve is Side.LEGACY)
    assert (decision.reason, decision.probability) == (Reason.DISABLED, 0.0)
    versions.add(decision.flag_version)
    admin.set_percentage(NAME, 30)
    admin.turn_on(NAME)
    decision = decide_until(router, lambda decision: decision.reason is Reason.SPLIT)
    assert decision.probability == 0.3
    assert len(versions | {decision.flag_version}) == 3


def test_default_look_is_within_a_second(path: Path, admin: FileFlagAdmin, tell: Callable[[str], None]) -> None:
    """With default settings an edit takes effect within a second."""
    admin.ensure(NAME)
    router = UnleashRouter.from_file(path)
    admin.set_percentage(NAME, 100)
    edited = time.monotonic()
    decide_until(router, lambda decision: decision.serve is Side.CANDIDATE)
    tell(f"from an edit of the file to its effect: {time.monotonic() - edited:.2f} s")
    router.close()


def test_an_edit_that_keeps_size_and_times_counts(router: UnleashRouter, path: Path) -> None:
    """An edit in place is seen even if neither the size nor the times of the file change."""
    before = path.stat()
    path.write_text(path.read_text().replace('"enabled": true', '"enabled":false'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    decide_until(router, lambda decision: decision.reason is Reason.DISABLED)


def test_shadow_flag(router: UnleashRouter, admin: FileFlagAdmin) -> None:
    """The shadow is decided by its own flag, for either side, with its own probability."""
    admin.ensure(f"{NAME}.shadow")
    admin.set_percentage(f"{NAME}.shadow", 100)
    assert decide_until(router, lambda decision: decision.shadow).shadow_probability == 1.0
    admin.set_percentage(NAME, 0)
    assert decide_until(router, lambda decision: decision.serve is Side.LEGACY).shadow
    admin.turn_off(f"{NAME}.shadow", "no disk left")
    assert decide_until(router, lambda decision: not decision.shadow).shadow_probability == 0.0


def test_shares_are_decided_by_unit(router: UnleashRouter, admin: FileFlagAdmin) -> None:
    """About the wanted share of units is served by the candidate, and the same unit always alike."""
    admin.set_percentage(NAME, 25)
    decide_until(router, lambda decision: decision.probability == 0.25)
    first, second = ([router.decide(make_call(unit)).serve for unit in range(1000)] for _ in range(2))
    assert first == second
    assert 200 < first.count(Side.CANDIDATE) < 300


def test_unknown_flag_is_legacy(router: UnleashRouter) -> None:
    """A migration without a flag is served by legacy, without a shadow, and the decision says why."""
    decision = router.decide(make_call(name="never-heard-of"))
    assert (decision.serve, decision.shadow, decision.reason) == (Side.LEGACY, False, Reason.DEFAULT)
    assert decision.error == "FlagNotFoundError"


def test_a_broken_shadow_flag_does_not_touch_the_call(router: UnleashRouter, path: Path) -> None:
    """A broken shadow flag means no shadow; who serves is decided as before."""
    path.write_text(payload(feature(rollout("100")), feature(rollout("150"), name=f"{NAME}.shadow")))
    decision = decide_until(router, lambda decision: decision.error is not None)
    assert (decision.serve, decision.shadow, decision.error) == (Side.CANDIDATE, False, "InvalidPercentageError")


def test_no_shadow_without_a_sound_flag(router: UnleashRouter, path: Path) -> None:
    """If the flag itself is broken, nothing is shadowed either."""
    path.write_text(payload(feature(rollout("150")), feature(rollout("100"), name=f"{NAME}.shadow")))
    decision = decide_until(router, lambda decision: decision.error is not None)
    assert (decision.serve, decision.shadow, decision.shadow_probability) == (Side.LEGACY, False, 0.0)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b'{"features": [{"name": "x"}]}', b" " * (5 * 1024 * 1024 + 1)]
)
def test_a_broken_edit_means_legacy_until_it_is_repaired(router: UnleashRouter, path: Path, content: bytes) -> None:
    """What the author of a broken file wants is unknown: legacy serves at once, and the status says why."""
    sound = path.read_bytes()
    path.write_bytes(content)
    decision = decide_until(router, lambda decision: decision.serve is Side.LEGACY)
    assert (decision.reason, decision.error) == (Reason.ERROR, "FlagFileError")
    status = router.status()
    assert (status.healthy, status.source, status.flags) == (False, "file", ())
    assert str(path) in str(status.error)
    path.write_bytes(sound)
    decide_until(router, lambda decision: decision.serve is Side.CANDIDATE)
    assert router.status().healthy
    assert router.status().flags == (NAME,)


def test_a_deleted_file_means_legacy(router: UnleashRouter, path: Path) -> None:
    """Without the file legacy serves."""
    path.unlink()
    decision = decide_until(router, lambda decision: decision.serve is Side.LEGACY)
    assert (decision.reason, decision.error) == (Reason.ERROR, "FlagFileError")


def test_a_file_that_was_never_made_is_no_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A fresh machine starts without a word; a file that has been there and is gone is said."""
    router = UnleashRouter.from_file(path, interval=0.02)
    assert router.decide(make_call()).error == "FlagFileError"
    assert not caplog.records
    FileFlagAdmin(path).ensure(NAME)
    decide_until(router, lambda decision: decision.error is None)
    path.unlink()
    decide_until(router, lambda decision: decision.error is not None)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    router.close()


def test_the_file_may_appear_later(path: Path, admin: FileFlagAdmin) -> None:
    """A router that starts without a file follows it as soon as it is there."""
    router = UnleashRouter.from_file(path, interval=0.02)
    assert router.decide(make_call()).serve is Side.LEGACY
    admin.ensure(NAME)
    admin.set_percentage(NAME, 100)
    decide_until(router, lambda decision: decision.serve is Side.CANDIDATE)
    router.close()


def test_a_pipe_does_not_block(path: Path) -> None:
    """A pipe instead of a file is refused at once, not waited for."""
    os.mkfifo(path)
    router = UnleashRouter.from_file(path)
    assert router.status().error == str(FlagFileError(path, "not a regular file"))
    router.close()


def test_a_folder_instead_of_a_file_is_refused(tmp_path: Path) -> None:
    """A folder is no flags file."""
    router = UnleashRouter.from_file(tmp_path)
    assert router.decide(make_call()).error == "FlagFileError"
    router.close()


def test_a_file_that_cannot_be_looked_at_any_more_goes_stale(path: Path, admin: FileFlagAdmin) -> None:
    """If looking at the file hangs, decisions are first marked as stale and then go to legacy."""
    admin.ensure(NAME)
    admin.set_percentage(NAME, 100)
    now = [100.0]
    freshness = Freshness(doubtful_after=10, dead_after=60)
    router = UnleashRouter.from_file(path, interval=3600, freshness=freshness, clock=lambda: now[0])
    now[0] += 11
    decision = router.decide(make_call())
    assert (decision.serve, decision.reason, decision.error) == (Side.CANDIDATE, Reason.STALE, None)
    now[0] += 50
    decision = router.decide(make_call())
    assert (decision.serve, decision.shadow) == (Side.LEGACY, False)
    assert (decision.reason, decision.error) == (Reason.STALE, "FlagsStaleError")
    assert not router.status().healthy
    router.close()


def test_a_closed_router_decides_legacy(router: UnleashRouter) -> None:
    """After `close` every decision is legacy, and closing twice is harmless."""
    router.close()
    router.close()
    decision = router.decide(make_call())
    assert (decision.serve, decision.reason, decision.error) == (Side.LEGACY, Reason.ERROR, "RouterClosedError")


def test_close_ends_the_thread(path: Path) -> None:
    """Nothing of a router runs on after `close`."""
    before = set(threading.enumerate())
    router = UnleashRouter.from_file(path)
    assert set(threading.enumerate()) > before
    router.close()
    assert set(threading.enumerate()) == before


def test_state_and_version_belong_together_while_the_file_changes(router: UnleashRouter, path: Path) -> None:
    """However often the flag changes, a decision's probability, version and side are of one and the same state."""
    states = [payload(feature(rollout(p))) for p in ("0", "100")]
    stop = threading.Event()

    def flip() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            replacement = path.with_suffix(".new")
            replacement.write_text(states[number % 2])
            replacement.replace(path)
            stop.wait(0.01)

    flipping = threading.Thread(target=flip)
    flipping.start()
    seen: dict[tuple[float, str | None], set[Side]] = {}
    eventually(lambda: _note(router, seen) and len(seen) > 1 and sum(map(len, seen.values())) > 1)
    for unit in range(3000):
        _note(router, seen, unit)
    stop.set()
    flipping.join()
    by_probability = {probability: sides for (probability, _), sides in seen.items()}
    assert by_probability[0.0] == {Side.LEGACY}
    assert by_probability[1.0] == {Side.CANDIDATE}
    assert len({version for probability, version in seen if probability == 0.0}) == 1


def _note(router: UnleashRouter, seen: dict[tuple[float, str | None], set[Side]], unit: int = 0) -> bool:
    decision = router.decide(make_call(unit))
    seen.setdefault((decision.probability, decision.flag_version), set()).add(decision.serve)
    return True


def test_thousands_of_flags(path: Path) -> None:
    """Thousands of flags are no problem, and a change among them is seen."""
    many = [feature(rollout("5"), name=f"flag-{number}") for number in range(3000)]
    path.write_text(payload(*many, feature(rollout("0"))))
    router = UnleashRouter.from_file(path, interval=0.02, start_timeout=10)
    assert len(router.status().flags) == 3001
    path.write_text(payload(*many, feature(rollout("100"))))
    decide_until(router, lambda decision: decision.serve is Side.CANDIDATE)
    router.close()


def test_two_routers_do_not_see_each_others_flags(tmp_path: Path) -> None:
    """Two routers in one process keep their flags apart."""
    routers = []
    for name, percentage in (("one", 100), ("two", 0)):
        admin = FileFlagAdmin(tmp_path / f"{name}.json")
        admin.ensure(NAME)
        admin.ensure(name)
        admin.set_percentage(NAME, percentage)
        routers.append(UnleashRouter.from_file(tmp_path / f"{name}.json", interval=0.02))
    assert [router.status().flags for router in routers] == [(NAME, "one"), (NAME, "two")]
    assert [router.decide(make_call()).serve for router in routers] == [Side.CANDIDATE, Side.LEGACY]
    for router in routers:
        router.close()


def test_fork(path: Path, admin: FileFlagAdmin) -> None:
    """After a fork the child follows the flags by itself, and both processes end.

    In a process of its own, because the test run has threads of others.
    """
    admin.ensure(NAME)
    admin.set_percentage(NAME, 100)
    script = """
        import os, sys, time
        from pathlib import Path
        from flags import FileFlagAdmin, UnleashRouter
        from tests.flags.helpers import NAME, decide_until, make_call
        path = Path(sys.argv[1])
        router = UnleashRouter.from_file(path, interval=0.02)
        assert router.decide(make_call()).serve == "candidate"
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        assert router.decide(make_call()).serve == "candidate", router.status()
        FileFlagAdmin(path).turn_off(NAME, "seen by the child")
        decide_until(router, lambda decision: decision.reason == "disabled")
        router.close()
        assert router.decide(make_call()).error == "RouterClosedError"
    """
    finished = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert finished.returncode == 0, finished.stderr


def test_a_closed_router_stays_closed_in_the_child(path: Path, admin: FileFlagAdmin) -> None:
    """A fork does not bring a closed router back to life."""
    admin.ensure(NAME)
    router = UnleashRouter.from_file(path)
    router.close()
    router.begin_in_child()
    assert router.decide(make_call()).error == "RouterClosedError"


def test_a_child_that_decides_nothing_closes_without_a_thread(path: Path, admin: FileFlagAdmin) -> None:
    """Closing the router of a forked child starts nothing first; afterwards it is closed as any other."""
    admin.ensure(NAME)
    router = UnleashRouter.from_file(path)
    parents = set(threading.enumerate())
    router.begin_in_child()
    started: list[str] = []
    threading.setprofile(lambda *_: started.append(threading.current_thread().name))
    router.close()
    threading.setprofile(None)
    assert not started
    assert set(threading.enumerate()) <= parents
    assert router.decide(make_call()).error == "RouterClosedError"


def test_nothing_is_written_beside_the_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither home nor working folder need to be writable, and nothing is written there."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(stat.S_IRUSR | stat.S_IXUSR)
    for variable in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.chdir(home)
    (tmp_path / "flags.json").write_text(payload(feature(rollout("100"))))
    router = UnleashRouter.from_file(tmp_path / "flags.json")
    assert router.decide(make_call()).serve is Side.CANDIDATE
    router.close()
    assert list(home.iterdir()) == []
