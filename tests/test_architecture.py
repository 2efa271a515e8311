"""Who may import whom."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_import_contract_is_kept() -> None:
    """The rooms import each other only in the directions that `pyproject.toml` declares."""
    checked = subprocess.run(  # noqa: S603  # the project's own tool
        [Path(sys.executable).with_name("lint-imports"), "--config", "pyproject.toml", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert " 0 broken" in checked.stdout


def test_the_product_names_nothing_of_the_monolith() -> None:
    """No module of the monolith and no provider stands in the product, not even in a string."""
    words = re.compile(r"\btools\.[a-z]|\bkimi\b|\bglm\b|\bmoonshot\b", re.IGNORECASE)
    sources = [path for path in (ROOT / "shim").rglob("*") if path.suffix in {".py", ".js", ".html", ".css"}]
    assert len(sources) > 30
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if words.search(line)
    ]
    assert found == []
