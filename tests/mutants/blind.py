"""Defects that no comparison of requests can see, each with the test that does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.mutants.mutant import Mutant

_GATEWAY = "tools/engine/gateway.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blind:
    """One such defect.

    Attributes:
        mutant: the defect; it shows in no field.
        because: why a comparison cannot see it.
        caught_by: the test that can.
    """

    mutant: Mutant
    because: str
    caught_by: str


def _blind(defect: str, file: str, patch: dict[str, str], because: str, caught_by: str) -> Blind:
    return Blind(
        mutant=Mutant(defect=defect, file=file, patch=patch, shows_in=""), because=because, caught_by=caught_by
    )


BLIND: Final = (
    _blind(
        "upload under an event loop of its own, in a thread",
        "tools/async_file_upload_refactored.py",
        {
            "    return await upload_through_gateway(KIMI, file_path, storage, purpose)\n": (
                "    import asyncio\n"
                "    upload = upload_through_gateway(KIMI, file_path, storage, purpose)\n"
                "    return await run_in_thread(asyncio.run, upload)\n"
            )
        },
        "the requests are the same; on which loop a side runs is the shim's choice, not the implementation's",
        "tests/mutants/test_blind.py::test_every_upload_of_a_loop_uses_the_loops_own_pool",
    ),
    _blind(
        "one connection pool for all event loops",
        "tools/transport/loops.py",
        {
            "getattr(asyncio.get_running_loop(), self._name, None)": "getattr(PerLoop, self._name, None)",
            "setattr(asyncio.get_running_loop(), self._name, value)": "setattr(PerLoop, self._name, value)",
        },
        "a call that it breaks has no answers to give again: it is dropped and says so, and its caller gets an error",
        "tests/mutants/test_blind.py::test_each_loop_has_a_pool_of_its_own",
    ),
    _blind(
        "the event loop is blocked",
        _GATEWAY,
        {"        sent = await self.send()": "        __import__('time').sleep(0.5)\n        sent = await self.send()"},
        "time is no fact; spans, the loop's delay and the guard watch it",
        "tests/tools/engine/test_footprint.py::test_uploads_do_not_stall_the_event_loop",
    ),
    _blind(
        "the whole file is held in memory",
        "tools/transport/reading.py",
        {"SHORT_FILE_BYTES = 256 * 1024\n": "SHORT_FILE_BYTES = 1 << 30\n"},
        "memory is no fact; the guard watches it",
        "tests/tools/engine/test_footprint.py::test_memory_does_not_grow_with_the_file",
    ),
    _blind(
        "off by one between sendfile and copying",
        "tools/transport/upload.py",
        {"            reader.skip(moved)\n": "            reader.skip(moved)\n            reader.place -= 1\n"},
        "real services are encrypted, where everything is copied, and so a rehearsal copies",
        "tests/tools/engine/test_body.py::test_every_way_of_sending_delivers_the_same_bytes",
    ),
    _blind(
        "the embedded storage loses the first megabyte of a long file",
        "tools/storage/local.py",
        {"async for piece in source.chunks():": "async for piece in source.chunks(start=source.size >> 20 << 20):"},
        "in a replay a stand-in takes its place, for it is not reached by requests",
        "tests/tools/storage/test_storages.py::test_a_copy_of_any_size",
    ),
    _blind(
        "an upload whose answer was lost is sent again without a look",
        "tools/engine/delivery.py",
        {"        if outcome.open_outcome:\n": "        if False:\n"},
        "a call without an answer cannot be replayed, and looks are not compared: legacy never looks",
        "tests/tools/engine/test_delivery.py::test_a_dropped_answer_leaves_one_file_in_the_sandbox",
    ),
    _blind(
        "redirects are followed",
        "tools/transport/rest.py",
        {"allow_redirects=False,": "allow_redirects=True,"},
        "none of the sampled calls is answered with one",
        "tests/tools/engine/test_gateway.py::test_a_redirect_is_not_followed",
    ),
    _blind(
        "the upload's time is local, without a time zone",
        "tools/engine/batch.py",
        {"datetime.now(UTC).isoformat()": "datetime.now().isoformat()"},
        "the field is masked, for each side looks at the clock; every comparison names the mask",
        "tests/mutants/test_blind.py::test_a_masked_time_is_of_the_same_form",
    ),
    _blind(
        "a row that cannot be written is not logged",
        "tools/engine/gateway.py",
        {"            logger.exception(self.provider.unrecorded(sent))\n": ""},
        "logs are not compared",
        "tests/tools/engine/test_gateway.py::test_a_failing_row_is_logged_as_by_legacy_and_the_upload_stands",
    ),
)
