"""Routing and administration with a real Unleash server."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from flags import (
    AmbiguousRolloutError,
    FlagAdmin,
    FlagNotFoundError,
    FlagServerError,
    InvalidFlagNameError,
    InvalidPercentageError,
    UnleashFlagAdmin,
    UnleashRouter,
)
from flags.http import HttpBounds
from migration import Reason, Side
from tests.flags.helpers import Json, constraint, eventually, make_call, rollout, scripted_server
from tests.support.unleash import UnleashConsole, UnleashServer

_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A flag's name that no other test uses."""
    return f"migration-{next(_numbers)}"


@pytest.fixture
def admin(unleash_server: UnleashServer) -> UnleashFlagAdmin:
    return unleash_server.admin


@pytest.fixture(scope="module", autouse=True)
def early_flag(unleash_server: UnleashServer) -> str:
    """A flag at 50 % that is there from the start: the server drops usage counts of flags a few seconds old."""
    unleash_server.admin.ensure("early")
    unleash_server.admin.set_percentage("early", 50)
    return "early"


@pytest.fixture
def make_router(unleash_server: UnleashServer) -> Iterator[Callable[[], UnleashRouter]]:
    routers: list[UnleashRouter] = []

    def make() -> UnleashRouter:
        routers.append(UnleashRouter.from_server(unleash_server.url, unleash_server.backend_token, refresh_seconds=0.2))
        return routers[-1]

    yield make
    for router in routers:
        router.close()


def ask(server: UnleashServer, method: str, path: str, body: object = None) -> Any:
    """Use the Admin API as another program would."""
    answer = requests.request(
        method,
        f"{server.url}/api/admin{path}",
        json=body,
        headers={"Authorization": server.admin_token},
        timeout=10,
    )
    answer.raise_for_status()
    return answer.json() if answer.content else None


def strategies_path(name: str) -> str:
    return f"/projects/default/features/{name}/environments/development/strategies"


def follow(router: UnleashRouter, name: str, wanted: Callable[[Any], bool]) -> float:
    """Wait until a decision is as wanted, and return the seconds that took."""
    began = time.monotonic()
    eventually(lambda: wanted(router.decide(make_call(name=name))))
    return time.monotonic() - began


def test_life_of_a_flag(admin: UnleashFlagAdmin, name: str) -> None:
    """Created on with 0 %, set to a percentage, turned off with a reason and on again."""
    port: FlagAdmin = admin
    created = port.ensure(name)
    assert (created.enabled, created.percentage, created.stickiness, created.strategies) == (True, 0, "sessionId", 1)
    assert port.ensure(name) == created
    assert port.set_percentage(name, 25).percentage == 25
    off = port.turn_off(name, "too many errors")
    assert (off.enabled, off.percentage, off.description) == (False, 25, "Turned off: too many errors")
    on = port.turn_on(name)
    assert (on.enabled, on.percentage, on.stickiness, on.description) == (True, 25, "sessionId", "")
    assert on == port.get(name)
    assert on in port.list()


def test_a_percentage_keeps_everything_else(unleash_server: UnleashServer, admin: UnleashFlagAdmin, name: str) -> None:
    """Setting a percentage changes the rollout alone: stickiness, group and targeted strategies stay."""
    admin.ensure(name)
    targeted = rollout("100", group=name, constraints=[constraint("userId", "alice")])
    ask(unleash_server, "POST", strategies_path(name), targeted)
    admin.set_percentage(name, 7)
    by_share = {s["parameters"]["rollout"]: s for s in ask(unleash_server, "GET", strategies_path(name))}
    assert by_share["7"]["parameters"] == {"rollout": "7", "stickiness": "sessionId", "groupId": name}
    assert by_share["100"]["constraints"][0]["values"] == ["alice"]


def test_a_creation_that_was_interrupted_is_finished(
    unleash_server: UnleashServer, admin: UnleashFlagAdmin, name: str
) -> None:
    """A flag that was created without a strategy gets its 0 %, and turning it on never means 100 %."""
    ask(unleash_server, "POST", "/projects/default/features", {"name": name, "type": "release"})
    assert (admin.ensure(name).percentage, admin.get(name).enabled) == (0, False)
    other = f"{name}.shadow"
    ask(unleash_server, "POST", "/projects/default/features", {"name": other, "type": "release"})
    assert (admin.turn_on(other).percentage, admin.get(other).enabled) == (0, True)


def test_what_cannot_be_done(unleash_server: UnleashServer, admin: UnleashFlagAdmin, name: str) -> None:
    """Unknown flags, impossible names and percentages, and ambiguous rollouts are typed errors."""
    changes: list[Callable[[], object]] = [
        lambda: admin.get(name),
        lambda: admin.set_percentage(name, 1),
        lambda: admin.turn_on(name),
        lambda: admin.turn_off(name, "x"),
    ]
    for change in changes:
        with pytest.raises(FlagNotFoundError):
            change()
    with pytest.raises(InvalidFlagNameError):
        admin.ensure("a/b")
    admin.ensure(name)
    for wrong in (33.3, 150, -1, "5", True):
        with pytest.raises(InvalidPercentageError):
            admin.set_percentage(name, wrong)  # type: ignore[arg-type]  # wrong on purpose
    ask(unleash_server, "POST", strategies_path(name), rollout("1", group="another"))
    with pytest.raises(AmbiguousRolloutError):
        admin.set_percentage(name, 1)


def test_errors_of_the_server(unleash_server: UnleashServer) -> None:
    """A wrong token, a wrong environment and a silent server are typed errors without the token."""
    with pytest.raises(FlagServerError, match="status 401") as refused:
        UnleashFlagAdmin(unleash_server.url, "*:*.planted-wrong-token").list()
    assert "planted" not in str(refused.value)
    assert refused.value.status == 401
    with pytest.raises(FlagServerError):
        UnleashFlagAdmin(unleash_server.url, unleash_server.admin_token, environment="nowhere").ensure("somewhere")
    with pytest.raises(FlagServerError, match="no answer"):
        UnleashFlagAdmin("http://127.0.0.1:9", "planted").turn_off("any", "x")
    with scripted_server() as script:
        script.hang = True
        hanging = UnleashFlagAdmin(script.url, "planted", bounds=HttpBounds(timeout=0.2, seconds=1, max_bytes=1))
        with pytest.raises(FlagServerError, match="no answer"):
            hanging.get("any")


def test_a_flip_is_seen(
    admin: UnleashFlagAdmin, make_router: Callable[[], UnleashRouter], name: str, tell: Callable[[str], None]
) -> None:
    """A flip through the Admin API reaches decisions; the time it takes is printed."""
    admin.ensure(name)
    admin.set_percentage(name, 100)
    router = make_router()
    follow(router, name, lambda decision: decision.serve is Side.CANDIDATE)
    took = []
    for _ in range(2):
        admin.turn_off(name, "a test")
        took.append(follow(router, name, lambda decision: decision.reason is Reason.DISABLED))
        admin.turn_on(name)
        took.append(follow(router, name, lambda decision: decision.serve is Side.CANDIDATE))
    tell("from a flip through the Admin API to its effect: " + ", ".join(f"{seconds:.2f} s" for seconds in took))


def test_probability_follows_the_server(
    admin: UnleashFlagAdmin, make_router: Callable[[], UnleashRouter], name: str
) -> None:
    """The probability and the version follow the definition on the server."""
    admin.ensure(name)
    router = make_router()
    versions = set()
    for percentage in (10, 35):
        admin.set_percentage(name, percentage)
        follow(router, name, lambda decision, wanted=percentage / 100: decision.probability == wanted)  # type: ignore[misc]  # bound early
        versions.add(router.decide(make_call(name=name)).flag_version)
    assert len(versions) == 2


def test_server_and_file_agree(
    unleash_server: UnleashServer,
    admin: UnleashFlagAdmin,
    make_router: Callable[[], UnleashRouter],
    name: str,
    tmp_path: Path,
) -> None:
    """The same definitions give the same decisions for 1000 units, from the server and from a file."""
    admin.ensure(name)
    admin.set_percentage(name, 30)
    targeted = rollout("60", group="kimi", constraints=[constraint("provider", "kimi")])
    ask(unleash_server, "POST", strategies_path(name), targeted)
    router = make_router()
    follow(router, name, lambda decision: decision.probability == 0.3)
    definitions = requests.get(
        f"{unleash_server.url}/api/client/features", headers={"Authorization": unleash_server.backend_token}, timeout=10
    ).text
    (tmp_path / "flags.json").write_text(definitions)
    from_file = UnleashRouter.from_file(tmp_path / "flags.json")
    eventually(lambda: (one := router.decide(make_call(name=name))).flag_version and one.probability == 0.3)
    for unit in range(1000):
        call = make_call(unit, name, provider=("kimi", "glm")[unit % 2])
        ours, theirs = router.decide(call), from_file.decide(call)
        assert (ours.serve, ours.probability, ours.reason) == (theirs.serve, theirs.probability, theirs.reason)
        assert ours.flag_version == theirs.flag_version
    from_file.close()


def test_file_and_server_in_one_process(
    admin: UnleashFlagAdmin, make_router: Callable[[], UnleashRouter], name: str, tmp_path: Path
) -> None:
    """A router on a server and one on a file do not see each other's flags."""
    admin.ensure(name)
    (tmp_path / "flags.json").write_text(json.dumps({"version": 2, "features": []}))
    on_server, on_file = make_router(), UnleashRouter.from_file(tmp_path / "flags.json", interval=0.02)
    eventually(lambda: name in on_server.status().flags)
    assert on_file.status().flags == ()
    assert on_file.decide(make_call(name=name)).error == "FlagNotFoundError"
    on_file.close()


def test_broken_definitions_on_the_server(
    unleash_server: UnleashServer, admin: UnleashFlagAdmin, make_router: Callable[[], UnleashRouter], name: str
) -> None:
    """The server accepts shares that the engine takes for 0: the decision says that the flag is broken."""
    admin.ensure(name)
    (strategy,) = ask(unleash_server, "GET", strategies_path(name))
    router = make_router()
    for broken in ("150", "33.3"):
        change: list[Json] = [{"op": "replace", "path": "/parameters/rollout", "value": broken}]
        ask(unleash_server, "PATCH", f"{strategies_path(name)}/{strategy['id']}", change)
        follow(router, name, lambda decision: decision.error == "InvalidPercentageError")
        assert router.decide(make_call(name=name)).serve is Side.LEGACY
        assert admin.get(name).percentage is None
        admin.set_percentage(name, 0)
        follow(router, name, lambda decision: decision.error is None)


def test_the_console(
    *,
    admin: UnleashFlagAdmin,
    unleash_server: UnleashServer,
    unleash_console: UnleashConsole,
    make_router: Callable[[], UnleashRouter],
    name: str,
    tell: Callable[[str], None],
) -> None:
    """An operator's clicks in Unleash's web console change who serves; the times are printed."""
    admin.ensure(name)
    router = make_router()
    (strategy,) = ask(unleash_server, "GET", strategies_path(name))
    unleash_console.set_rollout(name, strategy["id"], 100)
    took = [follow(router, name, lambda decision: decision.serve is Side.CANDIDATE)]
    unleash_console.toggle(name)
    took.append(follow(router, name, lambda decision: decision.reason is Reason.DISABLED))
    picture = unleash_console.screenshot("unleash-console")
    assert picture.stat().st_size > 10_000
    tell("from a click in the console to its effect: " + ", ".join(f"{seconds:.2f} s" for seconds in took))


def test_a_server_that_dies_and_comes_back(
    unleash_server: UnleashServer, admin: UnleashFlagAdmin, make_router: Callable[[], UnleashRouter], name: str
) -> None:
    """While the server is down its last word counts; when it is back it is followed again."""
    admin.ensure(name)
    admin.set_percentage(name, 100)
    router = make_router()
    follow(router, name, lambda decision: decision.serve is Side.CANDIDATE)
    unleash_server.stop()
    eventually(lambda: router.status().error)
    assert router.decide(make_call(name=name)).serve is Side.CANDIDATE
    during = make_router()
    assert during.decide(make_call(name=name)).error == "FlagServerError"
    unleash_server.start()
    for each in (router, during):
        eventually(lambda router=each: router.status().error is None)  # type: ignore[misc]  # bound early
        follow(each, name, lambda decision: decision.serve is Side.CANDIDATE)
    admin.turn_off(name, "after the restart")
    follow(router, name, lambda decision: decision.reason is Reason.DISABLED)


def test_the_server_counts_the_decisions(
    unleash_server: UnleashServer, make_router: Callable[[], UnleashRouter], early_flag: str
) -> None:
    """The console's usage counts are the decisions taken, and not the questions asked to find the probability."""
    router = make_router()
    eventually(lambda: router.status().healthy)
    served = [router.decide(make_call(unit, early_flag)).serve for unit in range(40)]
    router.close()
    yes, no = served.count(Side.CANDIDATE), served.count(Side.LEGACY)
    counted = eventually(lambda: _usage(unleash_server, early_flag), timeout=30)
    assert counted == {"yes": yes, "no": no}
    assert min(yes, no) > 5


def _usage(server: UnleashServer, name: str) -> dict[str, int]:
    """The usage that the server has stored, which it does every few seconds; empty before."""
    rows = ask(server, "GET", f"/client-metrics/features/{name}/raw")["data"]
    return {key: sum(row[key] for row in rows) for key in ("yes", "no")} if rows else {}


def test_off_is_believed_only_when_it_is_seen() -> None:
    """A server that says yes and leaves the flag on has not turned it off, so the caller tries again."""

    class SaysYes(UnleashFlagAdmin):
        def _ask(self, *_: object, **__: object) -> dict[str, Any]:
            return {"name": "m", "environments": [{"name": "development", "enabled": True, "strategies": []}]}

    with pytest.raises(FlagServerError, match="still on"):
        SaysYes("http://127.0.0.1:9", "token").turn_off("m", "broken")
