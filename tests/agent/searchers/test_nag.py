"""`nag` proposes what was generated: within the budget, never twice, towards good scores, the same after a kill."""

import numpy as np
import pytest
from played import SMALL, SPELLED, Played, smooth

from agent.searchers.nag import NAG
from diffusion.networks import network
from diffusion.spec import UNetSpec
from tools.generation import Proposals, graphs_of

FEW = 5  # scores, before which nothing guides but the budget


def test_it_learns_and_no_network_comes_twice_in_any_spelling() -> None:
    search = Played(SPELLED).baseline()
    search.budget_macs = int(np.quantile(search.macs_of_space(), 0.7))
    search.__post_init__()
    found = search.play(NAG, 11)
    assert len({network(spec, "ddpm") for spec in found}) == 11
    assert search.is_within(np.array([spec.row for spec in found])).all()
    scores = {tuple(row): smooth(UNetSpec.from_row(row))[1] or 0 for row in search.rows.tolist()}
    last = [smooth(spec)[1] or 0 for spec in found[-4:]]
    assert np.median(last) < np.quantile(list(scores.values()), 0.3)


def test_a_killed_one_goes_on_with_the_same_proposals() -> None:
    search = Played(SMALL, seed=3).baseline()
    whole = search.play(NAG, 7)
    search.trials = search.trials[:6]
    assert search.play(NAG, 2) == whole[5:]


def test_it_says_what_guided_it() -> None:
    search = Played(SMALL).baseline()
    proposal = search.ask(NAG(), 1)
    assert proposal is not None
    assert proposal.reason == "Generated within the budget: with fewer than five scores nothing else guides."
    search.play(NAG, FEW)
    proposal = search.ask(NAG(), FEW + 1)
    assert proposal is not None
    assert "networks that were generated, guided by ranks (correlation of those left out " in proposal.reason


def test_where_nothing_new_is_generated_a_random_feasible_network_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Played(SMALL).baseline()
    nothing = Proposals(search.rows[:0], None, graphs_of(SMALL))
    monkeypatch.setattr("agent.searchers.nag.proposals", lambda *_: nothing)
    proposal = search.ask(NAG(), 1)
    assert proposal is not None
    assert proposal.reason == "A random feasible spec: nothing was generated that is feasible and untried."
