"""The ledger's tables."""

SCHEMA = """
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS runs (
  migration TEXT, side TEXT, role TEXT, result TEXT,
  calls INTEGER, seconds REAL, bytes INTEGER, last_at REAL,
  PRIMARY KEY (migration, side, role, result)
);
CREATE TABLE IF NOT EXISTS decisions (
  migration TEXT PRIMARY KEY, at REAL, serve TEXT, shadow INTEGER, probability REAL, shadow_probability REAL,
  reason TEXT, source TEXT, flag_version TEXT, error TEXT
);
CREATE TABLE IF NOT EXISTS comparisons (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, migration TEXT, function TEXT, verdict TEXT, differences TEXT,
  masked TEXT, detail TEXT, attributes TEXT, flag_version TEXT, primary_side TEXT, primary_seconds REAL,
  shadow_seconds REAL, primary_trace TEXT, shadow_trace TEXT
);
CREATE INDEX IF NOT EXISTS comparisons_by_verdict ON comparisons (migration, verdict);
CREATE TABLE IF NOT EXISTS notices (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL, kind TEXT, migration TEXT, text TEXT
);
COMMIT;
"""
