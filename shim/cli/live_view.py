"""A picture that is shown anew now and then, until somebody has seen enough."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.live import Live


def show_live(picture: Callable[[], RenderableType], *, every: float) -> None:
    """Show it every so many seconds until Ctrl-C, the orderly end; without a terminal once, for nobody would look on.

    The last picture stays on the terminal. One that is higher than the terminal is cut at its bottom.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.print(picture())
        return
    try:
        with Live(picture(), console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                time.sleep(every)
                live.update(picture(), refresh=True)
    except KeyboardInterrupt:
        return
