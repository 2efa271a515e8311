"""`shim remove`: the patch that ends a migration."""

from __future__ import annotations

import sys
from pathlib import Path

from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode
from shim.cli.finding import found
from shim.cli.output import note, print_json
from shim.removal.declarations import one_declared
from shim.removal.removal import removal
from shim.removal.sources import SourceTree


def run(name: str, *, apply: bool, dry_run: bool, source: Path, migrations: str | None, as_json: bool) -> int:
    """Print the patch, or apply it.

    Raises:
        CommandError: neither was asked for, or both were.
        RemovalError: the patch cannot be worked out; nothing was written.
    """
    if apply == dry_run:
        raise CommandError("say --dry-run to see the patch, or --apply to change the files", ExitCode.USAGE)
    root = source.resolve()
    patch = removal(SourceTree(root), one_declared(name, migrations or found().reference, root))
    if apply:
        patch.apply()
    files = [change.file.relative for change in patch.changes]
    if as_json:
        document = {"migration": name, "applied": apply, "files": files, "by_hand": patch.by_hand, "patch": patch.patch}
        print_json(document)
        return ExitCode.OK
    if dry_run:
        sys.stdout.write(patch.patch)  # as it is: a patch must be exact
    for sentence in [*_told(applied=apply, files=files), *patch.by_hand]:
        note(sentence)
    return ExitCode.OK


def _told(*, applied: bool, files: list[str]) -> list[str]:
    did = "changed" if applied else "nothing was changed; --apply would change"
    return [f"{did} {', '.join(files)}; let your formatter and your tests run over them"]
