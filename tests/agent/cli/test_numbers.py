"""A number that cannot be is one sentence before anything is read or measured: of every setting and of every option."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import all_commands, annotations, received, with_value
from typed import answering

from agent.backends.pricing import price_table
from agent.chat.slash import parse_slash
from agent.cli.errors import usage_sentence
from agent.compress.plan import Wanted, check
from agent.config.settings import FIELDS
from agent.config.sources import resolve
from agent.config.stored import stored_config
from agent.strategy.plan import parse_cost
from agent.study.begin import _steps
from diffusion.errors import UserError
from diffusion.space import built_in
from diffusion.units import LARGEST, whole_number

NUMBER = re.compile(r"\b(int|float)\b")
COMMANDS = all_commands()
SETTINGS = [name for name, field in FIELDS.items() if NUMBER.search(str(field.annotation))]
OPTIONS = [
    (typed, name)
    for typed, command in COMMANDS.items()
    for name, kind in annotations(command).items()
    if NUMBER.search(kind)
]
CHECKED_LATER = {("compress", "target")}  # which says itself what a share is
WRONG = ("-1", "9" * 20, "9" * 5000, "nan", "inf", "-inf", "1e400", "many", "0x10")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those that a test gives."""
    monkeypatch.chdir(tmp_path)


def shown(value: object) -> str:
    return str(value)[:20]


def is_one_sentence(said: str) -> bool:
    return "\n" not in said and len(said) < 400


def received_or_refused(typed: str, name: str, value: str) -> tuple[Any, str | None]:
    """What the code of a command gets for a value, or what the parser says of it."""
    command = COMMANDS[typed]
    try:
        return received(command, *with_value(command, name, value))[name], None
    except Exception as error:
        if not hasattr(error, "format_message"):  # the parser's own, whose classes are not public
            raise
        return None, usage_sentence(error)


def test_the_numbers_of_all_settings_and_commands_are_looked_at() -> None:
    assert len(SETTINGS) > 30
    assert len(OPTIONS) > 80
    assert {("evaluate", "sampling_seed"), ("confirm", "trials"), ("memory show", "trial")} <= set(OPTIONS)


@pytest.mark.parametrize("value", WRONG, ids=shown)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_is_out_of_range_is_one_sentence(name: str, value: str) -> None:
    with pytest.raises(UserError) as stopped:
        resolve({name: value})
    assert re.match(rf"--({name.replace('_', '-')}|set {name})\b", str(stopped.value))
    assert is_one_sentence(str(stopped.value))


@pytest.mark.parametrize(("typed", "name"), OPTIONS, ids=shown)
def test_an_option_that_is_out_of_range_is_one_sentence(typed: str, name: str) -> None:
    """The parser refuses it; or, of a setting, what all commands make of settings: `resolve` or `stored_config`."""
    for value in WRONG:
        got, said = received_or_refused(typed, name, value)
        if said is not None:
            assert is_one_sentence(said)
        elif name in FIELDS:
            with pytest.raises(UserError):
                resolve({name: got})
        else:
            assert (typed, name) in CHECKED_LATER


@pytest.mark.parametrize("value", [-1, 10**20, float("nan"), float("inf")])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_a_stored_search_is_checked_when_it_changes(name: str, value: float) -> None:
    stored = json.dumps(resolve({}).config.as_json() | {"baseline": "b8-n1-m1.1.1.1-a0000"})
    with pytest.raises(UserError, match=f"{name}|{name.replace('_', '-')}"):
        stored_config(stored, {name: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, 1.0, 1e300])
def test_a_share_that_is_none_is_one_sentence(value: float) -> None:
    with pytest.raises(UserError, match="is no share of the teacher"):
        check(Wanted("1", target=value))


@pytest.mark.parametrize(
    ("parse", "sentence"),
    [
        (parse_cost, "--cost"),
        (_steps, "--score-steps"),
        (lambda text: check(Wanted("1", beta=text)), "'--beta"),
        (lambda text: parse_slash(f"/why {text}", built_in("images-32")), ""),
    ],
    ids=["cost", "score-steps", "beta", "why"],
)
@pytest.mark.parametrize("value", WRONG, ids=shown)
def test_a_number_inside_a_text_is_one_sentence(parse: Any, sentence: str, value: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}"):
        parse(value)


@pytest.mark.parametrize("price", ["-1", "nan", "inf", "1e400", "true", '"1"', "9" * 20])
def test_a_price_that_is_out_of_range_is_one_sentence(price: str) -> None:
    Path("prices.toml").write_text(f'"openai:a" = [1.0, {price}]\n')
    with pytest.raises(UserError, match=r"^'.*prices.toml'"):
        price_table(Path("prices.toml").absolute())


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), (str(LARGEST), LARGEST), (str(LARGEST + 1), None), ("0" * 5000, 0), ("9" * 5000, None)]
    + [(text, None) for text in ("", "-1", "1.0", "1_0", "١٢", "²", " 1")],
    ids=shown,
)
def test_a_whole_number_is_digits_that_a_database_holds(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "1", "--num-images", "9" * 20),
        ("evaluate", "1", "--num-images", "1"),
        ("evaluate", "1", "--reference-split", "validation"),
        ("confirm", "1", "--num-images", "-1"),
        ("resume", "--max-hours", "inf"),
        ("resume", "--max-tokens", "9" * 20),
        ("sample", "1", "--sampling-steps", "0"),
        ("sample", "1", "--sampler", "euler"),
    ],
    ids=" ".join,
)
def test_what_changes_a_stored_search_is_checked_before_its_memory_is_read(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = answering(monkeypatch, capsys)(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(arguments[-2])
    assert is_one_sentence(err.strip())
