"""The root of the command line: global options wherever they stand, and commands in the order of their panels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from typer.core import TyperGroup

from deploy.cli.context import OPERATE, PIPELINE, ROLES, START

_Context: TypeAlias = Any  # typer keeps the type of its own context private
_ANYWHERE: Final = ("--state", "--config")
_PANELS: Final = (START, PIPELINE, ROLES, OPERATE)


class RootGroup(TyperGroup):
    """Takes `--state DIR` and `--config FILE` after the command as well as before it."""

    def parse_args(self, ctx: _Context, args: list[str]) -> list[str]:
        """Parse the command line."""
        return super().parse_args(ctx, hoisted(args))

    def list_commands(self, ctx: _Context) -> list[str]:
        """Return the commands panel by panel; typer would put those with subcommands last."""
        return sorted(super().list_commands(ctx), key=self._panel)

    def _panel(self, name: str) -> int:
        panel = getattr(self.commands[name], "rich_help_panel", None)
        return _PANELS.index(panel) if panel in _PANELS else len(_PANELS)


def hoisted(args: Iterable[str]) -> list[str]:
    """Put the global options first, with their values; nothing after `--` is touched."""
    front, rest = [], []
    remaining = iter(args)
    for arg in remaining:
        if arg == "--":
            rest += [arg, *remaining]
        elif arg in _ANYWHERE and (value := next(remaining, None)) is not None:
            front += [arg, value]
        elif arg.startswith(tuple(f"{name}=" for name in _ANYWHERE)):
            front.append(arg)
        else:
            rest.append(arg)
    return front + rest
