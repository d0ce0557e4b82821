import itertools
from dataclasses import replace

import numpy as np
import pytest

from diffusion.nag.graphs import Factor, GraphSpace, Places
from diffusion.nag.nasbench201 import Cell, nasbench201
from diffusion.nag.search.bo import Evaluation, Search, evaluations_until, regret
from diffusion.nag.search.ensemble import Recipe
from diffusion.nag.search.optimisers import OptimiserName, optimiser

SPACE = nasbench201()


def part(*sizes: int) -> GraphSpace[Cell]:
    """The cells with so many operations to choose from on each edge."""
    wide = (1, *sizes, 1)
    factors = [Factor(each.rows, each.members[:size]) for each, size in zip(SPACE.factors, wide, strict=True)]
    return replace(SPACE, name="part", factors=tuple(factors))


SMALL = part(4, 4, 4, 4, 1, 1)
QUICK = Recipe(members=5, steps=60)


def additive(places: Places) -> float:
    """A score whose best cell of 256 is known: operator 2 on each of the first four edges, 8."""
    return float(sum(2 - abs(place - 2) for place in places[1:5]))


def search(name: OptimiserName = "mutation+random", evaluations: int = 14, **changes: object) -> Search:
    settings = {"initial": 8, "acquisition": "ei", "recipe": QUICK, **changes}
    return Search(SMALL, additive, optimiser(name, SMALL), evaluations=evaluations, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("acquisition", [pytest.param("ei", marks=pytest.mark.slow), "ucb"])
def test_exhaustive_candidates_find_the_best_of_256_cells_in_thirty_evaluations(acquisition: str) -> None:
    found = list(search("exhaustive", 30, acquisition=acquisition).run(seed=0))
    assert max(each.score for each in found) == 8
    assert {each.candidates for each in found[:8]} == {1}
    assert [each.candidates for each in found[8:]] == list(range(256 - 8, 256 - 30, -1))
    assert found[7].rank_correlation is None and (found[-1].rank_correlation or 0) > 0.3


def test_no_architecture_is_evaluated_twice() -> None:
    places = [each.places for each in search().run(seed=1)]
    assert len(set(places)) == len(places) == 14


@pytest.mark.parametrize("done", [3, 8, 9])
def test_a_search_goes_on_where_it_stopped(done: int) -> None:
    whole = list(search(evaluations=12).run(seed=4))
    assert list(search(evaluations=12).run(seed=4, past=whole[:done])) == whole[done:]


def test_ways_to_search_begin_with_the_same_evaluations_and_seeds_with_others() -> None:
    first: dict[tuple[OptimiserName, int], list[Evaluation]] = {
        (name, seed): list(itertools.islice(search(name).run(seed), 8))
        for name in ("random", "exhaustive")
        for seed in (0, 1)
    }
    assert first["random", 0] == first["exhaustive", 0] != first["random", 1]


def test_a_search_ends_where_a_space_is_used_up() -> None:
    small = part(2, 2, 1, 1, 1, 1)
    made = Search(small, additive, optimiser("random", small), "its", initial=2, evaluations=9, recipe=QUICK)
    assert len({each.places for each in made.run(seed=0)}) == small.size == 4


def test_features_are_what_the_predictor_sees() -> None:
    telling = search(
        "exhaustive", 12, features=lambda places: (places[:, 1:5] - 2).abs().sum(dim=1, keepdim=True).float()
    )
    assert max(each.score for each in telling.run(seed=0)) == 8


def test_regret_and_the_evaluations_to_a_target() -> None:
    scores = [90.0, 93.0, 92.0, 94.0]
    assert regret(scores, best=94.5) == pytest.approx([4.5, 1.5, 1.5, 0.5])
    assert (evaluations_until(scores, 93.0), evaluations_until(scores, 94.1)) == (2, None)
    assert np.isnan(regret([float("nan")], 1.0)).all()
