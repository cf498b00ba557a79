"""The root of the command line: global options wherever they stand, commands in the order of their panels, plain help.

Help names values as people do (`--port N`, a flag without one), where typer would show Python's types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar, Final, TypeAlias

from typer.core import TyperArgument, TyperGroup

from deploy.cli.context import OPERATE, PIPELINE, ROLES, START

_Context: TypeAlias = Any  # typer keeps the types of its own context, commands and parameters private
_Command: TypeAlias = Any
_Parameter: TypeAlias = Any
_ANYWHERE: Final = ("--state", "--config")
_PANELS: Final = (START, PIPELINE, ROLES, OPERATE)


class RootGroup(TyperGroup):
    """Takes `--state DIR` and `--config FILE` after the command as well as before it."""

    order: ClassVar[Sequence[str]] = ()
    """Names of commands in the order in which they are listed in their panels."""

    def __init__(self, **given: Any) -> None:
        """Make the group as typer does, with plain help of all commands in it."""
        super().__init__(**given)
        _make_plain(self)

    def parse_args(self, ctx: _Context, args: list[str]) -> list[str]:
        """Parse the command line."""
        return super().parse_args(ctx, hoisted(args))

    def list_commands(self, ctx: _Context) -> list[str]:
        """Return the commands panel by panel; typer would put those with subcommands last."""
        return sorted(super().list_commands(ctx), key=self._place)

    def _place(self, name: str) -> tuple[int, int]:
        panel = getattr(self.commands[name], "rich_help_panel", None)
        number = self.order.index(name) if name in self.order else len(self.order)
        return _PANELS.index(panel) if panel in _PANELS else len(_PANELS), number


def _make_plain(command: _Command) -> None:
    """Let the help of a command, and of all below it, name values instead of types."""
    command.get_params = partial(_plain_params, command.get_params)
    for inner in getattr(command, "commands", {}).values():
        _make_plain(inner)


def _plain_params(get_params: Callable[[_Context], list[_Parameter]], ctx: _Context) -> list[_Parameter]:
    params = get_params(ctx)
    for param in params:
        param.display_type_rich = partial(_value_of, param)
        if isinstance(param, TyperArgument):
            param.get_usage_pieces = partial(_usage_of, param)  # type: ignore[method-assign]  # typer asks the object
    return params


def _value_of(param: _Parameter, ctx: _Context) -> str | None:
    """Return how help calls the value of an option, None where there is none."""
    if isinstance(param, TyperArgument) or param.is_flag:
        return None
    return str(param.metavar or ("N" if param.min is not None or param.max is not None else param.name.upper()))


def _usage_of(param: _Parameter, ctx: _Context) -> list[str]:
    name = f"{param.metavar or param.name.upper()}{'' if param.nargs == 1 else '...'}"
    return [name if param.required else f"[{name}]"]


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
