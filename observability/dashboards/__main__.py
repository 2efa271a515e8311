"""Writes the dashboard."""

from __future__ import annotations

from observability.dashboards.dashboard import FILE, as_json

FILE.write_text(as_json(), encoding="utf-8")
