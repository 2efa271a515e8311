"""`shim report`: everything about a migration in one HTML file."""

from __future__ import annotations

from pathlib import Path

from shim.cli.errors import CommandError
from shim.cli.exits import ExitCode
from shim.cli.finding import application
from shim.cli.mismatches import parse_duration
from shim.cli.output import print_json, say
from shim.report import gather, page


def run(name: str, *, since: str, output: Path | None, as_json: bool) -> int:
    """Write the file and say where it is.

    Raises:
        CommandError: no such migration is declared, or the file cannot be written.
    """
    app = application()
    names = app.names()
    if name not in names:
        raise CommandError(f"no migration is called {name!r}; there are {', '.join(names)}", ExitCode.USAGE)
    found = gather(app.settings(), name, seconds=parse_duration(since))
    path = output or Path(f"{name}-report.html")
    try:
        written = path.write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}; choose another place with --output") from error
    if as_json:
        print_json({"migration": name, "file": str(path), "characters": written})
    else:
        say(f"{path} ({written / 1_000_000:.1f} MB, needs nothing else)")
    return ExitCode.OK
