"""A small monolith: it calls one migrated function again and again, and notes who served each call.

Started as `python -m tests.support.fleet_program NAME INSTANCE CALLS-A-SECOND FAULTY-SHARE LOG`, with the address of an
Unleash server and a token in the environment. The first line of its output is the port that Prometheus scrapes.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from flags import UnleashRouter
from migration import Call, Decision, Migration, Runtime, Side, migrate
from migration.store import Ledger
from observability import Telemetry, setup


class Noting:
    """A router that remembers the last decision."""

    def __init__(self, router: UnleashRouter) -> None:
        self._router = router
        self.last = Side.LEGACY

    def decide(self, call: Call) -> Decision:
        """Decide as the router does."""
        decision = self._router.decide(call)
        self.last = decision.serve
        return decision


def main() -> None:
    """Call until killed."""
    name, instance, rate, faulty, log = sys.argv[1:]
    router = Noting(
        UnleashRouter.from_server(
            os.environ["UNLEASH_URL"], os.environ["UNLEASH_API_TOKEN"], refresh_seconds=0.2, instance=instance
        )
    )
    telemetry = setup(environ={}, prometheus_port=0)
    runtime = Runtime(
        router=router, observers=[Telemetry(telemetry), Ledger(Path(os.environ["SHIM_HOME"]) / "shim.db")]
    )

    async def candidate() -> None:
        if random.random() < float(faulty):
            raise ConnectionResetError("the candidate is faulty here")

    @migrate(Migration(name=name, candidate=candidate), runtime=runtime)
    def legacy() -> None:
        """Does its work."""

    print(telemetry.prometheus_url, flush=True)  # noqa: T201  # read by the test
    with Path(log).open("a", buffering=1) as notes:
        while True:
            result = "ok"
            try:
                legacy()
            except ConnectionResetError:
                result = "failed"
            notes.write(f"{time.time():.3f} {router.last} {result}\n")
            time.sleep(1 / float(rate))


if __name__ == "__main__":
    main()
