from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.monolith import SetEnvironment
from tools.errors import ConfigurationError
from tools.storage import get_storage
from tools.storage.local import LocalStorage
from tools.storage.supabase import SupabaseStorage


def test_without_supabase_the_embedded_storage_is_used(set_environment: SetEnvironment, tmp_path: Path) -> None:
    """No variables are needed to start."""
    set_environment(SHIM_HOME=str(tmp_path / "home"))
    storage = get_storage()
    assert isinstance(storage, LocalStorage)
    assert storage.folder.root == tmp_path / "home" / "storage"


def test_with_supabase_it_is_used(set_environment: SetEnvironment) -> None:
    """Address and key together choose Supabase."""
    set_environment(SUPABASE_URL="https://project.supabase.co", SUPABASE_SERVICE_ROLE_KEY="sb_secret_123")
    assert isinstance(get_storage(), SupabaseStorage)


@pytest.mark.parametrize(
    ("given", "missing"),
    [("SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"), ("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_URL")],
)
def test_half_a_configuration_is_refused(set_environment: SetEnvironment, given: str, missing: str) -> None:
    """The error names the variable that is missing, and no value."""
    set_environment(**{given: "https://project.supabase.co"})
    with pytest.raises(ConfigurationError, match=f"^{missing}: must be set") as refused:
        get_storage()
    assert "project.supabase.co" not in str(refused.value)
