"""`tpe` is Optuna's sampler and nothing else, as long as what it asks for may be proposed."""

import logging

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from played import SMALL, SPELLED, Played

from agent.searchers.base import Seen
from agent.searchers.tpe import MOST_ASKS, TPE, as_optuna
from diffusion.neighbourhood import Grid
from diffusion.spec import UNetSpec
from memory.queries.so_far import TrialSoFar


def test_it_proposes_what_a_study_told_by_hand_asks_for() -> None:
    search = Played().baseline()
    search.play(TPE, 36)
    found = search.ask(TPE(), 37)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=int(np.random.default_rng([0, 37]).integers(2**32)))
    )
    space = {  # by hand: sizes ordered, attention not
        "base_channel": optuna.distributions.IntDistribution(0, 1),
        "num_blocks": optuna.distributions.IntDistribution(0, 1),
        "mult_0": optuna.distributions.IntDistribution(0, 0),
        "mult_1": optuna.distributions.IntDistribution(0, 1),
        "mult_2": optuna.distributions.IntDistribution(0, 1),
        "mult_3": optuna.distributions.IntDistribution(0, 2),
        "attn_0": optuna.distributions.CategoricalDistribution((0, 1)),
        "attn_1": optuna.distributions.CategoricalDistribution((0, 1)),
        "attn_2": optuna.distributions.CategoricalDistribution((0,)),
        "attn_3": optuna.distributions.CategoricalDistribution((0,)),
    }
    choices = SMALL.choices
    for trial in search.trials:
        assert trial.score is not None
        places = {name: choices[name].index(value) for name, value in trial.spec.numbers.items()}
        study.add_trial(optuna.create_trial(params=places, distributions=space, value=float(np.log(trial.score))))
    tried, asks = {str(trial.spec) for trial in search.trials}, 0
    spec = search.trials[0].spec
    while str(spec) in tried:
        asked, asks = study.ask(space), asks + 1
        spec = UNetSpec.from_row([choices[name][asked.params[name]] for name in choices])
        if str(spec) in tried:
            study.tell(asked, state=TrialState.PRUNED)
    assert asks > 3, "a rejected ask changes what is asked next"
    assert found == (spec, f"Optuna's TPE asks for it after 37 scored trials, in ask {asks}.")


def test_what_failed_was_pruned_or_refused_is_told_as_pruned_and_what_runs_as_running() -> None:
    grid, spec = Grid(SMALL, "ddpm"), UNetSpec.from_row(next(iter(SMALL.rows())))
    told = {
        state: as_optuna(TrialSoFar(1, 0, spec, state, 2.0 if state == "scored" else None), grid)
        for state in ("scored", "failed", "pruned", "refused", "running")
    }
    states = {state: found.state for state, found in told.items() if found is not None}
    assert states == {
        "scored": TrialState.COMPLETE,
        "failed": TrialState.PRUNED,
        "pruned": TrialState.PRUNED,
        "refused": TrialState.PRUNED,
        "running": TrialState.RUNNING,
    }


def test_a_network_lies_where_the_space_spells_it_and_nowhere_outside() -> None:
    grid = Grid(SPELLED, "ddpm")
    assert grid.place(UNetSpec.parse("b4-n1-m4.8.8-a000")) == (1, 0, 0, 1, 0, 0, 0, 0)  # as b16-n1-m1.2.2
    assert grid.place(UNetSpec.parse("b128-n1-m1.1.1-a000")) is None
    assert grid.spec((2, 1, 0, 1, 1, 0, 1, 0)) == UNetSpec.parse("b32-n2-m1.2.4-a010")


def test_after_many_asks_for_what_may_not_be_proposed_it_takes_a_random_spec_and_says_so(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    search, asked = Played().baseline(), 0
    seen = search.seen(1)

    def nothing(rows: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += 1
        return np.zeros(len(rows), dtype=bool)

    searcher = TPE()
    searcher.tell(search.trials[0])
    with caplog.at_level(logging.INFO):
        found = searcher.ask(Seen(**{**vars(seen), "allowed": nothing}))
    assert found is not None
    assert found.reason == f"A random feasible spec: TPE asked for nothing feasible and untried in {MOST_ASKS} asks."
    assert asked == MOST_ASKS
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")
