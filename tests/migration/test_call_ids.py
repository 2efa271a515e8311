"""Call ids: unique in threads and in forked processes, and not to be guessed."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from migration.running.in_flight import PREPARED_IDS, new_call_id
from tests.migration.helpers import run_script


def test_an_id_is_32_hexadecimal_digits_and_never_comes_again() -> None:
    """Also where one piece of randomness ends and the next one begins, and for threads that ask at once."""
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(lambda: [new_call_id() for _ in range(3 * PREPARED_IDS + 1)]) for _ in range(8)]
        made = [call_id for each in asked for call_id in each.result()]
    assert all(re.fullmatch("[0-9a-f]{32}", call_id) for call_id in made)
    assert len(set(made)) == len(made)


FORK = """
import os, warnings
from migration.running.in_flight import new_call_id
warnings.simplefilter("ignore", DeprecationWarning)
new_call_id()
reading, writing = os.pipe()
child = os.fork()
call_ids = [new_call_id() for _ in range(300)]
if child == 0:
    os.write(writing, " ".join(call_ids).encode())
    os._exit(0)
os.waitpid(child, 0)
print(len(set(call_ids) | set(os.read(reading, 1 << 16).decode().split())))
"""


def test_a_forked_process_makes_ids_of_its_own() -> None:
    """What the parent has prepared is not used by the child as well."""
    assert run_script(FORK).strip() == "600"
