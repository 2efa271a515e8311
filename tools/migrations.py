"""What is being migrated: which function, its replacement, what is compared, how its shadow has no effect.

Each provider's three entrances share one name, so one flag switches them together: the gateway function, and the tool's
`_run` (several files) and `run` (one file).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from migration import Migration, Replay
from tools.errors import NothingSentError
from tools.providers.upload_tool import UploadTool
from tools.replay import UploadReplay
from tools.storage.port import UploadStorage

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
        return {"upload.provider": provider, "file.count": 1, "file.size": _size([file_path])}

    return attributes


def _of_many(provider: str) -> Callable[..., Mapping[str, str | int]]:
    def attributes(_tool: UploadTool, files: Sequence[StrPath], *_args: Any, **_kwargs: Any) -> Mapping[str, str | int]:
        return {"upload.provider": provider, "file.count": len(files), "file.size": _size(files)}

    return attributes


def _of_one(provider: str) -> Callable[..., Mapping[str, str | int]]:
    def attributes(_tool: UploadTool, file: StrPath, *_args: Any, **_kwargs: Any) -> Mapping[str, str | int]:
        return {"upload.provider": provider, "file.count": 1, "file.size": _size([file])}

    return attributes


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


FUNCTION_REPLAY: Replay = UploadReplay(
    files=lambda file_path, *_args, **_kwargs: [file_path],
    storage=lambda _file_path, storage, *_args, **_kwargs: storage,
    with_storage=_function_with_storage,
)
MANY_REPLAY: Replay = UploadReplay(
    files=lambda _tool, files, *_args, **_kwargs: files,
    storage=lambda tool, *_args, **_kwargs: tool.storage,
    with_storage=_tool_with_storage,
    ordered=False,
)
ONE_REPLAY: Replay = UploadReplay(
    files=lambda _tool, file, *_args, **_kwargs: [file],
    storage=lambda tool, *_args, **_kwargs: tool.storage,
    with_storage=_tool_with_storage,
)


def _migrations(provider: str, module: str, tool: str) -> dict[str, Migration]:
    """The three entrances of one provider, by where they are installed."""
    name = f"async-upload-{provider}"
    nothing_sent = (NothingSentError,)
    function = f"upload_via_supabase_gateway_{provider}"
    return {
        f"{module}:{function}": Migration(
            name=name,
            candidate=f"{NEW}:{function}_async",
            falls_back_on=nothing_sent,
            attributes=_of_function(provider),
            replay=FUNCTION_REPLAY,
        ),
        f"{module}:{tool}._run": Migration(
            name=name,
            candidate=f"{NEW}:upload_files_{provider}_async",
            falls_back_on=nothing_sent,
            masked=("*.upload_timestamp",),  # each side looks at the clock when it has finished
            attributes=_of_many(provider),
            replay=MANY_REPLAY,
        ),
        f"{module}:{tool}.run": Migration(
            name=name,
            candidate=f"{NEW}:upload_file_{provider}_async",
            falls_back_on=nothing_sent,
            attributes=_of_one(provider),
            replay=ONE_REPLAY,
        ),
    }


MIGRATIONS: Mapping[str, Migration] = {
    **_migrations("kimi", "tools.providers.kimi.kimi_files", "KimiUploadFilesTool"),
    **_migrations("glm", "tools.providers.glm.glm_files", "GLMUploadFileTool"),
}
"""Every migration, by the function in front of which it is installed."""

NAMES: tuple[str, ...] = tuple(dict.fromkeys(migration.name for migration in MIGRATIONS.values()))
"""The migrations' names, which are the names of their flags."""
