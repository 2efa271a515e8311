"""Groups of commands of which one may be left out."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class _WithDefault(TyperGroup):
    """Takes what names none of its commands for the arguments of one of them."""

    default: str

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if args and args[0] in known else [self.default, *args])


class ListByDefault(_WithDefault):
    """`list` may be left out."""

    default = "list"


class RunByDefault(_WithDefault):
    """`run` may be left out."""

    default = "run"
