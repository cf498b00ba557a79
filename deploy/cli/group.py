"""The root of the command line: loads a command when it is called, and takes global options anywhere.

Help names values as people do (`--port N`, a flag without one), where typer would show Python's types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from typing import Any, Final, TypeAlias

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from deploy.cli.commands import COMMANDS, CommandEntry
from deploy.cli.interrupts import ending_at_once
from deploy.cli.options import LOADED, note_brokers

_Context: TypeAlias = Any  # typer keeps the types of its own context, commands and parameters private
_Command: TypeAlias = Any
_Parameter: TypeAlias = Any
_ANYWHERE: Final = ("--state", "--config")


class LazyGroup(TyperGroup):
    """Lists the commands of the table, and imports the module of the one that is called.

    Help, completion of names and suggestions see placeholders with a name, a help text and a panel. `--state DIR` and
    `--config FILE` are taken after the command as well as before it.
    """

    def __init__(self, **given: Any) -> None:
        """Make the group as typer does, with a placeholder for each command of the table."""
        super().__init__(**given)
        _name_values(self)
        for entry in COMMANDS:
            self.add_command(TyperCommand(entry.name, help=entry.help, rich_help_panel=entry.panel))

    def parse_args(self, ctx: _Context, args: list[str]) -> list[str]:
        """Parse the command line."""
        return super().parse_args(ctx, hoisted(args))

    def invoke(self, ctx: _Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            note_brokers(error, ctx.meta.get(LOADED))
            raise

    def resolve_command(self, ctx: _Context, args: list[str]) -> tuple[str | None, _Command | None, list[str]]:
        """Return the command that the arguments call, loaded; typer completes options with it as well."""
        name, _, rest = super().resolve_command(ctx, args)
        entry = next((entry for entry in COMMANDS if entry.name == name), None)
        return name, None if entry is None else load_command(entry), rest


def load_command(entry: CommandEntry) -> _Command:
    """Import the module of a command and return the command."""
    with ending_at_once():
        module = import_module(entry.module)
    command: _Command = typer.main.get_command(module.app)
    command.name = entry.name
    _name_values(command)
    return command


def all_commands() -> Iterator[tuple[tuple[str, ...], _Command]]:
    """Yield every command with the words that call it, groups before their commands; loads all modules."""
    for entry in COMMANDS:
        command = load_command(entry)
        yield (entry.name,), command
        for name, inner in getattr(command, "commands", {}).items():
            yield (entry.name, name), inner


def _name_values(command: _Command) -> None:
    """Let the help of a command, and of those in it, name values instead of types."""
    command.get_params = partial(_plain_params, command.get_params)
    for inner in getattr(command, "commands", {}).values():
        _name_values(inner)


def _plain_params(get_params: Callable[[_Context], list[_Parameter]], ctx: _Context) -> list[_Parameter]:
    params = get_params(ctx)
    for param in params:
        param.display_type_rich = partial(_value_of, param)
        if isinstance(param, TyperArgument):
            param.get_usage_pieces = partial(_usage_of, param)  # type: ignore[method-assign]  # typer asks the object
    return params


def _value_of(param: _Parameter, ctx: _Context) -> str | None:
    """Return how help calls the value of an option, None for flags and arguments."""
    if isinstance(param, TyperArgument) or param.is_flag:
        return None
    return str(param.metavar or ("N" if param.min is not None or param.max is not None else param.name.upper()))


def _usage_of(param: _Parameter, ctx: _Context) -> list[str]:
    name = f"{param.metavar or param.name.upper()}{'' if param.nargs == 1 else '...'}"
    return [name if param.required else f"[{name}]"]


def hoisted(args: Iterable[str]) -> list[str]:
    """Move the global options to the front, with their values; what follows `--` stays where it is."""
    front: list[str] = []
    rest: list[str] = []
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
