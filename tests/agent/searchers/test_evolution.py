"""Regularised evolution against a trace by hand and against an implementation that shares nothing with it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from played import SMALL, Outcome, Played

from agent.searchers.evolution import Evolution
from diffusion.spec import UNetSpec
from diffusion.streams import stream_seed
from memory.queries.so_far import TrialSoFar


class Scripted:
    """A generator that draws what the trace says, and knows from how many."""

    def __init__(self, *drawn: tuple[int, Any]) -> None:
        self.drawn = iter(drawn)

    def integers(self, high: int, size: int | None = None) -> Any:
        expected, found = next(self.drawn)
        assert high == expected
        return found if size is None else np.array(found)


def trial(number: int, text: str, score: float) -> TrialSoFar:
    return TrialSoFar(number, number - 1, UNetSpec.parse(text), "scored", score)


def asked(search: Played, searcher: Evolution, *drawn: tuple[int, Any]) -> tuple[str, str]:
    """What is proposed with these draws, and why."""
    seen = search.seen(len(search.trials))
    object.__setattr__(seen, "rng", Scripted(*drawn))
    proposal = searcher.ask(seen)
    assert proposal is not None
    return str(proposal.spec), proposal.reason


def test_a_trace_by_hand() -> None:
    """A population of three, tournaments of two.

    C = b8-n1-m1.1.1.1-a0000 has seven neighbours: base 16, two blocks, a doubled stage 1, 2 or 3, attention at 0 or 1.
    """
    search, searcher = Played(), Evolution(population=3, sample=2)

    def told(number: int, text: str, score: float) -> None:
        search.trials.append(trial(number, text, score))
        searcher.tell(search.trials[-1])

    told(1, "b16-n2-m1.2.2.3-a0000", 5.0)  # A
    told(2, "b16-n2-m1.1.1.1-a0000", 3.0)  # B
    _, why = asked(search, searcher, (190, 7))  # 192 networks, two of them tried
    assert why == "A random feasible spec: the first population has 2 of 3."
    told(3, "b8-n1-m1.1.1.1-a0000", 4.0)  # C
    # A and C meet, and B, the best of all, is not asked: C has the child, the fifth of its neighbours.
    found = asked(search, searcher, (3, [0, 2]), (7, 4))
    assert found == ("b8-n1-m1.1.1.2-a0000", "One step from trial 3 (4): mult_3 1 → 2.")
    told(4, "b8-n1-m1.1.1.2-a0000", 9.0)  # D; A is the oldest and dies
    # The same one twice is a tournament, too. B: base 8, one block, stages 1, 2, 3, attention 0, 1.
    found = asked(search, searcher, (3, [0, 0]), (7, 0))
    assert found == ("b8-n2-m1.1.1.1-a0000", "One step from trial 2 (3): base_channel 16 → 8.")
    told(5, "b8-n2-m1.1.1.1-a0000", 8.0)  # E; B dies, though none is better
    # C and D meet; D and E are neighbours of C that were tried, so five are left, of which the first is base 16.
    found = asked(search, searcher, (3, [1, 0]), (5, 0))
    assert found == ("b16-n1-m1.1.1.1-a0000", "One step from trial 3 (4): base_channel 8 → 16.")


def test_a_parent_without_an_untried_neighbour_gives_way_to_the_next_of_its_tournament_and_at_last_to_chance() -> None:
    search = Played(leaves=lambda rows: rows[:, 5] == 3)  # mult_3: no neighbour of m1.1.1.1 is left
    search.trials = [trial(1, "b8-n1-m1.1.1.1-a0000", 1.0), trial(2, "b8-n1-m1.1.1.2-a0000", 2.0)]
    searcher = Evolution(population=2, sample=2)
    for each in search.trials:
        searcher.tell(each)
    found = asked(search, searcher, (2, [0, 1]), (1, 0))
    assert found == ("b8-n1-m1.1.1.3-a0000", "One step from trial 2 (2): mult_3 2 → 3.")
    _, why = asked(search, searcher, (2, [0, 0]), (64, 0))
    assert why == "A random feasible spec: no member of the tournament has an untried neighbour."


def uneven(spec: UNetSpec) -> Outcome:
    """A score with many local minima; one in ten fails."""
    rng = np.random.default_rng(stream_seed("uneven", str(spec)))
    return ("failed", None) if rng.random() < 0.1 else ("scored", float(rng.lognormal()))


def mutations(row: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """One number at the next smaller or larger choice."""
    for index, choices in enumerate(SMALL.choices.values()):
        place = choices.index(row[index])
        for other in (place - 1, place + 1):
            if 0 <= other < len(choices):
                yield (*row[:index], choices[other], *row[index + 1 :])


def evolved(search: Played, rounds: int, population: int, sample: int) -> list[str]:
    """Algorithm 1 of Real et al. (2019) over rows, from the trials of a search on; nothing is proposed twice."""
    rows = [tuple(map(int, row)) for row in search.rows]
    alive = [(each.spec.row, each.score) for each in search.trials if each.score is not None]
    tried = [each.spec.row for each in search.trials]
    for number in range(len(tried), len(tried) + rounds):
        rng = np.random.default_rng([search.seed, number])
        untried = [row for row in rows if row not in tried]
        child = None
        if len(alive) >= population:
            drawn = [alive[-population:][place] for place in rng.integers(population, size=sample)]
            for parent, _ in sorted(drawn, key=lambda each: each[1]):
                near = [row for row in mutations(parent) if row in untried]
                if near:
                    child = near[rng.integers(len(near))]
                    break
        child = child or untried[rng.integers(len(untried))]
        tried.append(child)
        _, score = uneven(UNetSpec.from_row(child))
        alive += [(child, score)] if score is not None else []
    return [str(UNetSpec.from_row(row)) for row in tried[len(search.trials) :]]


@pytest.mark.parametrize("seed", range(5))
def test_an_independent_implementation_gives_the_same_proposals(seed: int) -> None:
    search = Played(outcome=uneven, seed=seed, budget_macs=1_500_000).baseline()
    assert 40 < len(search.rows) < 192
    expected = evolved(search, 40, population=5, sample=3)
    assert [str(spec) for spec in search.play(lambda: Evolution(population=5, sample=3), 40)] == expected
