"""Supabase as the storage: Storage for the copies, PostgREST for the rows."""

from __future__ import annotations

from tools.storage.supabase.storage import SupabaseStorage

__all__ = ["SupabaseStorage"]
