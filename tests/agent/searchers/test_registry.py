"""What holds for every searcher, over random budgets, directives, seeds, planted scores, failures and refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import SMALL, SPELLED, Outcome, Played, smooth

from agent.config.settings import SEARCHERS
from agent.searchers.registry import ENTRIES, make_searcher
from diffusion.errors import UserError
from diffusion.networks import network
from diffusion.spec import UNetSpec, parameters
from diffusion.streams import stream_seed
from memory.queries.so_far import TrialSoFar

NAMES = list(ENTRIES)
ASKED = [pytest.param(name, marks=pytest.mark.slow) if name == "nag" else name for name in NAMES]
"""`nag` generates for half a second a round; what holds for it by default is in test_nag.py."""


@st.composite
def searches(draw: st.DrawFn) -> Played:
    """A search whose feasible set is a few to all of its space, and whose trials may fail or be pruned."""
    space = draw(st.sampled_from((SMALL, SPELLED)))
    salt, losses = draw(st.integers(0, 2**32)), draw(st.sampled_from((0.0, 0.3, 1.0)))
    frozen = draw(st.sampled_from(parameters(space.stages)))
    column, value = parameters(space.stages).index(frozen), draw(st.sampled_from(space.choices[frozen]))

    def outcome(spec: UNetSpec) -> Outcome:
        rng = np.random.default_rng(stream_seed(salt, str(spec)))
        if rng.random() < losses:
            return ("failed", None) if rng.random() < 0.5 else ("pruned", None)
        return "scored", float(rng.lognormal())

    found = Played(
        space,
        outcome,
        seed=draw(st.integers(0, 2**32)),
        family=draw(st.sampled_from(("ddpm", "iddpm"))),
        leaves=(lambda rows: rows[:, column] == value) if draw(st.booleans()) else lambda rows: rows[:, 0] > 0,
    )
    found.budget_macs = int(np.quantile(found.macs_of_space(), draw(st.floats(0.05, 1))))
    found.__post_init__()
    return found


@pytest.mark.parametrize("name", ASKED)
@given(search=searches(), rounds=st.integers(1, 15))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_proposals_are_feasible_and_no_network_comes_twice(name: str, search: Played, rounds: int) -> None:
    feasible, found = set(search.names), search.play(lambda: make_searcher(name), rounds)
    assert len(found) == min(rounds, len(feasible))
    assert all(search.is_within(np.array([spec.row])).all() for spec in found)
    assert [search.space.why_not(spec) for spec in found] == [None] * len(found)
    networks = [network(spec, search.family) for spec in found]
    assert set(networks) <= feasible
    assert len(set(networks)) == len(networks)


@pytest.mark.parametrize("name", ASKED)
@given(search=searches(), killed=st.integers(0, 7))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_a_searcher_that_is_killed_after_any_round_goes_on_as_one_that_is_not(
    name: str, search: Played, killed: int
) -> None:
    whole = search.play(lambda: make_searcher(name), 9)
    search.trials = search.trials[:killed]  # what the memory holds
    asked_before = make_searcher(name)  # and another one, which lives on and is told one trial after the other
    for trial in search.trials:
        asked_before.tell(trial)
    for round_number in range(killed, len(whole)):
        proposal = search.ask(make_searcher(name), round_number)
        assert proposal == asked_before.ask(search.seen(round_number))
        assert proposal is not None
        assert proposal.spec == whole[round_number]
        asked_before.tell(search.add(proposal.spec, round_number, name))


@pytest.mark.parametrize("name", ASKED)
def test_a_trial_that_runs_and_a_refusal_of_the_round_are_not_proposed_again(name: str) -> None:
    search = Played().baseline()
    search.play(lambda: make_searcher(name), 12)
    search.outcome = lambda spec: ("running", None)
    search.play(lambda: make_searcher(name), 2)
    asked = set[str]()
    for _ in range(5):
        proposal = search.ask(make_searcher(name), 15)
        assert proposal is not None
        assert network(proposal.spec, "ddpm") not in search.tried()
        asked.add(str(proposal.spec))
        search.trials.append(TrialSoFar(0, 15, proposal.spec, "refused"))
    assert len(asked) == 5


@pytest.mark.parametrize("name", ASKED)
def test_a_baseline_outside_the_space_is_borne(name: str) -> None:
    search = Played().baseline(UNetSpec.parse("b64-n1-m1.2.2.2-a0000"))
    assert len(search.play(lambda: make_searcher(name), 15)) == 15


@pytest.mark.parametrize("name", ASKED)
def test_other_seeds_give_other_proposals(name: str) -> None:
    first, second = (Played(seed=seed).baseline().play(lambda: make_searcher(name), 12) for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("random", "gp", "nag")])
def test_it_learns(name: str) -> None:
    """On a score without a local minimum half of the last ten of thirty are among the best 30 % of the space.

    (`gp` has found the best by then, and looks where it knows least.)
    """
    search = Played().baseline()
    everything = [score for row in search.rows if (score := smooth(UNetSpec.from_row(row))[1]) is not None]
    found = search.play(lambda: make_searcher(name), 30)
    last = [score for spec in found[-10:] if (score := smooth(spec)[1]) is not None]
    assert np.median(last) < np.quantile(everything, 0.3)


def test_each_searcher_has_its_name_and_can_be_asked_for() -> None:
    assert [make_searcher(name).name for name in NAMES] == NAMES
    assert sorted(SEARCHERS) == sorted(["llm", "centaur", *NAMES])


def test_an_unknown_searcher_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^'annealing' is not a searcher; there are random, local, "):
        make_searcher("annealing")
