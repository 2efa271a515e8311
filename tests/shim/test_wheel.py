"""What is installed into a code base that has packages of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(target)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)  # noqa: S603  # pip, of this environment
    [built] = target.glob("*.whl")
    return built


def test_the_wheel_holds_the_product_and_no_monolith(wheel: Path) -> None:
    """Library, ports and product, each marked as typed, with the console's page; nothing named `tools`."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"migration", "flags", "observability", "shim"}
    assert {f"{top}/py.typed" for top in tops} <= set(names)
    assert any(name.startswith("shim/console/page/") for name in names)


def test_the_library_works_beside_a_foreign_tools_with_nothing_else_installed(wheel: Path, tmp_path: Path) -> None:
    """In an empty environment, beside a foreign `tools`, a call is routed with the standard library alone."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": ""})  # noqa: S603  # as above
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").write_text("OWN = 'the monolith\\'s own'\n")
    program = (
        "import tools\n"
        "from migration import Migration, Runtime, AlwaysLegacy, install, use_runtime\n"
        "tools.price = lambda net: net * 2\n"
        "tools.price.__module__, tools.price.__qualname__ = 'tools', 'price'\n"
        "use_runtime(Runtime(router=AlwaysLegacy()))\n"
        "install('tools:price', Migration(name='new-prices', candidate='tools:missing'))\n"
        "print(tools.OWN, tools.price(21))\n"
    )
    done = subprocess.run(  # noqa: S603  # the environment just made
        [python, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == ("the monolith's own 42\n", "")
