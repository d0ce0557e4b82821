"""The examples in the help of every command: all that they type is what the parser and the settings take."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from commands import all_commands, received

from agent.cli.examples import EXAMPLES
from agent.config.sources import parse_pairs, resolve
from diffusion.errors import UserError
from diffusion.spec import UNetSpec
from memory.searches import check_name

WIDEST = 80  # columns of a usual terminal


def judged(name: str, words: list[str]) -> dict[str, Any]:
    """What a command would get, with the values of settings, specs and names judged as the command would."""
    told = vars(all_commands()[name].callback).get("told", {})
    got = received(all_commands()[name], *words)
    pairs = parse_pairs(got.get("set_") or [])
    typed = {key: value for key, value in got.items() if key in told and value is not None}
    budget = {} if name in ("run", "generate", "train", "compare", "strategy", "rank-study") else {"budget": 1}
    resolve({**budget, **pairs, **typed})
    if "spec" in got:
        UNetSpec.parse(got["spec"])
    if isinstance(asked := got.get("name"), str):
        check_name(asked)
    return got


def test_every_command_has_an_example_and_no_other_has() -> None:
    assert EXAMPLES.keys() == all_commands().keys()
    assert all(EXAMPLES.values())


@pytest.mark.parametrize(
    "typed", [typed for examples in EXAMPLES.values() for typed, _ in examples], ids=lambda typed: typed[:60]
)
def test_an_example_can_be_typed(typed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    name = next(name for name, examples in EXAMPLES.items() if typed in dict(examples))
    words = shlex.split(typed)
    assert words[: len(name.split())] == name.split()
    judged(name, words[len(name.split()) :])


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("run", "--budget 6.06X"),
        ("run", "--preset digit"),
        ("run", "--nothing"),
        ("train", "b16"),
        ("status", "first second"),
        ("memory show", "first"),
        ("export-study", "first"),
    ],
)
def test_an_example_that_has_rotted_is_seen(name: str, typed: str) -> None:
    with pytest.raises((UserError, Exception)) as seen:
        judged(name, shlex.split(typed))
    assert isinstance(seen.value, UserError) or hasattr(seen.value, "format_message")


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_help_shows_them_line_by_line(name: str) -> None:
    command = all_commands()[name]
    shown = command.get_help(command.make_context(name, ["--help"], resilient_parsing=True)).splitlines()
    for typed, does in EXAMPLES[name]:
        assert f"      diffnas-agent {typed}" in shown
        assert f"    {does}:" in shown
    assert max(map(len, shown)) <= WIDEST
