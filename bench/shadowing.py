"""What a caller notices when every upload is also compared: nothing is what is to be reached."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.clients.uploads import PURPOSE, files_of
from bench.files import Files
from bench.harness import Contender, Goal, Job, Row, Scale
from bench.ratios import percentile
from bench.uploading import upload_row
from shim.installation import Installation
from shim.wiring import flag_admin
from tools.application import app
from tools.load import Steering, create_flags
from tools.providers.kimi import kimi_files
from tools.settings import get_settings
from tools.storage.local import LocalStorage

_SHIM = "shim"
_MEDIAN = "median_ratio"
_P99 = "p99_ratio"

_SIZE = 20_000
_UPLOADS = 600
_QUICK_UPLOADS = 200
_A_BLOCK = 100
"""Uploads after which comparing is switched on or off."""

_GAP_SECONDS = 0.02
"""Between two uploads: the answer is read. It is much shorter than a comparison, so there is no time for one."""

_WARM_UPS = 20
_DRAIN_SECONDS = 60.0
_EVERYTHING, _NOTHING = 100, 0


def rows(scale: Scale) -> Sequence[Row]:
    """Small files, because a comparison takes several times as long as the upload of one.

    Uploads with and without comparisons take turns in one process: two processes would differ by more than what is
    looked for. What is compared in the pauses between the blocks costs no caller anything.
    """
    uploads = _QUICK_UPLOADS if scale.quick else _UPLOADS
    return [
        upload_row(
            Files(folder=scale.files, size=_SIZE, count=uploads),
            name="shadow",
            title="20 KB files through the shim: a comparison wanted for each, as a multiple of none",
            unit="files",
            contenders=[Contender(name=_SHIM, entry="bench.shadowing:shim")],
            reference=_SHIM,
            rounds=scale.rounds(3),
            goals=[Goal(contender=_SHIM, figure=figure, at_most=1.05) for figure in (_MEDIAN, _P99)],
        )
    ]


class Alternating:
    """Files sent one after the other, with a pause after each; half of the blocks are compared.

    The first is not, the next two are, then two are not, and so on: neither kind comes later than the other, in a
    process that may become slower or quicker.
    """

    def __init__(self, job: Job, installation: Installation, steering: Steering) -> None:
        self._files = files_of(job)
        self._tiny = Path(job.options["tiny"])
        self._storage = LocalStorage(job.folder / "storage")
        self._shadows = installation.runtime.shadows
        self._steering = steering

    def warm_up(self) -> None:
        """Send the tiny file a few times, and have it compared: what is made on first use is not to be measured."""
        self._send([self._tiny] * _WARM_UPS, compared=_EVERYTHING)

    def run(self) -> Mapping[str, float]:
        """Send all files, and tell how long those took that were to be compared, beside the others."""
        took: dict[int, list[float]] = {_NOTHING: [], _EVERYTHING: []}
        for number, start in enumerate(range(0, len(self._files), _A_BLOCK)):
            compared = _EVERYTHING if (number + 1) // 2 % 2 else _NOTHING
            took[compared] += self._send(self._files[start : start + _A_BLOCK], compared=compared)
        if not all(took.values()):
            return {}  # the few files that prove that everybody sends what is asked for
        return {
            name: percentile(took[_EVERYTHING], percent) / percentile(took[_NOTHING], percent)
            for name, percent in ((_MEDIAN, 50), (_P99, 99))
        }

    def _send(self, files: Sequence[Path], *, compared: int) -> list[float]:
        """Send a block and return the seconds that each upload took; nothing of it is left to be compared."""
        self._steering.serve(_EVERYTHING, compared=compared)
        took = []
        for file in files:
            began = time.perf_counter()
            kimi_files.upload_via_supabase_gateway_kimi(str(file), self._storage, PURPOSE)
            took.append(time.perf_counter() - began)
            time.sleep(_GAP_SECONDS)
        self._shadows.drain(_DRAIN_SECONDS)
        return took


@contextmanager
def shim(job: Job) -> Iterator[Alternating]:
    """The migrations as they stand in front of the monolith, with everything served by the new implementation."""
    admin = flag_admin(get_settings())
    create_flags(admin)
    with app.running() as installation:
        yield Alternating(job, installation, Steering(admin, installation.router))
