"""What is being migrated: which function, its replacement, what is compared, how its shadow has no effect.

Each provider's three entrances share one name, so one flag switches them together: the gateway function, and the tool's
`_run` (several files) and `run` (one file).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from migration import Live, Migration, ShadowMode
from tools.engine.gauges import PROVIDER
from tools.errors import NothingSentError
from tools.failures import FAILURES
from tools.providers.upload_tool import UploadTool
from tools.shadowing import UploadLive, UploadReplay
from tools.storage.port import ProviderName, UploadStorage

NEW = "tools.async_file_upload_refactored"

StrPath = str | os.PathLike[str]


def _size(files: Sequence[StrPath]) -> int:
    """Bytes of all files together; a file that cannot be looked at counts nothing."""
    total = 0
    for file in files:
        try:
            total += Path(file).stat().st_size
        except (OSError, ValueError, TypeError):
            continue
    return total


def _of_function(provider: str) -> Callable[..., Mapping[str, str | int]]:
    def attributes(file_path: StrPath, *_args: Any, **_kwargs: Any) -> Mapping[str, str | int]:
        return {PROVIDER: provider, "file.count": 1, "file.size": _size([file_path])}

    return attributes


def _of_many(provider: str) -> Callable[..., Mapping[str, str | int]]:
    def attributes(_tool: UploadTool, files: Sequence[StrPath], *_args: Any, **_kwargs: Any) -> Mapping[str, str | int]:
        return {PROVIDER: provider, "file.count": len(files), "file.size": _size(files)}

    return attributes


def _of_one(provider: str) -> Callable[..., Mapping[str, str | int]]:
    def attributes(_tool: UploadTool, file: StrPath, *_args: Any, **_kwargs: Any) -> Mapping[str, str | int]:
        return {PROVIDER: provider, "file.count": 1, "file.size": _size([file])}

    return attributes


def _storage_of_function(
    file_path: StrPath,  # noqa: ARG001  # its name counts: callers may use it
    storage: UploadStorage,
    *_args: Any,
    **_kwargs: Any,
) -> UploadStorage:
    return storage


def _function_with_storage(
    storage: UploadStorage, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    if "storage" in kwargs:
        return args, {**kwargs, "storage": storage}
    file_path, _storage, *rest = args
    return (file_path, storage, *rest), kwargs


def _tool_with_storage(
    storage: UploadStorage, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    tool, *rest = args
    stand_in = copy.copy(tool)
    stand_in.storage = storage
    return (stand_in, *rest), kwargs


FUNCTION_REPLAY = UploadReplay(
    files=lambda file_path, *_args, **_kwargs: [file_path],
    storage=_storage_of_function,
    with_storage=_function_with_storage,
)
MANY_REPLAY = UploadReplay(
    files=lambda _tool, files, *_args, **_kwargs: files,
    storage=lambda tool, *_args, **_kwargs: tool.storage,
    with_storage=_tool_with_storage,
    ordered=False,
)
ONE_REPLAY = UploadReplay(
    files=lambda _tool, file, *_args, **_kwargs: [file],
    storage=lambda tool, *_args, **_kwargs: tool.storage,
    with_storage=_tool_with_storage,
)


def _function_instead(
    files: Sequence[StrPath], storage: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    [file] = files
    args, kwargs = _function_with_storage(storage, args, kwargs)
    return _with_first("file_path", file, args, kwargs)


def _file_instead(
    files: Sequence[StrPath], storage: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    [file] = files
    (tool, *rest), kwargs = _tool_with_storage(storage, args, kwargs)
    others, kwargs = _with_first("file", file, tuple(rest), kwargs)
    return (tool, *others), kwargs


def _files_instead(
    files: Sequence[StrPath], storage: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    (tool, *rest), kwargs = _tool_with_storage(storage, args, kwargs)
    others, kwargs = _with_first("files", list(files), tuple(rest), kwargs)
    return (tool, *others), kwargs


def _with_first(
    name: str, value: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """The arguments with another value for the first parameter, whichever way it was given."""
    if name in kwargs:
        return args, {**kwargs, name: value}
    return (value, *args[1:]), kwargs


def _function_live(provider: ProviderName) -> Live:
    return UploadLive(
        provider=provider, files=FUNCTION_REPLAY.files, storage=FUNCTION_REPLAY.storage, instead=_function_instead
    )


def _file_live(provider: ProviderName) -> Live:
    return UploadLive(provider=provider, files=ONE_REPLAY.files, storage=ONE_REPLAY.storage, instead=_file_instead)


def _files_live(provider: ProviderName) -> Live:
    return UploadLive(provider=provider, files=MANY_REPLAY.files, storage=MANY_REPLAY.storage, instead=_files_instead)


def _migrations(provider: ProviderName, module: str, tool: str) -> dict[str, Migration]:
    """The three entrances of one provider, by where they are installed."""
    name = f"async-upload-{provider}"
    nothing_sent = (NothingSentError,)
    function = f"upload_via_supabase_gateway_{provider}"
    return {
        f"{module}:{function}": Migration(
            name=name,
            candidate=f"{NEW}:{function}_async",
            falls_back_on=nothing_sent,
            taxonomy=FAILURES,
            attributes=_of_function(provider),
            replay=FUNCTION_REPLAY,
            live=_function_live(provider),
        ),
        f"{module}:{tool}._run": Migration(
            name=name,
            candidate=f"{NEW}:upload_files_{provider}_async",
            falls_back_on=nothing_sent,
            taxonomy=FAILURES,
            masked=("*.upload_timestamp",),  # each side looks at the clock when it has finished
            attributes=_of_many(provider),
            replay=MANY_REPLAY,
            live=_files_live(provider),
        ),
        f"{module}:{tool}.run": Migration(
            name=name,
            candidate=f"{NEW}:upload_file_{provider}_async",
            falls_back_on=nothing_sent,
            taxonomy=FAILURES,
            attributes=_of_one(provider),
            replay=ONE_REPLAY,
            live=_file_live(provider),
        ),
    }


MIGRATIONS: Mapping[str, Migration] = {
    **_migrations("kimi", "tools.providers.kimi.kimi_files", "KimiUploadFilesTool"),
    **_migrations("glm", "tools.providers.glm.glm_files", "GLMUploadFileTool"),
}
"""Every migration, by the function in front of which it is installed."""


def migrations_with(shadow_mode: str) -> Mapping[str, Migration]:
    """The same, their shadows run in this mode: `replay`, `live` or `kept` (the setting `SHADOW_MODE`)."""
    mode = ShadowMode(shadow_mode)
    return {target: replace(migration, shadow_mode=mode) for target, migration in MIGRATIONS.items()}


NAMES: tuple[str, ...] = tuple(dict.fromkeys(migration.name for migration in MIGRATIONS.values()))
"""The migrations' names, which are the names of their flags."""
