"""Finding the callers in the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration.model import Entrance
from migration.store import SeenCaller
from shim.removal.sources import SourceError, SourceTree
from shim.removal.uses import UseKind, find_uses, matched
from tests.shim.removal.shop import build


def found(root: Path, *targets: str) -> list[tuple[str, str, UseKind, bool, bool]]:
    uses = find_uses(SourceTree(root), targets)
    return [(use.file, use.function, use.kind, use.inside_async, use.certain) for use in uses]


def test_calls_are_found_by_any_name(tmp_path: Path) -> None:
    """Imports, aliases, modules under another name; a function that only has the same name is none."""
    shop = build(tmp_path, "shop_uses")
    assert found(tmp_path, f"{shop}.prices:price") == [
        (f"{shop}/callers.py", "<module>", UseKind.IMPORT, False, True),
        (f"{shop}/callers.py", "<module>", UseKind.REFERENCE, False, True),
        (f"{shop}/callers.py", "sync", UseKind.CALL, False, True),
        (f"{shop}/callers.py", "inside", UseKind.CALL, True, True),
        (f"{shop}/callers.py", "awaited", UseKind.AWAITED, True, True),
        (f"{shop}/callers.py", "passed_on", UseKind.REFERENCE, False, True),
        (f"{shop}/prices.py", "Till.pay", UseKind.CALL, False, True),
    ]


def test_methods_are_found_by_the_class_of_their_object(tmp_path: Path) -> None:
    """An annotated parameter and a variable that was just made."""
    shop = build(tmp_path, "shop_methods")
    calls = [each for each in found(tmp_path, f"{shop}.prices:Till.pay") if each[2] is UseKind.CALL]
    assert calls == [(f"{shop}/callers.py", "at_the_till", UseKind.CALL, False, True)] * len(calls)
    assert calls


def test_a_call_inside_a_running_loop_blocks_it(tmp_path: Path) -> None:
    """A synchronous call that stands directly in an asynchronous function does."""
    shop = build(tmp_path, "shop_blocking")
    blocking = [use.function for use in find_uses(SourceTree(tmp_path), [f"{shop}.prices:price"]) if use.blocks]
    assert blocking == ["inside"]


def test_what_was_seen_is_matched_to_the_source(tmp_path: Path) -> None:
    """By file and line, also within an expression of several lines; what is seen elsewhere stands alone."""
    shop = build(tmp_path, "shop_matched")
    target = f"{shop}.prices:price"
    uses = find_uses(SourceTree(tmp_path), [target])
    awaited = next(use for use in uses if use.kind is UseKind.AWAITED)

    def seen(file: str, line: int) -> SeenCaller:
        return SeenCaller(
            migration="new-price", function=target, file=file, line=line, caller="awaited", entrance=Entrance.AWAITED,
            first_at=1.0, last_at=2.0,
        )  # fmt: skip

    here = seen(f"/somewhere/else/{awaited.file}", awaited.last_line)
    callers = matched(uses, [here, seen("/lib/thread.py", 3)], tmp_path)
    assert [each.found for each in callers if each.seen] == [awaited, None]
    assert [each.awaits_unfound for each in callers if each.seen] == [False, True]


def test_a_file_that_cannot_be_parsed_is_named(tmp_path: Path) -> None:
    """With its line."""
    (tmp_path / "wrong.py").write_text("price = (\n")
    with pytest.raises(SourceError, match=r"wrong\.py"):
        find_uses(SourceTree(tmp_path), ["shop.prices:price"])
