"""What is installed to run the program: pinned by hash, under licences that may be used, written down."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

REPOSITORY = Path(__file__).parents[2]
LOCK = (REPOSITORY / "requirements.lock").read_text()

PERMITTED = re.compile(
    r"\b(MIT|BSD|Apache|ISC|MPL|Mozilla Public License|PSF|Python Software Foundation|Unlicense|CC0|Zlib|0BSD)",
    re.IGNORECASE,
)
"""Licences that ask for no more than a notice, or for changes to the licensed files alone."""


def entries() -> dict[str, tuple[str, str]]:
    """Version and hashes of each locked package, by normalised name."""
    found = {}
    for entry in re.split(r"\n(?=\S)", LOCK.strip()):
        match = re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry)
        assert match is not None, entry
        found[normalised(match[1])] = (match[2], entry)
    return found


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, str]:
    """Names and versions in a requirements file."""
    lines = (REPOSITORY / file).read_text().splitlines()
    matches = (re.match(r"([A-Za-z0-9._-]+)(?:\[.*\])?==(\S+)", line) for line in lines)
    return {normalised(match[1]): match[2] for match in matches if match}


def test_every_runtime_package_is_locked_by_hash() -> None:
    """All that the program needs stands in the lock, at the version it was tested with (`make lock` writes it)."""
    locked = entries()
    assert {name: version for name, version in pins("requirements.txt").items() if locked[name][0] != version} == {}
    tested = pins("constraints.txt")
    assert {name: version for name, (version, _) in locked.items() if tested.get(name, version) != version} == {}
    assert [name for name, (_, entry) in locked.items() if "--hash=sha256:" not in entry] == []


def test_the_lock_names_no_registry() -> None:
    """Where packages come from is the machine's business."""
    assert not re.search(r"https?://|--index-url|--find-links", LOCK)


def licence_of(name: str) -> str:
    """What a package's own metadata say, else the heading of the licence that it ships."""
    metadata = distribution(name).metadata
    classifiers = [line for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    told = [*(metadata.get_all("License-Expression") or ()), *classifiers, *(metadata.get_all("License") or ())]
    told += [file.read_text()[:80] for file in distribution(name).files or () if file.name == "LICENSE"][:1]
    return " ".join(told)[:500]


def test_every_licence_may_be_used() -> None:
    """Each locked package that is installed here says under which licence it is, and that is a permitted one."""
    unknown = {}
    installed = 0
    for name in entries():
        try:
            licence = licence_of(name)
        except PackageNotFoundError:  # for another platform
            continue
        installed += 1
        if not PERMITTED.search(licence):
            unknown[name] = licence
    assert unknown == {}
    assert installed > 50


@pytest.mark.parametrize(
    "licence", ["", "GPL-3.0-only", "License :: OSI Approved :: GNU Affero General Public License v3"]
)
def test_other_licences_are_not_permitted(licence: str) -> None:
    """The check can fail."""
    assert not PERMITTED.search(licence)


def test_the_sbom_is_valid_and_complete(tmp_path: Path) -> None:
    """As `make sbom` writes it: CycloneDX, every locked package with its version, and its hashes."""
    target = tmp_path / "sbom.json"
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "requirements.lock", "--output-reproducible"]
    subprocess.run([*command, "-o", str(target)], cwd=REPOSITORY, check=True, capture_output=True)  # noqa: S603  # our own
    text = target.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = {normalised(each["name"]): each for each in json.loads(text)["components"]}
    assert {name: each["version"] for name, each in components.items()} == {
        name: version for name, (version, _) in entries().items()
    }


@contextmanager
def advisories(*, affected: str, answers: bool) -> Iterator[str]:
    """A server of advisories in OSV's form that knows one, about the package `affected`; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = {"vulns": [{"id": "PYSEC-1", "summary": "a hole", "affected": []}]}
            self.send_response(200 if answers else 404)
            self.end_headers()
            self.wfile.write(json.dumps(known if asked["package"]["name"] == affected else {}).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("affected", "answers", "code", "told"),
    [
        ("nothing of ours", True, 0, "No known vulnerabilities found"),
        ("aiohttp", True, 2, "PYSEC-1"),
        ("nothing of ours", False, 2, "Error"),
    ],
    ids=["sound", "vulnerable", "unanswered"],
)
def test_the_audit_fails_unless_all_that_is_locked_was_found_sound(
    tmp_path: Path, affected: str, code: int, told: str, *, answers: bool
) -> None:
    """As `make audit` does it: a known vulnerability fails it, and so does a service that says nothing of a package."""
    with advisories(affected=affected, answers=answers) as address:
        options = f"--vulnerability-service osv --osv-url {address} --cache-dir {tmp_path} --progress-spinner off"
        make = [shutil.which("make") or "make", "--assume-old", ".venv/development", "audit"]
        finished = subprocess.run(  # noqa: S603  # our own
            [*make, f"BIN={Path(sys.executable).parent}", f"ARGS={options}"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert finished.returncode == code, finished.stderr
    assert told in finished.stdout + finished.stderr
