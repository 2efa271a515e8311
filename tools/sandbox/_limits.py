"""How much the stand-ins accept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The vendors' limits, in bytes and in numbers of files.

    Attributes:
        kimi_max_bytes: largest file; whether the documented 100 MB is decimal or binary is not said.
        kimi_max_files: files one account can keep.
        glm_max_bytes: largest file; z.ai documents 100 MB for `agent`, its sibling service 20 MB.
        glm_max_files: files one account can keep.
        storage_max_bytes: largest object; a bucket can set less.
        tus_chunk_bytes: what every resumable piece but the last must measure; 0 accepts any.
    """

    kimi_max_bytes: int = 100 * MEGABYTE
    kimi_max_files: int = 1000
    glm_max_bytes: int = 100 * MEGABYTE
    glm_max_files: int = 100
    storage_max_bytes: int = 5 * 1024 * MEGABYTE
    tus_chunk_bytes: int = 6 * MEGABYTE

    def changed(self, values: Mapping[str, object]) -> Limits:
        """These limits with some replaced.

        Raises:
            ValueError: an unknown name, or a value that is no whole number of at least zero.
        """
        known = {field.name for field in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"{name} is no limit; there are {', '.join(sorted(known))}")
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name} must be a whole number of at least 0")
        return replace(self, **values)  # type: ignore[arg-type]  # names and values were checked above

    def to_json(self) -> dict[str, int]:
        """The limits by name."""
        return asdict(self)
