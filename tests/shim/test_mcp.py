"""`shim mcp` for an application that adds nothing: what operators ask, read-only."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from mcp import Client, StdioServerParameters

from migration.guard import DecisionRecord
from shim.settings import ShimSettings
from shim.wiring import open_guard_store
from tests.support.documents import ROOT

SECONDS = 30.0
SHOP = """
from migration import Migration, ReadOnly
from shim import Application

app = Application(
    migrations={"shop.old:price": Migration(name="new-prices", candidate="shop.new:price", replay=ReadOnly())},
)
"""


async def test_operators_tools_alone(tmp_path: Path) -> None:
    """There are two tools that only read; they know what is declared, and the decisions of this machine in full."""
    (tmp_path / "shop.py").write_text(SHOP)
    home = tmp_path / "state"
    number = open_guard_store(ShimSettings(shim_home=home)).decide(
        DecisionRecord(at=time.time(), migration="new-prices", action="freeze", by="me", sentence="It was too slow.")
    )
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "shim.cli", "--app", "shop:app", "mcp"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SHIM_HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=str(tmp_path),
    )
    async with Client(parameters, read_timeout_seconds=SECONDS) as client:
        tools = {tool.name: tool.annotations for tool in (await client.list_tools()).tools}
        status = await client.call_tool("migration_status")
        latest = await client.call_tool("migration_explain")
        one = await client.call_tool("migration_explain", {"decision": number})
        none = await client.call_tool("migration_explain", {"decision": number + 1})
    assert set(tools) == {"migration_status", "migration_explain"}
    assert all(annotations is not None and annotations.read_only_hint for annotations in tools.values())
    assert status.structured_content is not None
    assert [each["migration"] for each in status.structured_content["migrations"]] == ["new-prices"]
    assert latest.structured_content is not None
    assert [each["sentence"] for each in latest.structured_content["decisions"]] == ["It was too slow."]
    assert one.structured_content is not None
    assert one.structured_content["action"] == "freeze"
    assert none.is_error
