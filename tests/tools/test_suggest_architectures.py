"""What the surrogate tells a model: against the searcher that it shares its first choice with, and by hand."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from searches import TinySearch

from agent.searchers.ask_tell import seen_by
from agent.searchers.gp import GP
from agent.searchers.nag import NAG
from diffusion.neighbourhood import neighbours
from diffusion.spec import UNetSpec
from memory.connection import opened
from memory.directives import add_directive
from tools.count_flops import count
from tools.jobs.scoring import score_trial
from tools.jobs.training import train_candidate
from tools.suggest_architectures import suggest_architectures, suggested
from tools.suggestions import as_percent, round_generator

SPECS = [
    "b8-n1-m1.1.1.1-a0000", "b8-n1-m2.1.1.1-a0000", "b8-n1-m1.2.2.2-a0000", "b8-n1-m1.1.1.2-a0100",
    "b8-n1-m1.2.1.1-a0010", "b8-n2-m1.1.1.1-a0000", "b8-n1-m1.1.2.1-a1000",
]  # fmt: skip


def tried(search: TinySearch, specs: int) -> TinySearch:
    """The search with its first rounds played."""
    for number, text in enumerate(SPECS[:specs]):
        context = search.context(number)
        score_trial(context, train_candidate(context, UNetSpec.parse(text), "Because.").trial)
    return search


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> TinySearch:
    return tried(TinySearch(tmp_path_factory.mktemp("tried")), 7)


@pytest.mark.parametrize("specs", [0, 4, 5, 7])
@pytest.mark.parametrize("running", [False, True])
def test_the_first_is_what_gp_proposes(tmp_path: Path, specs: int, running: bool) -> None:
    search = tried(TinySearch(tmp_path), specs)
    if running:
        train_candidate(search.context(8), UNetSpec.parse("b8-n1-m2.2.1.1-a0000"), "It is not scored yet.")
    context = search.context(9)
    proposal = GP().ask(seen_by(context))
    assert proposal is not None
    for many in (1, 5):
        assert suggested(context, many).suggestions[0].spec == str(proposal.spec)


def apart(text: str, spec: UNetSpec) -> float:
    """Doublings and changed attentions between two networks."""
    other = UNetSpec.parse(text)
    widths = zip((*other.channels, other.num_blocks), (*spec.channels, spec.num_blocks), strict=True)
    flags = zip(other.attn, spec.attn, strict=True)
    return sum(abs(math.log2(one / two)) for one, two in widths) + sum(one != two for one, two in flags)


def test_near_and_away_share_out_what_may_be_proposed(search: TinySearch) -> None:
    spec = UNetSpec.parse("b8-n1-m1.1.2.2-a0000")
    near, away = (suggested(search.context(9), 20, **{name: spec}).suggestions for name in ("near", "away"))
    assert len(near) == len(away) == 20
    assert max(apart(each.spec, spec) for each in near) <= 2.001
    assert min(apart(each.spec, spec) for each in away) > 2
    nothing = suggested(search.context(9), near=spec, away=spec)
    assert nothing.suggestions == [] and nothing.note.startswith("Nothing that may be proposed is like that")


def test_what_is_generated_has_its_rank_and_the_first_is_what_nag_proposes(search: TinySearch) -> None:
    found = suggested(search.context(9), 5, generate=True).suggestions
    proposal = NAG().ask(seen_by(search.context(9)))
    assert proposal is not None and found[0].spec == str(proposal.spec)
    assert all(re.fullmatch(r"-?\d\.\d\d ± \d\.\d\d", each.predicted_rank or "") for each in found)


class TestWithoutSurrogate:
    def test_it_says_so_and_draws_what_seed_and_round_fix(self, tmp_path: Path) -> None:
        search = tried(TinySearch(tmp_path), 4)
        found = suggested(search.context(5), 3)
        assert found.note == "There are 4 scores and a surrogate needs 5: these are random feasible networks."
        assert found.surrogate is None
        assert [candidate.predicted for candidate in found.suggestions] == [None] * 3
        assert found == suggested(search.context(5), 3)
        assert found.suggestions != suggested(search.context(6), 3).suggestions
        assert (round_generator(0, 5).random(), round_generator(0, 5).random(3)[0]) == (
            round_generator(0, 5).random(),
        ) * 2
        for candidate in found.suggestions:
            assert count(search.context(5), UNetSpec.parse(candidate.spec)).within_budget

    def test_nothing_left_is_said(self, tmp_path: Path) -> None:
        search = TinySearch(tmp_path)
        with opened(search.db) as db:
            add_directive(db, search.search, "ban", {"pattern": "b*-n*-m*.*.*.*-a****"}, "no")
        found = suggested(search.context(1))
        assert found.suggestions == []
        assert found.note.startswith("Nothing is left: every network that budget, limits and directives allow")

    def test_before_any_trial_there_is_no_novelty(self, tmp_path: Path) -> None:
        first = suggested(TinySearch(tmp_path).context(0)).suggestions[0]
        assert (first.novelty, first.nearest_trial) == (None, None)


class TestCandidates:
    def test_costs_and_widths_are_those_of_the_spec(self, search: TinySearch) -> None:
        context = search.context(7)
        for candidate in suggested(context).suggestions:
            spec = UNetSpec.parse(candidate.spec)
            known = count(context, spec)
            assert (candidate.macs, candidate.params) == (known.macs, known.params)
            assert candidate.share_of_budget == pytest.approx(known.share_of_budget, abs=1e-3) and known.within_budget
            assert candidate.widths == ".".join(map(str, spec.channels))

    def test_they_come_by_expected_improvement_with_an_interval_around_the_prediction(self, search: TinySearch) -> None:
        found = suggested(search.context(7), 20).suggestions
        assert len({candidate.spec for candidate in found}) == 20
        gains = []
        for candidate in found:
            assert candidate.predicted is not None
            assert 0 < candidate.predicted.low90 < candidate.predicted.score < candidate.predicted.high90
            gains.append(float(candidate.predicted.expected_improvement.removesuffix(" %")))
        assert gains == sorted(gains, reverse=True)
        assert as_percent(-math.log(0.98)) == "2.0 %"

    def test_novelty_is_the_way_to_the_nearest_trial(self, search: TinySearch) -> None:
        for candidate in suggested(search.context(7)).suggestions:
            spec = UNetSpec.parse(candidate.spec)
            ways = []
            for other in map(UNetSpec.parse, SPECS):
                sizes = zip((spec.num_blocks, *spec.channels), (other.num_blocks, *other.channels), strict=True)
                flags = zip(spec.attn, other.attn, strict=True)
                ways.append(sum(abs(math.log2(a / b)) for a, b in sizes) + sum(a != b for a, b in flags))
            assert candidate.novelty == round(min(ways), 2)
            assert candidate.nearest_trial == int(np.argmin(ways)) + 1


class TestKnowledge:
    def test_it_says_how_calibrated_it_is(self, search: TinySearch) -> None:
        found = suggested(search.context(7)).surrogate
        assert found is not None
        assert found.scores == 7
        assert re.match(r"\d of 7 scores lie in the 90 % interval that the others predict: ", found.calibration)
        assert found.noise.startswith("training again moves a score by about ")

    def test_each_step_from_the_best_is_told_once_the_most_promising_first(self, search: TinySearch) -> None:
        context = search.context(7)
        found = suggested(context).surrogate
        assert found is not None
        best = UNetSpec.parse(found.best.split()[2].rstrip(","))
        assert len(found.effects) == len(neighbours(context.limits.space, best))
        assert len({effect.step for effect in found.effects}) == len(found.effects)
        factors = [effect.score_times for effect in found.effects]
        assert factors == sorted(factors)
        for effect in found.effects:
            assert effect.low90 <= effect.score_times <= effect.high90
            said = "better" if effect.high90 < 1 else "worse" if effect.low90 > 1 else "not clear yet"
            assert effect.says == said

    def test_a_step_is_told_by_the_width_that_it_moves(self, search: TinySearch) -> None:
        found = suggested(search.context(7)).surrogate
        assert found is not None
        assert found.best.startswith("trial 3, b8-n1-m1.2.2.2-a0000 (widths 8.16.16.16): scored ")
        steps = {effect.step for effect in found.effects}
        assert {"blocks: 1 → 2", "width of stage 0: 8 → 16", "width of stage 3: 16 → 24"} <= steps
        assert {"attention at stage 1: 0 → 1", "widths: 8.16.16.16 → 16.32.32.32"} <= steps


def test_the_model_reads_what_a_person_does(search: TinySearch) -> None:
    class Runtime:
        context = search.context(7)

    text, values = suggest_architectures.func(Runtime(), count=2)  # type: ignore[attr-defined]
    assert values == suggested(search.context(7), 2).model_dump(mode="json")
    assert json.loads(text)["suggestions"][0]["spec"] == values["suggestions"][0]["spec"]
    assert len(text) < 6000
