"""Commands as they are typed, with their jobs in this process."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import inprocess
import pytest

from agent.cli.main import main

Typed = Callable[..., tuple[int, str, str]]


class Inside(inprocess.InProcessExecutor):
    """Jobs in this process, shared by all commands of a test."""

    made: "Inside | None" = None

    def __init__(self, stop: Event) -> None:
        super().__init__()
        Inside.made = self


def seat(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Work in a folder, with jobs in this process."""
    patch.chdir(folder)
    patch.setenv("COLUMNS", "160")
    patch.setattr("agent.trials.sample.cores", lambda: 1)
    for module in ("agent.search.wiring", "agent.trials.evaluate"):
        patch.setattr(f"{module}.LocalExecutor", Inside)


def typed_in(patch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Type a command; its exit code."""
    patch.setattr(sys, "argv", ["diffnas-agent", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def answering(patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a command: its exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = typed_in(patch, *arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def found(answer: tuple[int, str, str]) -> dict[str, Any]:
    """The JSON of a command that was done."""
    code, out, err = answer
    assert code == 0, err
    return json.loads(out)  # type: ignore[no-any-return]
