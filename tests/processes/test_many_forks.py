"""Forks of a process whose threads are at work."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.processes.conftest import Program
from tools.sandbox import RunningSandbox

_PROGRAM = """
import asyncio, hashlib
from migration import Migration, ReadOnly
from tools.application import app
from tools.transport.reading import measure

def price(number):
    return number, "legacy"

async def price_async(number):
    await asyncio.sleep(0)
    return number, "candidate"

def tax(number):
    return number, "legacy"

def content(name):
    return name.encode() * 200_000

def check(name):
    '''A call on each side, and a file read into the process's buffers.'''
    path = Path(name)
    path.write_bytes(content(name))
    assert price(name) == (name, "candidate")
    assert tax(name) == (name, "legacy")
    assert measure(path).sha256 == hashlib.sha256(content(name)).hexdigest()
    path.unlink()

def work(number, stop, done):
    try:
        while not stop.is_set():
            upload(f"parent-{number}-{len(done)}", 300_000)
            check(f"thread-{number}")
            done.append(number)
            time.sleep(0.05)
    except BaseException as error:
        print(f"parent: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        done.append(None)

def forked_to_its_end(number):
    '''A child that ends as an interpreter does: what can be freed is freed.'''
    child = os.fork()
    if child == 0:
        signal.alarm(40)
        check(f"child-{number}")
        sys.exit()
    return child

count, at_once = int(sys.argv[1]), 6
declared = {
    "__main__:price": Migration(name="price", candidate=price_async, replay=ReadOnly()),
    "__main__:tax": Migration(name="tax", candidate=price_async, replay=ReadOnly()),
}
app.start(migrations={**app.migrations(), **declared})
check("warm")
stop, done = threading.Event(), []
threads = [threading.Thread(target=work, args=(number, stop, done)) for number in range(2)]
for thread in threads:
    thread.start()
until(lambda: len(done) > 3)
codes, children = [], []
for number in range(count):
    end_in_order = number % 10 == 0
    children.append(forked_to_its_end(number) if end_in_order else forked(lambda: check(f"child-{number}"), 40))
    if len(children) == at_once:
        codes += ended(children[:1])
        children = children[1:]
codes += ended(children)
served = len(done)
stop.set()
for thread in threads:
    thread.join(40)
alive = sum(thread.is_alive() for thread in threads)
wrong = [code for code in codes if code]
print(json.dumps({"codes": wrong, "served": served, "failed": done.count(None), "alive": alive}))
"""


@pytest.mark.parametrize("forks", [30, pytest.param(2_000, marks=pytest.mark.thorough)])
def test_forks_under_load(
    program: Program,
    configured: RunningSandbox,
    set_share: Callable[..., None],
    say: Callable[[str], None],
    forks: int,
) -> None:
    """No child has wrong data or hangs, and neither has its parent, two threads of which upload and call meanwhile.

    Each child makes a call on each side and reads a file; one in ten ends as interpreters do, the others at once.
    """
    set_share(50, price=100, tax=0)
    said = program(_PROGRAM, forks, seconds=1_800)
    say(f"{forks} forks while the parent made {said['served']} uploads: {len(said['codes'])} wrong")
    assert said["codes"] == []
    assert said["failed"] == 0
    assert said["alive"] == 0
    files = configured.state()["kimi"]["files"]
    assert len(files) >= said["served"] > 3
    assert len({each["sha256"] for each in files}) == len(files)
