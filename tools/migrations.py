"""What is being migrated: which function, its replacement, what is compared, how its shadow has no effect.

Each provider's three entrances share one name, so one flag switches them together: the gateway function, and the tool's
`_run` (several files) and `run` (one file).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migration import Migration
from tools.errors import NothingSentError
from tools.failures import FAILURES
from tools.gauges import PROVIDER
from tools.journal.protection import journaled
from tools.providers.spec import GLM, KIMI, Provider
from tools.shadowing import UploadLive, UploadReplay
from tools.shadowing.replay import Arguments, StrPath, UploadArguments
from tools.storage.port import UploadStorage


def _bare(legacy: Callable[..., Any]) -> Callable[..., Any]:
    return legacy


@dataclass(frozen=True, slots=True, kw_only=True)
class _PublicEntrance(UploadArguments):
    """One public way to upload.

    Attributes:
        function: name of the legacy function in its module.
        candidate: name of the replacement.
        protect: what protects legacy's uploads. The tools upload by the function, which is protected.
    """

    function: str
    candidate: str
    protect: Callable[[Provider], Callable[[Callable[..., Any]], Callable[..., Any]]] = lambda _provider: _bare

    def migration(self, provider: Provider) -> Migration:
        """The declaration of this entrance of a provider."""

        def attributes(*args: Any, **kwargs: Any) -> Mapping[str, str | int]:
            files = self.files(*args, **kwargs)
            return {PROVIDER: provider.name, "file.count": len(files), "file.size": _size(files)}

        return Migration(
            name=provider.migration,
            candidate=f"{provider.candidate_module}:{self.candidate}",
            falls_back_on=(NothingSentError,),
            taxonomy=FAILURES,
            masked=("*.upload_timestamp",) if self.several else (),  # each side looks at the clock when it has finished
            attributes=attributes,
            protect=self.protect(provider),
            replay=UploadReplay(self),
            live=UploadLive(provider=provider.name, entrance=self),
        )


def _size(files: Sequence[StrPath]) -> int:
    """Bytes of all files together; a file that cannot be looked at counts nothing."""
    total = 0
    for file in files:
        try:
            total += Path(file).stat().st_size
        except (OSError, ValueError, TypeError):
            continue
    return total


def _storage_of_function(
    file_path: StrPath,  # noqa: ARG001  # its name counts: callers may use it
    storage: UploadStorage,
    *_args: Any,
    **_kwargs: Any,
) -> UploadStorage:
    return storage


def _function_with_storage(storage: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
    if "storage" in kwargs:
        return args, {**kwargs, "storage": storage}
    file_path, _storage, *rest = args
    return (file_path, storage, *rest), kwargs


def _tool_with_storage(storage: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
    tool, *rest = args
    stand_in = copy.copy(tool)
    stand_in.storage = storage
    return (stand_in, *rest), kwargs


def _with(name: str, value: object, position: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
    """The arguments with another value for one parameter, whichever way it was given."""
    if name in kwargs:
        return args, {**kwargs, name: value}
    return (*args[:position], value, *args[position + 1 :]), kwargs


def _entrances(provider: Provider) -> Sequence[_PublicEntrance]:
    return (
        _PublicEntrance(
            function=provider.function,
            protect=journaled,
            candidate=f"{provider.function}_async",
            files=lambda file_path, *_args, **_kwargs: [file_path],
            storage=_storage_of_function,
            with_storage=_function_with_storage,
            with_files=lambda files, args, kwargs: _with("file_path", files[0], 0, args, kwargs),
        ),
        _PublicEntrance(
            function=f"{provider.tool}._run",
            candidate=f"upload_files_{provider.name}_async",
            files=lambda _tool, files, *_args, **_kwargs: files,
            storage=lambda tool, *_args, **_kwargs: tool.storage,
            with_storage=_tool_with_storage,
            with_files=lambda files, args, kwargs: _with("files", list(files), 1, args, kwargs),
            several=True,
        ),
        _PublicEntrance(
            function=f"{provider.tool}.run",
            candidate=f"upload_file_{provider.name}_async",
            files=lambda _tool, file, *_args, **_kwargs: [file],
            storage=lambda tool, *_args, **_kwargs: tool.storage,
            with_storage=_tool_with_storage,
            with_files=lambda files, args, kwargs: _with("file", files[0], 1, args, kwargs),
        ),
    )


def upload_migrations(provider: Provider) -> dict[str, Migration]:
    """The three entrances of one provider, by the functions in front of which they are installed."""
    return {f"{provider.legacy_module}:{each.function}": each.migration(provider) for each in _entrances(provider)}


MIGRATIONS: Mapping[str, Migration] = {
    **upload_migrations(KIMI),
    **upload_migrations(GLM),
}
"""Every migration, by the function in front of which it is installed; a line each, which `shim remove` takes out."""


NAMES: tuple[str, ...] = tuple(dict.fromkeys(migration.name for migration in MIGRATIONS.values()))
"""The migrations' names, which are the names of their flags."""
