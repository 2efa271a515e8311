"""The dashboard's file: made by its program, and understood by Grafana's own SDK."""

from __future__ import annotations

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.dashboards.__main__ import FILE, as_json
from observability.names import Metric


def test_file_is_what_the_program_makes() -> None:
    """It was not edited by hand; `python -m observability.dashboards` writes it."""
    assert FILE.read_text(encoding="utf-8") == as_json()


def test_round_trip() -> None:
    """Grafana's SDK reads the file and writes the same again: nothing in it is unknown to Grafana."""
    register_default_plugins()
    document = json.loads(FILE.read_text(encoding="utf-8"))
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(document)))
    assert again == document


def test_every_metric_is_shown() -> None:
    """What is measured is on the dashboard."""
    text = FILE.read_text(encoding="utf-8")
    assert [metric.value for metric in Metric if metric.value.replace(".", "_") not in text] == []


def test_every_panel_says_what_it_is() -> None:
    """Each has a title, a description, a unit and a question."""
    panels = [each for each in json.loads(FILE.read_text(encoding="utf-8"))["panels"] if each["type"] != "row"]
    assert len(panels) > 15
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
