"""Every command of the program with its options, for tests that go over all of them."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from agent.cli.main import app


def all_commands() -> dict[str, Any]:
    """The parser's commands by what is typed for them, such as ``memory top``."""
    return dict(_below(typer.main.get_command(app), ""))


def _below(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _below(command, f"{before}{name} ")
        else:
            yield before + name, command


def spelled(command: Any, name: str, value: str) -> list[str]:
    """One parameter of a command as it is typed."""
    param = next(param for param in command.params if param.name == name)
    return [f"{param.opts[0]}={value}"] if param.param_type_name == "option" else [value]


def least(command: Any, *left_out: str) -> list[str]:
    """What has to be typed for a command: the number 1 fits everywhere."""
    wanted = [param.name for param in command.params if param.required and param.name not in left_out]
    return [word for name in wanted for word in spelled(command, name, "1")]


def annotations(command: Any) -> dict[str, str]:
    """The kind of each parameter, as text: what code behind the parser takes it for."""
    return {name: str(found.annotation) for name, found in inspect.signature(command.callback).parameters.items()}


def received(command: Any, *arguments: str) -> dict[str, Any]:
    """What the code of a command would get for these arguments.

    Raises:
        Exception: the parser's own complaint, whose class is not public.
    """
    got: dict[str, Any] = {}
    before, command.callback = command.callback, lambda **values: got.update(values)
    try:
        command.main([*arguments], standalone_mode=False, prog_name="diffnas-agent")
    finally:
        command.callback = before
    return got
