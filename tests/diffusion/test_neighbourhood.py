"""What is one step away: specs against the definition and a corner written out, strategies in their order."""

import itertools
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from near import near

from diffusion.neighbourhood import distances, moved, neighbours, one_step, shuffled, strategy_neighbours
from diffusion.networks import network, spellings
from diffusion.settings import Family, Strategy
from diffusion.space import SearchSpace, built_in
from diffusion.spec import UNetSpec

TINY = SearchSpace(name="tiny", base_channel=(4, 8, 12), num_blocks=(1, 3), channel_mult=(1, 2))
CORNER = UNetSpec.parse("b4-n3-m1.1.1.2-a0001")
MEMBERS = st.sampled_from(built_in("images-32").rows().tolist())


def places(row: Sequence[int]) -> tuple[int, ...]:
    """Where each of the ten numbers stands among those allowed."""
    return tuple(values.index(value) for values, value in zip(built_in("images-32").choices.values(), row, strict=True))


class TestSpecs:
    @given(MEMBERS, st.sampled_from(get_args(Family)))
    def test_neighbours_are_the_networks_one_step_from_any_spelling(self, row: list[int], family: Family) -> None:
        """Against the definition: every member whose places differ by one from those of a spelling, once a network."""
        space, spec = built_in("images-32"), UNetSpec.from_row(row)
        last = np.array([len(values) - 1 for values in space.choices.values()])
        expected = set()
        for each in (each for each in spellings(spec, family) if space.why_not(each) is None):
            here = np.array(places(each.row))
            for index, step in itertools.product(range(len(here)), (-1, 1)):
                there = here + step * np.eye(len(here), dtype=int)[index]
                if (there >= 0).all() and (there <= last).all():
                    values = [choices[place] for choices, place in zip(space.choices.values(), there, strict=True)]
                    expected.add(network(UNetSpec.from_row(values), family))
        found = [network(UNetSpec.from_row(each), family) for each in neighbours(space, spec, family)]
        assert set(found) == expected - {network(spec, family)} and len(set(found)) == len(found)

    def test_neighbours_at_a_corner_are_known(self) -> None:
        assert [str(spec) for spec in near(TINY, CORNER)] == [
            "b8-n3-m1.1.1.2-a0001",
            "b4-n1-m1.1.1.2-a0001",
            "b4-n3-m2.1.1.2-a0001",
            "b4-n3-m1.2.1.2-a0001",
            "b4-n3-m1.1.2.2-a0001",
            "b4-n3-m1.1.1.1-a0001",
            "b4-n3-m1.1.1.2-a1001",
            "b4-n3-m1.1.1.2-a0101",
            "b4-n3-m1.1.1.2-a0011",
            "b4-n3-m1.1.1.2-a0000",
        ]

    def test_a_space_of_one_has_no_neighbours(self) -> None:
        one = SearchSpace(name="one", base_channel=(4,), num_blocks=(3,), channel_mult=(1,), attn=(False,))
        assert neighbours(one, UNetSpec.parse("b4-n3-m1.1.1.1-a0000")).shape == (0, 10)

    def test_what_was_moved_is_named_with_both_values(self) -> None:
        other = UNetSpec.parse("b8-n3-m1.1.1.2-a0000")
        assert moved(CORNER, other) == {"base_channel": (4, 8), "attn_3": (1, 0)}
        assert moved(CORNER, CORNER) == {}

    @given(MEMBERS, MEMBERS, MEMBERS)
    def test_the_distance_is_a_distance(self, a: list[int], b: list[int], c: list[int]) -> None:
        rows = np.array([a, b, c])
        (_, ab, ac), (_, _, bc) = distances(rows, UNetSpec.from_row(a)), distances(rows, UNetSpec.from_row(b))
        assert ab == pytest.approx(distances(rows, UNetSpec.from_row(b))[0])
        assert (ab == 0) == (a == b)
        assert ac <= ab + bc + 1e-9  # ten roundings of numbers below ten

    def test_a_doubling_is_as_far_as_one_attention(self) -> None:
        rows = np.array([UNetSpec.parse(text).row for text in ("b8-n3-m1.1.1.2-a0001", "b4-n3-m1.1.4.2-a1001")])
        assert distances(rows, CORNER).tolist() == [1.0, 3.0]


class TestStrategies:
    def test_each_differs_in_one_value_up_or_down(self) -> None:
        strategy = Strategy(
            learning_rate=1e-3, dropout=0.3, diffusion_steps=1000, batch_size=8, warmup_steps=10, train_steps=100
        )
        found = [(name, pytest.approx(value)) for name, value in strategy_neighbours(strategy)]
        assert found == [
            ("learning_rate", 2e-3),
            ("learning_rate", 5e-4),
            ("diffusion_steps", 2000),
            ("diffusion_steps", 500),
            ("batch_size", 16),
            ("batch_size", 4),
            ("dropout", 0.4),
            ("dropout", 0.2),
            ("train_steps", 50),
            ("warmup_steps", 10),
            ("warmup_steps", 0),
            ("ema_decay", 0.999975),
            ("ema_decay", 0.9996),
        ]


class TestOrder:
    def test_it_is_a_function_of_the_texts_alone(self) -> None:
        forth = shuffled(range(20), lambda number: f"0/{number}")
        assert forth == shuffled(reversed(range(20)), lambda number: f"0/{number}")
        assert sorted(forth) == list(range(20)) != forth
        assert forth != shuffled(range(20), lambda number: f"1/{number}")

    def test_a_step_is_told_in_one_sentence(self) -> None:
        assert one_step("trial 3 (2.1)", "num_blocks", 1, 2) == "One step from trial 3 (2.1): num_blocks 1 → 2"
