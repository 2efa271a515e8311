"""A row of the tracking table to vary."""

from __future__ import annotations

from tools.storage import UploadRow

ROW = UploadRow(
    provider="kimi",
    provider_file_id="file-1",
    supabase_file_id="object-1",
    sha256="a" * 64,
    filename='say "hi" ü.txt',
    file_size_bytes=3,
    upload_status="completed",
    upload_method="supabase_gateway",
)
