"""Where a command's words go: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

OWN_PACKAGES = ("tools", "shim", "migration", "flags", "observability")

_LAYOUT = "\n\t"


def printable(text: str, *, keep: str = "") -> str:
    """The text with everything unprintable as an escape, but for `keep`: a file's name must not steer the terminal."""
    return "".join(
        character if character.isprintable() or character in keep else character.encode("unicode_escape").decode()
        for character in text
    )


def say(text: str) -> None:
    """Print a result, which may have several lines."""
    sys.stdout.write(f"{printable(text, keep=_LAYOUT)}\n")
    sys.stdout.flush()


def print_json(document: object) -> None:
    """Print one JSON document on one line, in ASCII: a file's name need not be text that can be encoded."""
    say(json.dumps(document))


def note(text: str) -> None:
    """Tell the person at the terminal something that is not the result."""
    sys.stderr.write(f"shim: {printable(text)}\n")
    sys.stderr.flush()


class _OneLine(logging.Formatter):
    """A log record as one line; of an exception nothing but its type and text."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        error: Any = record.exc_info[1] if record.exc_info else None
        if error is not None:
            text = f"{text} ({type(error).__name__}: {error})"
        return printable(f"shim: {record.levelname.lower()}: {' '.join(text.split())}")


class _InFull(logging.Formatter):
    """A log record with its traceback, as it is."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep=_LAYOUT)


def configure_logging(*, debug: bool) -> None:
    """Let warnings appear as one line each on standard error; with `debug` this program's whole log, in full."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_InFull("shim: %(name)s: %(message)s") if debug else _OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    if debug:  # not those of the vendors' clients, which log what they send
        for package in OWN_PACKAGES:
            logging.getLogger(package).setLevel(logging.DEBUG)
    else:
        logging.getLogger("flags").setLevel(logging.ERROR)  # the commands themselves say what is wrong with the flags
