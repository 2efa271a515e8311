"""One run of one contender, in a process of its own: `python -m bench.child JOB`, with the job in a JSON file.

The figures go to `figures.json` beside it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.harness import AsyncWork, Entry, Figure, Job, Server, Work
from bench.metering import metered, ticked

FIGURES_FILE = "figures.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a child is told.

    Attributes:
        entry: "module:function".
        options: for the entry.
        folder: the folder of this run.
        url, authority: the sink, if there is one.
        uvloop: which event loop an asynchronous entry gets.
        stalls: whether the loop's stalls are measured.
        units: how much work it is.
    """

    entry: str
    options: Mapping[str, Any]
    folder: str
    url: str | None
    authority: str | None
    uvloop: bool
    stalls: bool
    units: float

    def write(self, path: Path) -> None:
        """Save it for a child."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @property
    def job(self) -> Job:
        """As the entry sees it."""
        authority = Path(self.authority) if self.authority else None
        server = Server(url=self.url, authority=authority) if self.url else None
        return Job(options=self.options, folder=Path(self.folder), server=server)


def main(path: Path) -> None:
    """Do the work and write down what it cost."""
    order = Order(**json.loads(path.read_text(encoding="utf-8")))
    _allow_many_files()
    prepared = _entry(order.entry)(order.job)
    if isinstance(prepared, AbstractAsyncContextManager):
        with asyncio.Runner(loop_factory=_loop_factory(uvloop=order.uvloop)) as runner:
            figures = runner.run(_measure_async(prepared, stalls=order.stalls))
    else:
        figures = _measure(prepared)
    figures.setdefault(Figure.RATE, order.units / figures[Figure.WALL])
    figures.setdefault(Figure.COST, figures[Figure.CPU] * 1000 / order.units)
    known = {name: figure for name, figure in figures.items() if not math.isnan(figure)}
    path.with_name(FIGURES_FILE).write_text(json.dumps(known), encoding="utf-8")


def _measure(prepared: AbstractContextManager[Work]) -> dict[str, float]:
    figures: dict[str, float] = {}
    with prepared as work:
        work.warm_up()
        with metered(figures):
            further = work.run()
        return figures | dict(further or {})


async def _measure_async(prepared: AbstractAsyncContextManager[AsyncWork], *, stalls: bool) -> dict[str, float]:
    figures: dict[str, float] = {}
    async with prepared as work:
        await work.warm_up()
        with metered(figures):
            if stalls:
                async with ticked(figures):
                    further = await work.run()
            else:
                further = await work.run()
        return figures | dict(further or {})


def _entry(name: str) -> Entry:
    module, _, function = name.partition(":")
    entry: Entry = getattr(importlib.import_module(module), function)
    return entry


def _loop_factory(*, uvloop: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not uvloop:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    return factory


def _allow_many_files() -> None:
    """A thousand uploads at once need two thousand open files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
