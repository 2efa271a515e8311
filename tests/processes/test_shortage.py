"""A process for which the system has no thread: legacy answers at once, and all begins when it has some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.processes.conftest import Program
from tests.support.monolith import SetEnvironment
from tools.sandbox import RunningSandbox

SHORTAGE = """
    import resource, shutil
    home = Path(sys.argv[1])
    os.chdir(home)
    from tools.application import app

    def timed(name):
        began = time.monotonic()
        assert upload(name)["kimi_file_id"]
        return time.monotonic() - began

    with app.running():  # imports what another user may not read
        timed("warm")
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if os.getuid() == 0:  # whom the limit does not bind
        for path in [home, *home.rglob("*")]:
            os.chown(path, 54321, 54321)
        os.setgid(54321)
        os.setuid(54321)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    before = threads()
    app.start()
    slowest = max(timed(f"short-{number}") for number in range(4))
    during = threads() - before
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    wanted = {"flags-file", "migration-guard", "migration-ledger", "process-metrics"}
    number = 0
    deadline = time.monotonic() + 20
    while not wanted <= threads() and time.monotonic() < deadline:
        number += 1
        timed(f"later-{number}")
        time.sleep(0.2)
    timed("last")
    app._installation.ledger.flush(5)
    sides = app._installation.ledger.status("async-upload-kimi").sides
    candidate = sum(totals.calls for side, totals in sides.items() if side == "candidate")
    troubles = {name: trouble.refused for name, trouble in app._installation.ledger.threads().items()}
    missing = sorted(wanted - threads())
    app.stop()
    said = {"slowest": slowest, "during": sorted(during), "missing": missing, "troubles": troubles}
    print(json.dumps(said | {"candidate": candidate}))
"""


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that any user of the machine reaches."""
    with TemporaryDirectory(prefix="shim-shortage-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("percent", [0, 100])
def test_without_a_thread_calls_are_answered_at_once(  # noqa: PLR0917  # fixtures
    configured: RunningSandbox,
    set_share: Callable[[int], None],
    set_environment: SetEnvironment,
    program: Program,
    public_folder: Path,
    tmp_path: Path,
    percent: int,
) -> None:
    """`RLIMIT_NPROC` is used up before `start()`: no call waits, and a second after the shortage all threads run."""
    set_share(percent)
    flags = public_folder / "flags.json"
    flags.write_bytes((tmp_path / "home" / "flags.json").read_bytes())
    set_environment(
        SHIM_HOME=str(public_folder / "state"), UNLEASH_FLAGS_FILE=str(flags), SHIM_ALLOWED_ROOTS=str(public_folder)
    )
    said = program(SHORTAGE, public_folder)
    assert said["slowest"] < 4
    assert said["during"] == []
    assert said["missing"] == []
    assert {"flags-file", "migration-guard", "migration-ledger"} <= set(said["troubles"])
    assert (said["candidate"] > 0) is (percent == 100)
    assert len(configured.state()["kimi"]["files"]) >= 6
