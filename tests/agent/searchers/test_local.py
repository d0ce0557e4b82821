"""`local` walks as `offline` does."""

import numpy as np
from near import near
from played import SPELLED, Played

from agent.searchers.local import Local, untried_neighbours
from diffusion.neighbourhood import shuffled
from diffusion.networks import network
from diffusion.spec import UNetSpec
from memory.queries.so_far import TrialSoFar

BEST, SECOND, WORST = (
    UNetSpec.parse(text) for text in ("b8-n1-m1.2.1.1-a0000", "b16-n1-m1.1.1.1-a0000", "b16-n2-m1.2.2.3-a1100")
)


def played(seed: int = 0) -> Played:
    """A search with three trials, the best neither first nor last."""
    scores = ((WORST, 9.0), (BEST, 2.0), (SECOND, 4.0))
    search = Played(seed=seed)
    search.trials = [
        TrialSoFar(number, number - 1, spec, "scored", score) for number, (spec, score) in enumerate(scores, 1)
    ]
    return search


def test_the_neighbours_of_the_best_come_first_in_an_order_fixed_by_the_seed_then_those_of_the_next_best() -> None:
    search = played(seed=5)
    search.outcome = lambda spec: ("scored", 100.0)
    names = {str(BEST), str(SECOND), str(WORST)}
    expected = list[str]()
    for parent in (BEST, SECOND):
        ordered = map(str, shuffled(near(search.space, parent), lambda spec: f"5/{spec}"))
        expected += [text for text in ordered if text not in {*names, *expected}]
    assert [str(spec) for spec in search.play(Local, len(expected))] == expected


def test_the_reason_names_the_trial_its_score_and_the_step() -> None:
    proposal = played().ask(Local(), 3)
    assert proposal is not None
    ((name, before, after),) = [
        (name, before, proposal.spec.numbers[name])
        for name, before in BEST.numbers.items()
        if proposal.spec.numbers[name] != before
    ]
    assert proposal.reason == f"One step from trial 2 (2): {name} {before} → {after}."


def test_a_step_in_another_spelling_is_told_in_it() -> None:
    """``b8-n1-m2.2.2-…`` is ``b16-n1-m1.1.1-…`` elsewhere; here the wide spelling of the child is two numbers away."""
    search = Played(SPELLED, outcome=lambda spec: ("scored", 100.0))
    parent = UNetSpec.parse("b32-n1-m1.1.2-a000")  # also b16 m2.2.4
    search.trials = [TrialSoFar(1, 0, parent, "scored", 2.0)]
    reasons = list[str]()
    for round_number in range(1, 1 + len(near(SPELLED, parent))):
        proposal = search.ask(Local(), round_number)
        assert proposal is not None
        reasons.append(proposal.reason)
        search.add(proposal.spec, round_number)
    assert all(reason.startswith("One step from trial 1 (2): ") for reason in reasons)
    assert "One step from trial 1 (2): mult_0 2 → 1." in reasons  # b16-n1-m1.2.4: no spelling from base 32


def test_a_step_whose_widest_spelling_a_directive_forbids_is_taken_in_another() -> None:
    search = Played(SPELLED, leaves=lambda rows: rows[:, 0] == 16)
    parent = UNetSpec.parse("b16-n1-m2.2.4-a000")
    search.trials = [TrialSoFar(1, 0, parent, "scored", 2.0)]
    near = {str(UNetSpec.from_row(row)) for row in untried_neighbours(search.seen(1), search.trials[0])}
    assert "b16-n2-m2.2.4-a000" in near  # b32-n2-m1.1.2 is the same network
    assert all(text.startswith("b16-") for text in near)


def test_without_an_untried_neighbour_it_says_that_the_spec_is_a_random_one() -> None:
    search = Played(outcome=lambda spec: ("failed", None)).baseline()
    proposal = search.ask(Local(), 1)
    assert proposal is not None
    assert proposal.reason == "A random feasible spec: no scored trial has an untried neighbour."
    tried = {network(UNetSpec.from_row(row), "ddpm") for row in np.array(search.rows)} - search.tried()
    assert network(proposal.spec, "ddpm") in tried
