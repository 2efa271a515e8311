"""The tables in which the guard keeps what must outlive a process."""

from __future__ import annotations

SCHEMA = """
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS standings (
  migration TEXT PRIMARY KEY, epoch INTEGER NOT NULL DEFAULT 0,
  latched_by INTEGER, frozen_by INTEGER, carried_out INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE IF NOT EXISTS bad_calls (
  id INTEGER PRIMARY KEY AUTOINCREMENT, migration TEXT NOT NULL, epoch INTEGER NOT NULL, process TEXT NOT NULL,
  at REAL, signals TEXT, on_candidate INTEGER, probability REAL, kind TEXT, seconds REAL, trace TEXT, flag_version TEXT
);
CREATE INDEX IF NOT EXISTS bad_calls_by_epoch ON bad_calls (migration, epoch, id);
CREATE TABLE IF NOT EXISTS sums (
  migration TEXT PRIMARY KEY, epoch INTEGER NOT NULL, up_to INTEGER NOT NULL, state TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS records (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, migration TEXT NOT NULL, action TEXT NOT NULL, rule TEXT,
  by TEXT NOT NULL, sentence TEXT NOT NULL, numbers TEXT NOT NULL, flag_before TEXT, flag_after TEXT,
  start TEXT, calls TEXT, carried_out_at REAL, problem TEXT
);
CREATE INDEX IF NOT EXISTS records_by_migration ON records (migration, id);
COMMIT;
"""

ADD_BAD_CALL = """
INSERT INTO bad_calls
  (migration, epoch, process, at, signals, on_candidate, probability, kind, seconds, trace, flag_version)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_RECORD = """
INSERT INTO records (at, migration, action, rule, by, sentence, numbers, flag_before, start, calls, carried_out_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
HOLD = """
INSERT INTO standings (migration, latched_by, frozen_by, carried_out) VALUES (?, ?, ?, ?)
ON CONFLICT (migration) DO UPDATE SET
  latched_by = coalesce(latched_by, excluded.latched_by), frozen_by = coalesce(frozen_by, excluded.frozen_by),
  carried_out = min(carried_out, excluded.carried_out)
"""
RELEASE = """
INSERT INTO standings (migration, epoch) VALUES (?, 1)
ON CONFLICT (migration) DO UPDATE SET epoch = epoch + 1, latched_by = NULL, frozen_by = NULL, carried_out = 1
"""
