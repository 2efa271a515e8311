"""An application: what `start` opens `stop` closes, whatever fails on the way, and it takes out its own alone."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from migration import Call, Migration, Runtime
from migration.model import TargetNotFoundError
from migration.routing import Shim
from migration.testing import RecordingObserver
from observability import ObservabilityError
from shim import Application, Extension
from shim.application import AlreadyRunningError, DeclarationsError
from shim.settings import ShimSettings, get_settings

PLACE = "shim_test_shop"


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module with two legacy functions and a candidate."""
    module = ModuleType(PLACE)
    code = (
        "def price(amount):\n    return amount * 2\n"
        "def tax(amount):\n    return amount\n"
        "async def new_price(amount):\n    return amount * 2\n"
    )
    exec(code, vars(module))  # noqa: S102  # a module of the test's own
    monkeypatch.setitem(__import__("sys").modules, PLACE, module)
    yield module
    assert not isinstance(module.price, Shim)


def migration(name: str = "new-prices") -> Migration:
    return Migration(name=name, candidate=f"{PLACE}:new_price")


@pytest.fixture
def settings(tmp_path: Path) -> ShimSettings:
    return ShimSettings(shim_home=tmp_path / "home")


Make = Callable[..., Application]


@pytest.fixture
def make(settings: ShimSettings) -> Make:
    """Makes applications that declare these targets."""

    def make(*targets: str, extensions: tuple[Extension, ...] = ()) -> Application:
        declared = {f"{PLACE}:{target}": migration(f"new-{target}") for target in targets}
        return Application(migrations=declared, settings=lambda: settings, extensions=extensions)

    return make


def test_it_stands_while_it_runs(shop: ModuleType, make: Make) -> None:
    """Between start and stop the functions are routed; before and after they are bare."""
    bare, app = shop.price, make("price")
    for _ in range(2):  # and it can be started again
        with app.running():
            assert isinstance(shop.price, Shim)
            assert shop.price(2) == 4
        assert shop.price is bare
    app.stop()  # which does nothing


def test_a_running_application_is_not_started_again(shop: ModuleType, make: Make) -> None:
    """A second start is an error and leaves the first one as it is."""
    app = make("price")
    with app.running():
        with pytest.raises(AlreadyRunningError):
            app.start()
        assert isinstance(shop.price, Shim)


def test_a_start_that_fails_leaves_nothing(shop: ModuleType, make: Make) -> None:
    """The migrations before the one that cannot be installed are taken out, and what was opened is closed."""
    ended: list[str] = []
    app = make("price", "nothing", extensions=(Extension(end=lambda: ended.append("end")),))
    with pytest.raises(TargetNotFoundError):
        app.start()
    assert not isinstance(shop.price, Shim)
    assert ended == ["end"]
    with pytest.raises(TargetNotFoundError):  # not: it runs already
        app.start()


def test_a_start_without_its_port_leaves_no_thread(shop: ModuleType, tmp_path: Path) -> None:
    """Where telemetry cannot be set up, what was opened before it is closed again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = ShimSettings(shim_home=tmp_path / "home", shim_prometheus_port=port)
        app = Application(migrations={f"{PLACE}:price": migration()}, settings=lambda: settings)
        before = set(threading.enumerate())
        with pytest.raises(ObservabilityError):
            app.start()
    assert [thread.name for thread in set(threading.enumerate()) - before if thread.is_alive()] == []
    assert not isinstance(shop.price, Shim)


@pytest.mark.parametrize("declared", [None, [], {"shop.old:price": "shop.new:price"}, {1: migration()}])
def test_what_is_no_mapping_of_declarations_is_said(declared: Any, settings: ShimSettings) -> None:
    """An application with something else for migrations says what is wrong, and opens nothing."""
    app = Application(migrations=declared, settings=lambda: settings)
    with pytest.raises(DeclarationsError, match=r"no migrations declared: .* of type "):
        app.start()


def test_an_extension_that_cannot_prepare_leaves_nothing(shop: ModuleType, make: Make) -> None:
    """Its error reaches the caller of `start`, and everything is undone."""

    def fail() -> None:
        raise OSError("no place")

    with pytest.raises(OSError, match="no place"):
        make("price", extensions=(Extension(prepare=fail),)).start()
    assert not isinstance(shop.price, Shim)


def test_an_extension_begins_with_the_first_call(
    shop: ModuleType, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Not with the start, and once; what it raises is reported, and the call and the other extensions go on."""
    begun: list[Runtime] = []

    def fail(_: Runtime) -> None:
        raise OSError("no place")

    app = make("price", extensions=(Extension(begin=fail), Extension(begin=begun.append)))
    with app.running() as installation:
        assert begun == []
        shop.price(1)
        shop.price(1)
        app.begin()
        assert begun == [installation.runtime]
    assert caplog.text.count("did not begin") == 1


def test_a_step_that_fails_at_the_end_keeps_no_other_from_its_work(
    shop: ModuleType, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported, `stop` does not raise, and the functions are bare."""
    ended: list[str] = []

    def fail() -> None:
        raise RuntimeError("it is stuck")

    first, second = Extension(end=lambda: ended.append("first")), Extension(end=fail)
    with caplog.at_level(logging.ERROR), make("price", extensions=(first, second)).running():
        pass
    assert ended == ["first"]
    assert "it is stuck" in caplog.text
    assert not isinstance(shop.price, Shim)


def test_hooks_run_with_the_settings_of_the_application(shop: ModuleType, settings: ShimSettings, make: Make) -> None:
    """Whatever the environment says."""
    seen: list[ShimSettings] = []
    extension = Extension(
        prepare=lambda: seen.append(get_settings()),
        begin=lambda _: seen.append(get_settings()),
        end=lambda: seen.append(get_settings()),
    )
    with make("price", extensions=(extension,)).running():
        shop.price(1)
    assert seen == [settings] * 3


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_two_applications_do_not_take_each_other_out(shop: ModuleType, make: Make, first_ends_first: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """Whichever ends first, the other one's functions stay routed, and by its own runtime."""
    first, second = make("price"), make("tax")
    observers = {"first": RecordingObserver(), "second": RecordingObserver()}
    first.start(observers=[observers["first"]])
    second.start(observers=[observers["second"]])
    shop.price(1)
    shop.tax(1)
    assert {_migrations(observers[name]) for name in observers} == {("new-price",), ("new-tax",)}
    ending, staying, stays = (first, second, "tax") if first_ends_first else (second, first, "price")
    ending.stop()
    assert isinstance(getattr(shop, stays), Shim)
    assert getattr(shop, stays)(1) is not None
    staying.stop()
    assert not isinstance(shop.tax, Shim)


def test_an_application_in_front_of_the_same_function_gives_it_back(shop: ModuleType, make: Make) -> None:
    """The one that came last is in front; when it ends the other one is there again, unless that has ended."""
    first, second = make("price"), make("price")
    with first.running():
        with second.running() as installation:
            assert shop.price.runtime is installation.runtime
        assert isinstance(shop.price, Shim)
        assert shop.price.runtime is not installation.runtime
        assert shop.price(2) == 4


def test_the_mode_of_shadows_is_that_of_the_settings_where_it_is_left_open(settings: ShimSettings) -> None:
    """A declaration without what the mode takes, or with a mode of its own, stays as it is."""
    app = Application(migrations={f"{PLACE}:price": migration()}, settings=lambda: settings)
    [found] = app.migrations(settings.model_copy(update={"shadow_mode": "live"})).values()
    assert found == migration()


def _migrations(observer: RecordingObserver) -> tuple[str, ...]:
    return tuple(dict.fromkeys(operation.call.migration for operation in observer.operations))


def _calls(call: Call) -> str:
    return call.migration
