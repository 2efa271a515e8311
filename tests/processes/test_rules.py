"""Every lock, thread, connection, file and mapping has a rule for a forked child."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.processes.conftest import Program

_USE = """
    from tests.processes.walking import main
    from tools.application import app
    def use():
        app.start()
        for number in range(8):
            upload(number, 600_000)
        time.sleep(1.2)
    main(use)
"""


@pytest.mark.usefixtures("configured")
def test_a_child_shares_nothing_with_its_parent(program: Program, set_share: Callable[[int], None]) -> None:
    """Whatever the modules hold after both sides have served: locks are free, mappings private, the rest is gone."""
    set_share(50)
    said = program(_USE)
    assert said["wrong"] == []
    locks, resources, mappings = said["found"]
    assert locks > 20
    assert resources > 5
    assert mappings > 0


def test_what_has_no_rule_is_found(program: Program) -> None:
    """One more of each kind in any module is said to be shared, with its place."""
    held = {
        "_one": ("threading.Lock()", "a lock that nothing frees"),
        "_two": ("threading.Condition()", "a lock that nothing frees"),
        "_three": ("{1: [threading.Thread()]}", "Thread of the parent"),
        "_four": ("mmap.mmap(-1, 4096)", "a mapping that both write to"),
        "_five": ("sqlite3.connect(':memory:')", "Connection of the parent"),
        "_six": ("open('/dev/null')", "TextIOWrapper of the parent"),
    }
    said = program(
        """
        import mmap, sqlite3
        import tools.engine.listing as module
        from tests.processes.walking import main
        for name, value in json.loads(sys.argv[1]).items():
            setattr(module, name, eval(value))
        main(lambda: None)
        """,
        json.dumps({name: value for name, (value, _) in held.items()}),
    )
    expected = [(f"tools.engine.listing:{name}", problem) for name, (_, problem) in held.items()]
    found = [any(each.startswith(place) and each.endswith(why) for each in said["wrong"]) for place, why in expected]
    assert found == [True] * len(held), said["wrong"]
