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


def with_value(command: Any, name: str, value: str) -> list[str]:
    """What is typed to give one parameter a value, beside what has to be typed: the number 1 fits everywhere.

    Options come first, so that an argument with a minus is no option.
    """
    values = {param.name: "1" for param in command.params if param.required} | {name: value}
    options, arguments = [], []
    for param in command.params:
        if param.name in values and param.param_type_name == "option":
            options.append(f"{param.opts[0]}={values[param.name]}")
        elif param.name in values:
            arguments.append(values[param.name])
    return [*options, "--", *arguments]


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
