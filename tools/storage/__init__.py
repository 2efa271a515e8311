"""Where copies of uploaded files and the rows that track them are kept."""

from __future__ import annotations

from shim.primitives import unforked
from tools.errors import ConfigurationError
from tools.settings import get_settings
from tools.storage.local import LocalStorage
from tools.storage.port import UploadRow, UploadStorage

__all__ = ["UploadRow", "UploadStorage", "get_storage"]


def get_storage() -> UploadStorage:
    """Supabase when it is configured, otherwise the embedded storage in `SHIM_HOME`.

    Raises:
        ConfigurationError: only one of Supabase's two variables is set.
    """
    settings = get_settings()
    url, key = settings.supabase_url, settings.supabase_service_role_key
    if url is None and key is None:
        return LocalStorage(settings.storage_folder, settings.uploads_db)
    if url is None:
        raise ConfigurationError({"SUPABASE_URL": "must be set when SUPABASE_SERVICE_ROLE_KEY is"})
    if key is None:
        raise ConfigurationError({"SUPABASE_SERVICE_ROLE_KEY": "must be set when SUPABASE_URL is"})

    # the client's packages take half a second to import, so only those who use them wait for that
    with unforked():
        from tools.storage.supabase import SupabaseStorage  # noqa: PLC0415  # see above

    return SupabaseStorage(url=url, key=key.get_secret_value(), bucket=settings.supabase_bucket)
