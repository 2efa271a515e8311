"""`shim schema`."""

from __future__ import annotations

from shim.cli.conventions import ExitCode
from tests.support.command_line import RunHere
from tests.support.supabase import SupabaseTables


def test_what_is_printed_makes_the_tables(run_here: RunHere, supabase_tables: SupabaseTables) -> None:
    """The SQL as it is printed can be applied to a database with rows in it, and again, and changes nothing there."""
    finished = run_here("schema")
    assert finished.code == ExitCode.OK
    described = (
        "select table_name, column_name, data_type from information_schema.columns where table_schema = 'public'"
    )
    before = supabase_tables.database.run(described)
    supabase_tables.database.run(finished.out)
    assert supabase_tables.database.run(described) == before
    assert "provider_file_uploads|sha256|text" in before


def test_an_empty_database_has_the_tables_afterwards(run_here: RunHere, supabase_tables: SupabaseTables) -> None:
    """Only the service role gets in, and a table of files that is there already is left as it is."""
    database = supabase_tables.database
    database.run("create database fresh")
    fresh = database.named("fresh")
    fresh.run("create table provider_file_uploads (id integer)")
    fresh.run(run_here("schema").out)
    guarded = (
        "select relname, relrowsecurity from pg_class where relname in ('upload_intents', 'provider_file_uploads')"
    )
    assert fresh.run(f"{guarded} order by relname") == "provider_file_uploads|f\nupload_intents|t"
    assert fresh.run("select count(*) from pg_policies") == "0"


def test_the_migrations_can_be_taken_one_by_one(run_here: RunHere) -> None:
    """--json gives each step with its name, in order."""
    steps = run_here("schema", "--json").document["migrations"]
    assert [step["name"] for step in steps] == [
        "0001_provider_file_uploads",
        "0002_upload_intents",
        "0003_any_provider",
    ]
    assert all(" table " in step["sql"] for step in steps)
