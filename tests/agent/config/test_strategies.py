"""Strategies by name and as they are typed."""

import pytest

from agent.config.strategies import parse_strategy, strategy_presets
from diffusion.errors import UserError
from diffusion.settings import Strategy

BASE = Strategy(batch_size=64, train_steps=500)


@pytest.mark.parametrize("name", sorted(strategy_presets()))
def test_every_preset_is_a_strategy(name: str) -> None:
    found = parse_strategy(name, BASE, "--rapid")
    assert strategy_presets()[name].items() <= found.model_dump().items()


def test_the_papers_pair_is_the_papers() -> None:
    pair = [parse_strategy(f"paper-{kind}", BASE, "--rapid") for kind in ("standard", "rapid")]
    assert [(found.learning_rate, found.dropout, found.diffusion_steps) for found in pair] == [
        (1e-4, 0.3, 4000),
        (2e-4, 0.1, 400),
    ]


def test_what_a_preset_leaves_out_is_as_the_settings_have_it() -> None:
    found = parse_strategy("paper-rapid", BASE, "--rapid")
    assert (found.batch_size, found.train_steps) == (64, 500)


def test_a_rapid_training_of_digits_computes_at_most_half_of_a_standard_one_with_its_score() -> None:
    rapid, standard = (parse_strategy(f"digits-{kind}", BASE, "--rapid") for kind in ("rapid", "standard"))
    score = 1437 * 50  # forward passes; a step is three for each image
    passes = [3 * found.train_steps * found.batch_size + score for found in (rapid, standard)]
    assert passes[0] <= passes[1] / 2


def test_fields_are_typed_with_values() -> None:
    found = parse_strategy("learning_rate=2e-3, dropout=0,train_steps=200", BASE, "--rapid")
    assert found == BASE.model_copy(update={"learning_rate": 2e-3, "dropout": 0.0, "train_steps": 200})


def test_a_preset_may_be_changed() -> None:
    found = parse_strategy("paper-rapid,dropout=0.2", BASE, "--rapid")
    assert (found.learning_rate, found.dropout) == (2e-4, 0.2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("learning_rate=2", "--rapid learning_rate=2: input should be less than or equal to 1"),
        ("dropout=1", "--rapid dropout=1: input should be less than 1"),
        ("diffusion_steps=49", "--rapid diffusion_steps=49: input should be greater than or equal to 50"),
        ("train_steps=much", "--rapid train_steps=much: input should be a valid integer"),
        ("lerning_rate=1e-3", "--rapid 'lerning_rate' is no part of a strategy; did you mean learning_rate?"),
        ("quick", "--rapid 'quick' is no strategy; there are paper-standard,"),
        ("paper-rapid,dropout", "--rapid 'dropout' lacks a value"),
        ("", "--rapid '' is no strategy"),
    ],
)
def test_what_is_wrong_is_said_with_the_bound(text: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_strategy(text, BASE, "--rapid")
    assert str(caught.value).startswith(sentence)
