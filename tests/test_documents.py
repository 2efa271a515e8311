"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from docs_reference import configuration
from migration.guard import flag_changes
from migration.guard import store as _store
from migration.guard import watching as _watching
from migration.guard import worker as _worker
from migration.model import taxonomy as _taxonomy
from migration.shadow import admission as _admission
from migration.shadow import comparing as _compare
from migration.shadow import facts as _facts
from migration.shadow import isolated as _isolated
from migration.shadow import noise as _noise
from migration.shadow import runner as _shadow_runner
from migration.store import ledger as _ledger
from migration.store import ledger_writer as _ledger_writer
from migration.store import writer as _writer
from observability import exporters as _recent
from observability.names import Event, Metric
from shim import drill, faults
from shim import drill_history as history
from shim import mcp as places
from shim import mcp as serving
from shim import process_metrics as metrics
from shim import report as findings
from shim import report as report_page
from shim.console import figures as evidence
from shim.console import figures as processes
from shim.console import figures as sides
from shim.console import server, state
from shim.console import server as feed
from shim.http import recording as exchanges
from shim.removal import sources as tree
from shim.removal import uses
from tools import journal_section
from tools import mcp as reporting
from tools.cli import compare_files, compare_session
from tools.engine import limiter as aimd
from tools.engine import throttle
from tools.recovery import audit, decision, orphans, provider_files, stored
from tools.recovery import reconcile as recovery
from tools.recovery.service_client import POLICY as INVENTORY
from tools.settings import MEGABYTE, Settings
from tools.shadowing import live as trial
from tools.shadowing import undoing

ROOT = Path(__file__).parent.parent


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_setting_has_a_meaning() -> None:
    """The reference names every variable, and none that does not exist; the README's short table none either."""
    real = {field.upper() for field in Settings.model_fields}
    assert {name for names in configuration.MEANINGS for name in names} == real
    table = text("README.md").partition("## Configuration")[2]
    named = set(re.findall(r"`([A-Z][A-Z_]+)`", table)) - {"XDG_STATE_HOME", "OTEL_EXPORTER_OTLP_ENDPOINT"}
    assert named <= real


def test_the_defaults_in_the_readme_are_the_real_ones() -> None:
    """Numbers and addresses of the table are those of the code."""
    for line in re.findall(r"^\| `[A-Z].*\|$", text("README.md"), re.MULTILINE):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        variables = re.findall(r"`([A-Z][A-Z_]+)`", cells[0])
        for variable, shown in zip(variables, cells[1].replace("`", "").split(", "), strict=False):
            default = Settings.model_fields[variable.lower()].default
            if isinstance(default, int | float) or (isinstance(default, str) and default):
                assert shown == (f"{default:g}" if isinstance(default, float) else str(default)), variable


def test_every_metric_and_event_is_documented() -> None:
    """The telemetry page knows every name."""
    page = text("docs/telemetry.md")
    for name in [*Event, *Metric]:
        assert name in page or f".{name.rpartition('.')[2]}" in page, name


def test_the_bounds_in_the_documents_are_the_real_ones() -> None:
    """The figures of the architecture page are those of the code."""
    page = text("docs/architecture.md")
    settings = Settings()
    for figure in (
        f"{settings.shadow_queue} (`SHADOW_QUEUE`)",
        f"{settings.shadow_timeout:g} s (`SHADOW_TIMEOUT`)",
        f"{settings.drain_timeout:g} s (`DRAIN_TIMEOUT`)",
        f"{settings.upload_concurrency} (`UPLOAD_CONCURRENCY`)",
        f"{aimd.FIRST_LIMIT} at first",
        f"at most {throttle.LONGEST_HOLD_SECONDS:g} s on its own advice",
        f"| limits kept for providers and widths | {throttle.MAX_THROTTLES},",
        f"| {_shadow_runner.CONCURRENT_SHADOWS} | `migration/shadow/runner.py`",
        f"with {settings.shadow_queue_bytes // MEGABYTE} MiB (`SHADOW_QUEUE_BYTES`)",
        f"| {settings.shadow_hourly_bytes // (1024 * MEGABYTE)} GiB within any hour (`SHADOW_HOURLY_BYTES`)",
        f"for {settings.shadow_patience:g} s (`SHADOW_PATIENCE`)",
        f"{100 * settings.shadow_meets:g} % (`SHADOW_MEETS`), {_admission.MOST_CREDIT:g} saved up",
        f"saved up; after {_admission.SILENCE_SECONDS:g} s",
        f"for {_ledger_writer.GATHER_SECONDS:g} s | `migration/store/ledger_writer.py`",
        f"will not be cancelled gets {_isolated.GRACE_SECONDS:g} s more",
        f"| shadows that hang | {_isolated.MAX_STUCK};",
        f"{settings.shadow_live_objects} at once (`SHADOW_LIVE_OBJECTS`)",
        f"{settings.shadow_live_hourly_bytes // MEGABYTE} MiB within any hour (`SHADOW_LIVE_HOURLY_BYTES`)",
        f"{settings.shadow_live_timeout:g} s (`SHADOW_LIVE_TIMEOUT`)",
        f"| {trial.UNDO_SECONDS:g} s and {undoing.ROUNDS} rounds",
        f"| {trial.CLEANED_BEFORE}, older than {trial.SETTLED_SECONDS:g} s",
        f"{INVENTORY.attempts} attempts of {INVENTORY.read_seconds:g} s",
        f"an answer of {INVENTORY.max_bytes // MEGABYTE} MiB",
        f"| {provider_files.MAX_PAGES} pages of {provider_files.PAGE_SIZE} files; {provider_files.PARSING_SECONDS:g} s",
        f"| {stored.MAX_PAGES} pages of {stored.MAX_LISTED:,};",
        f"| {_noise.MAX_FIELDS} of a migration",
        f"most {100 * _noise.ALPHA:g} % for each of the two claims",
        f"{_compare.MAX_DIFFERENCES}, each value {_compare.MAX_SHOWN} characters",
        f"{_facts.MAX_FIELDS:,}, and {_facts.MAX_DEPTH} containers",
        f"| {_taxonomy.MAX_CAUSES}, and {_taxonomy.MAX_NESTED_GROUPS} groups",
        f"{exchanges.MAX_EXCHANGES}, each answer {exchanges.MAX_ANSWER_BYTES // 1024} KiB",
        f"{_ledger_writer.KEEP_ROWS:,} comparisons",
        f"{_ledger_writer.KEEP_DAYS:g} days (`SHIM_LEDGER_DAYS`)",
        f"{_ledger_writer.KEEP_BYTES // MEGABYTE} MiB",
        f"{_writer.MAX_WAITING:,} records waiting",
        f"{_watching.MAX_IN_FLIGHT:,}, each for {settings.shim_guard_hang_seconds:g} s (`SHIM_GUARD_HANG_SECONDS`)",
        f"follow the guard | {_worker.ROUND_SECONDS:g} s on the same machine",
        f"to write down | {_writer.MAX_WAITING:,} waiting",
        f"evidence of earlier processes | {_worker.RECALL_SECONDS:g} s",
        f"after {flag_changes.TAKE_OVER_SECONDS:g} s | `migration/guard/flag_changes.py`",
        f"until it is off, {flag_changes.LONGEST_PAUSE:g} s apart at most",
        f"{_store.KEEP_CALLS:,} bad calls of a migration (older ones as a sum), ",
        f"(older ones as a sum), {_store.KEEP_RECORDS:,} decisions, results of {_store.KEEP_MADE:,} calls",
        f"{audit.AT_ONCE} uploads at once, {audit.ROWS_AT_ONCE} rows",
        f"| {recovery.MAX_UPLOADS:,} of one run; at the start of a process {recovery.MAX_AT_START}, for ",
        f"at the start of a process {recovery.MAX_AT_START}, for {recovery.START_SECONDS:g} s |",
        f"may appear {decision.LATE_SECONDS:,.0f} s after its last word",
        f"left alone for {orphans.SAFE_SECONDS:,.0f} s |",
        f"{drill.DECISION_SECONDS:g} s for a decision, {drill.THREADS} callers",
        f"{faults.MAX_HELD_BYTES // MEGABYTE} MiB of memory kept, hangs of {faults.HANG_SECONDS:g} s",
        f"| {places.CALLS_AT_ONCE} at once, {places.CALLS_WAITING} waiting; further ones are refused",
        f"reports every {reporting.LOOK_SECONDS:g} s at most",
        f"| {serving.MAX_SESSIONS} sessions",
        f"{serving.DRAIN_SECONDS} s for those in flight at the end",
        f"| {findings.MAX_RECORDS} decisions, {report_page.MAX_CAUSES} causes of differences",
        f"| drills that are remembered | {history.KEEP_DRILLS:,} |",
        f"| {metrics.KEEP_CALLS:,} calls, {metrics.KEEP_SAMPLES:,} samples of processes,",
        f"{metrics.KEEP_SHARES:,} changes",
        f"{metrics.KEEP_SPANS:,} spans | `shim/process_metrics.py`",
        f"notes in one second | {_writer.MAX_WAITING:,};",
        f"| {_recent.TRACES_A_SECOND} a second, if no exporter receives spans; {_recent.QUEUE_SIZE} spans waiting",
        f"| {feed.MAX_PAGES} pages, each with {feed.PAGE_SECONDS:g} s to take an update; an update a second, ",
        f"an update a second, for {min(server.WINDOWS) / 60:g} minutes to a day, ",
        f"in {sides.BUCKETS} steps; orders of {server.MAX_REQUEST_BYTES:,} bytes",
        f"| {state.ROWS} decisions, comparisons and traces, {journal_section.MOST_ENTRIES} journal entries, ",
        f"{processes.MOST_PROCESSES} processes, {evidence.POINTS} points",
        f"| {_ledger_writer.KEEP_CALLERS:,} kept of all processes, each written down once in ",
        f"once in {_ledger.CALLER_SECONDS:g} s; {_ledger.MAX_CALLERS:,} remembered by a process",
        f"| {tree.MAX_FILES:,} source files, searched {uses.MAX_ROUNDS} times at most",
        f"{compare_files.MAX_FILES:,} files of one `shim compare`, {compare_session.FILES_TOGETHER} of one call",
    ):
        assert figure in page, figure


def test_links_lead_somewhere() -> None:
    """Every relative link and picture of the documents exists."""
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
