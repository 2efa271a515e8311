"""Where copies of uploaded files and the rows that track them are kept."""

from __future__ import annotations

from tools.storage.factory import get_storage
from tools.storage.port import UploadRow, UploadStorage

__all__ = ["UploadRow", "UploadStorage", "get_storage"]
