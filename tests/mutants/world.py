"""Where calls are compared: every migration in front of the sandbox, and each call's comparison."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import certifi

from migration import Comparison, Decision, Reason, Runtime, Side
from migration.model import Notice, Operation
from tests.mutants.calls import SampledCall
from tools.application import app
from tools.providers.glm import glm_files
from tools.providers.kimi import kimi_files
from tools.sandbox import RunningSandbox
from tools.settings import MEGABYTE, Settings, get_settings, use_settings
from tools.storage import get_storage

LIMIT = 7 * MEGABYTE
"""The largest file that may be uploaded."""

SECONDS = 60.0
"""The longest that one comparison may take."""


@dataclass(slots=True)
class EveryCall:
    """A router that has every call compared."""

    serve: Side = Side.LEGACY

    def decide(self, call: object) -> Decision:
        del call
        return Decision(serve=self.serve, shadow=True, reason=Reason.STATIC)


@dataclass(slots=True)
class Comparisons:
    """An observer that hands each comparison on."""

    to: Callable[[Comparison], object]

    @contextmanager
    def operation(self, operation: Operation) -> Iterator[None]:
        del operation
        yield

    def compared(self, comparison: Comparison) -> None:
        self.to(comparison)

    def noticed(self, notice: Notice) -> None:
        pass


@dataclass(slots=True)
class World:
    """The monolith's entrances, compared.

    Attributes:
        found: the comparisons so far, in the order in which they were finished.
    """

    sandbox: RunningSandbox
    router: EveryCall
    runtime: Runtime
    found: list[Comparison] = field(default_factory=list)

    def compare(self, call: SampledCall, folder: Path) -> Comparison:
        """Make a call with its files in `folder`, and wait for the comparison."""
        before = len(self.found)
        self.sandbox.set_faults(call.faults)
        self.begin(call, call.write_files(folder))
        assert self.runtime.shadows.drain(SECONDS + 5.0)
        [comparison] = self.found[before:]
        return comparison

    def begin(self, call: SampledCall, paths: list[Path]) -> None:
        """Make a call; its comparison comes later."""
        self.router.serve = call.serve
        bucket = {"supabase_bucket": call.bucket} if call.bucket else {}
        embedded = {"supabase_url": None, "supabase_service_role_key": None} if call.storage == "embedded" else {}
        with (
            use_settings(get_settings().model_copy(update={**bucket, **embedded})),
            suppress(ValueError, OSError, RuntimeError),  # what a call raises is compared like any other answer
        ):
            _upload(call, paths)


@contextmanager
def world(sandbox: RunningSandbox, home: Path) -> Iterator[World]:
    """Compare in `sandbox`, from which everything is removed first."""
    sandbox.reset()
    settings = Settings.model_validate(
        {
            "kimi_api_url": sandbox.urls["kimi"],
            "glm_api_url": sandbox.urls["glm"],
            "supabase_url": sandbox.supabase_url,
            "kimi_api_key": "the-key-of-kimi",
            "glm_api_key": "the-key-of-glm",
            "supabase_service_role_key": "sb_secret_of_supabase",
            "kimi_max_bytes": LIMIT,
            "glm_max_bytes": LIMIT,
            "shim_home": home,
            "shadow_timeout": SECONDS,
            "shadow_mode": "replay",
            "shadow_patience": 0.0,
            "shadow_meets": 1.0,
            "shadow_noise_share": 0.0,
            "shadow_hourly_bytes": sys.maxsize,
        }
    )
    router = EveryCall()
    found: list[Comparison] = []
    with use_settings(settings), app.comparing(settings, router, Comparisons(found.append)) as runtime:
        yield World(sandbox, router, runtime, found)


def one_certificate(folder: Path) -> Path:
    """A list of authorities with one entry, for `SSL_CERT_FILE`.

    Legacy reads the whole list anew for each client, which is most of what a comparison takes; nothing is encrypted
    here.
    """
    first, end, _ = Path(certifi.where()).read_text(encoding="ascii").partition("-----END CERTIFICATE-----\n")
    path = folder / "one-authority.pem"
    path.write_text(first + end, encoding="ascii")
    return path


def _upload(call: SampledCall, paths: list[Path]) -> Any:
    """The call, made as the monolith makes it."""
    storage = get_storage()
    purpose = {} if call.purpose is None else {"purpose": call.purpose}
    kimi = call.provider == "kimi"
    if call.entrance == "function":
        module: Any = kimi_files if kimi else glm_files
        return getattr(module, f"upload_via_supabase_gateway_{call.provider}")(paths[0], storage, **purpose)
    tool: Any = kimi_files.KimiUploadFilesTool(storage) if kimi else glm_files.GLMUploadFileTool(storage)
    if call.entrance == "one":
        return tool.run(file=paths[0], **purpose)
    return tool._run(files=paths, **purpose)
