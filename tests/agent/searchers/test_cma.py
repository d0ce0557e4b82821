"""`cma`, rebuilt each round, draws what an optimiser that lives on draws."""

import numpy as np
import pytest
from cmaes import CMAwM
from played import SMALL, Outcome, Played, smooth

from agent.searchers.cma import CMA
from diffusion.space import SearchSpace
from diffusion.spec import UNetSpec
from diffusion.streams import stream_seed

FREE = {name: values for name, values in SMALL.choices.items() if len(values) > 1}
LAST = np.array([len(values) - 1 for values in FREE.values()])


def one_in_five_fails(spec: UNetSpec) -> Outcome:
    return ("failed", None) if stream_seed(str(spec)) % 5 == 0 else smooth(spec)


def spec_at(place: np.ndarray) -> UNetSpec:
    """The member whose free numbers are at a place, by hand."""
    free = {name: values[int(index)] for (name, values), index in zip(FREE.items(), place, strict=True)}
    return UNetSpec.from_row([free.get(name, values[0]) for name, values in SMALL.choices.items()])


@pytest.mark.parametrize("seed", range(3))
def test_it_proposes_what_an_optimiser_that_lives_on_draws(seed: int) -> None:
    """For four generations; the points before rounding are told, those that may not be proposed are drawn again."""
    search = Played(outcome=one_in_five_fails, seed=seed)
    optimiser = CMAwM(
        mean=np.full(len(FREE), 0.5), sigma=0.3, bounds=np.tile([0.0, 1.0], (len(FREE), 1)), steps=1 / LAST
    )
    expected, told = dict[str, None](), []
    for round_number in range(4 * optimiser.population_size):
        optimiser.reseed_rng(stream_seed(seed, "cma", round_number) % 2**32)
        rounded, point = optimiser.ask()
        while str(spec_at(np.rint(rounded * LAST))) in expected:
            rounded, point = optimiser.ask()
        spec = spec_at(np.rint(rounded * LAST))
        expected[str(spec)] = None
        _, score = one_in_five_fails(spec)
        told.append((point, 1e9 if score is None else score))
        if len(told) == optimiser.population_size:
            optimiser.tell(told)
            told = []
    assert optimiser.generation == 4
    assert [str(spec) for spec in search.play(CMA, len(expected))] == list(expected)


def test_it_says_its_generation() -> None:
    search = Played().baseline()
    search.play(CMA, 7)
    found = [search.ask(CMA(), 8)]  # seven free numbers: a population of nine
    search.play(CMA, 1)
    found.append(search.ask(CMA(), 9))
    assert [each and each.reason for each in found] == [
        "CMA-ES draws it in its generation 0.",
        "CMA-ES draws it in its generation 1.",
    ]


def test_a_space_with_one_free_number_is_searched_at_random() -> None:
    space = SearchSpace(
        name="line", stages=3, base_channel=(8,), num_blocks=(1, 2, 3), channel_mult=((1,),) * 3, attn=((False,),) * 3
    )
    search = Played(space)
    assert len(search.play(CMA, 5)) == 3
