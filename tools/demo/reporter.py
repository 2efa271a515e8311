"""Who shows the demonstration while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tools.demo.results import Answer, BigUpload, Compared, Flip, Stage


class Reporter(Protocol):
    """Is told what happens as it happens."""

    def began(self, what: str, total: int | None = None) -> None:
        """Something begins that takes `total` steps."""
        ...

    def advanced(self) -> None:
        """One step of it is done."""
        ...

    def answered(self, answer: Answer) -> None:
        """The unchanged caller has answered a question."""
        ...

    def uploaded_big(self, upload: BigUpload) -> None:
        """The large file was uploaded."""
        ...

    def compared(self, comparisons: Sequence[Compared]) -> None:
        """Sampled calls were compared."""
        ...

    def staged(self, stage: Stage) -> None:
        """A stage is over."""
        ...

    def traced(self, lines: Sequence[str]) -> None:
        """The spans of one call, in the order in which they began."""
        ...

    def flipped(self, flip: Flip) -> None:
        """The flags were turned off, and legacy serves again."""
        ...
