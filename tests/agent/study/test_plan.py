"""A rank study: which specs, which arms, run once, gone on with, and refused where it would mix."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies import RAPID, STANDARD, TRUTH_STEPS, Planted, PlantedStudy

from agent.study.arms import Study
from agent.study.store import open_study, stored_study
from diffusion.cost.closed_form import cost, costs
from diffusion.errors import UserError
from diffusion.networks import distinct, network
from diffusion.settings import Strategy
from diffusion.space import built_in
from memory.connection import opened
from memory.searches import create_search, find_search

TWICE_SPELLED = """
name = "twice"
base_channel = [8, 16]
num_blocks = [1]
channel_mult = [[1, 2], [1, 2], [1, 2], [1, 2, 4]]
attn = [[false], [false], [false], [false]]
"""  # 48 specs, 46 networks: base 8 with 2.2.2.2 and 2.2.2.4 is base 16 with half of each


@pytest.fixture
def planted(tmp_path: Path) -> PlantedStudy:
    return PlantedStudy(tmp_path, Planted(), specs=5)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    """Eight specs, all trained and scored."""
    found = PlantedStudy(tmp_path_factory.mktemp("done"), Planted())
    assert found.run() == 0
    return found


class TestSpecs:
    def study(self, planted: PlantedStudy, **options: Any) -> Study:
        planted.options = options
        return planted.plan(specs=10)

    def test_the_baseline_is_first_and_each_stratum_of_macs_gives_one_other(self, planted: PlantedStudy) -> None:
        study = self.study(planted)
        rows = distinct(built_in("digits-8").rows(), "ddpm")
        macs = costs(rows, "ddpm", 8, 1).macs_paper
        within = np.sort(macs[macs <= 6_000_000])
        strata = np.array_split(within, 9)  # the baseline among them moves a bound by one place at most
        chosen = sorted(cost(spec, "ddpm", 8, 1).macs.paper for spec in study.specs[1:])
        assert str(study.specs[0]) == "b16-n1-m1.2.2.2-a0100"
        assert all(part[0] <= found <= part[-1] for part, found in zip(strata, chosen, strict=True))

    def test_they_are_all_different_and_within_the_budget(self, planted: PlantedStudy) -> None:
        study = self.study(planted, budget="1M", baseline="b8-n1-m1.1.1.1-a0000")
        assert len({network(spec, "ddpm") for spec in study.specs}) == 10
        assert max(cost(spec, "ddpm", 8, 1).macs.paper for spec in study.specs) <= 1_000_000

    def test_two_spellings_of_one_network_are_never_both_chosen(self, planted: PlantedStudy) -> None:
        space = planted.folder / "space.toml"
        space.write_text(TWICE_SPELLED)
        planted.options = {"space": str(space), "baseline": "b8-n1-m1.1.1.1-a0000", "budget": "1G"}
        assert len({network(spec, "ddpm") for spec in planted.plan(specs=46).specs}) == 46
        with pytest.raises(UserError, match=r"^--specs 47: the budget admits only 46 networks of the space twice$"):
            planted.plan(specs=47)

    def test_a_seed_gives_the_same_specs_again_and_another_seed_others(self, planted: PlantedStudy) -> None:
        assert self.study(planted, seed=3).specs == self.study(planted, seed=3).specs
        assert self.study(planted, seed=3).specs[1:] != self.study(planted, seed=4).specs[1:]

    def test_more_than_the_budget_admits_are_refused(self, planted: PlantedStudy) -> None:
        with pytest.raises(UserError, match=r"^--specs 10: the budget admits only \d networks of the space digits-8$"):
            self.study(planted, budget="494K", baseline="b8-n1-m1.1.1.1-a0000")


class TestArms:
    def test_proxies_share_a_seed_and_the_truths_have_others(self, planted: PlantedStudy) -> None:
        planted.options = {"seed": 7}
        arms = planted.plan(truth_seeds=3).arms
        assert [(arm.name, arm.seed) for arm in arms] == [
            ("rapid", 7), ("standard", 7), ("truth-1", 8), ("truth-2", 9), ("truth-3", 10),
        ]  # fmt: skip

    def test_the_truth_is_the_standard_strategy_for_longer(self, planted: PlantedStudy) -> None:
        study = planted.plan()
        whole = STANDARD.model_copy(update={"train_steps": TRUTH_STEPS})
        assert [arm.strategy for arm in study.arms] == [RAPID, STANDARD, whole, whole]
        assert planted.plan(truth_steps=None).truths[0].strategy.train_steps == 2 * STANDARD.train_steps

    def test_a_proxy_is_scored_at_a_quarter_half_and_end_or_where_it_is_asked_for(self, planted: PlantedStudy) -> None:
        assert [arm.score_steps for arm in planted.plan().arms] == [(5, 10, 20), (15, 30, 60), (120,), (120,)]
        asked = planted.plan(score_steps=(40, 10)).arms
        assert [arm.score_steps for arm in asked] == [(10, 20), (10, 40, 60), (120,), (120,)]

    def test_a_score_at_a_step_is_that_of_a_training_of_so_many_steps(self, planted: PlantedStudy) -> None:
        arm = planted.plan().arms[0]
        assert arm.protocol_at(10).strategy == RAPID.model_copy(update={"train_steps": 10})
        assert arm.protocol_at(20) == arm.protocol != arm.protocol_at(10)

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({"specs": 4}, "--specs 4: fewer than 5 specs cannot tell a ranking; take more"),
            ({"truth_seeds": 1}, "--truth-seeds 1: a truth takes at least 2 seeds a spec"),
            ({"truth_steps": 59}, "--truth-steps 59: the standard strategy itself has 60; take more"),
            ({"rapid": STANDARD}, "--rapid is the same as --standard, so there is nothing to compare"),
            ({"score_steps": (61,)}, "--score-steps 61: the proxies are trained from step 1 to 60"),
            ({"name": "12 b"}, "'12 b' cannot name a search"),
            ({"rapid": Strategy(batch_size=2000)}, "--rapid batch_size=2000: the data set has only 1437 training"),
        ],
    )
    def test_what_cannot_be_is_refused_before_anything_is_written(
        self, planted: PlantedStudy, asked: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(UserError) as caught:
            planted.plan(**asked)
        assert str(caught.value).startswith(sentence)
        assert not planted.db.exists()

    def test_sampling_steps_beyond_a_strategys_diffusion_steps_are_refused(self, planted: PlantedStudy) -> None:
        planted.options = {"sampling_steps": 500}
        with pytest.raises(UserError, match="'500' sampling steps are more than the 400 of the diffusion"):
            planted.plan()

    def test_a_sampler_whose_variance_the_strategies_do_not_share_is_refused(self, planted: PlantedStudy) -> None:
        planted.options = {"sampling_steps": 400, "sampler": "ddpm"}
        with pytest.raises(
            UserError, match=r"'s' mixes protocols: score.variance is fixed_large in rapid and fixed_sm"
        ):
            planted.plan()


class TestRun:
    def test_every_spec_is_trained_once_in_every_arm_with_the_arms_seed(self, done: PlantedStudy) -> None:
        assert set(done.executor.trained.values()) == {1}
        arms = Counter((job.strategy.train_steps, job.seed) for job in done.executor.jobs)
        assert arms == {(20, 0): 8, (60, 0): 8, (120, 1): 8, (120, 2): 8}

    def test_a_training_is_one_job_whose_steps_are_kept_to_be_scored(self, done: PlantedStudy) -> None:
        kept = {job.strategy.train_steps: job.running.snapshot_steps for job in done.executor.jobs}
        assert kept == {20: (5, 10, 20), 60: (15, 30, 60), 120: (120,)}
        assert set(done.executor.scored.values()) == {1}
        assert len(done.executor.scored) == 8 * (3 + 3 + 1 + 1)

    def test_each_arm_is_a_search_of_the_memory_with_what_belongs_together(self, done: PlantedStudy) -> None:
        rows = done.rows("SELECT name, kind, searcher, state, seed, config_json FROM searches ORDER BY id")
        assert [row["name"] for row in rows] == ["s-rapid", "s-standard", "s-truth-1", "s-truth-2"]
        assert {(row["kind"], row["searcher"], row["state"]) for row in rows} == {("study", "rank-study", "finished")}
        told = [json.loads(row["config_json"]) for row in rows]
        assert {found["study"] for found in told} == {"s"}
        assert [found["arm"] for found in told] == ["rapid", "standard", "truth-1", "truth-2"]
        assert [found["train"] for found in told] == ["rapid", "rapid", "full", "full"]
        assert len({tuple(found["specs"]) for found in told}) == 1

    def test_round_i_is_spec_i_in_every_arm(self, done: PlantedStudy) -> None:
        rows = done.rows(
            "SELECT trials.round, group_concat(DISTINCT spec) AS specs, count(*) AS arms FROM trials"
            " JOIN trainings ON trainings.id = trials.training GROUP BY trials.round ORDER BY trials.round"
        )
        assert [(row["specs"], row["arms"]) for row in rows] == [(str(spec), 4) for spec in done.plan().specs]

    def test_the_same_study_again_does_nothing(self, done: PlantedStudy) -> None:
        before = (len(done.executor.jobs), sum(done.executor.scored.values()))
        assert done.run() == 0
        assert (len(done.executor.jobs), sum(done.executor.scored.values())) == before

    def test_the_study_reads_back_as_it_was_planned(self, done: PlantedStudy) -> None:
        with opened(done.db, read_only=True) as db:
            found = stored_study(db, None)
        planned = done.plan()
        assert (found.name, found.specs) == (planned.name, planned.specs)
        for one, other in zip(found.arms, planned.arms, strict=True):
            assert (one.name, one.seed, one.score_steps) == (other.name, other.seed, other.score_steps)
            assert one.protocol == other.protocol

    def test_several_specs_side_by_side_give_the_same_study(self, planted: PlantedStudy) -> None:
        planted.options = {"parallel": 3}
        assert planted.run() == 0
        assert len(planted.executor.trained) == 20 and set(planted.executor.trained.values()) == {1}


class TestMixing:
    @pytest.mark.parametrize(
        ("options", "asked", "difference"),
        [
            ({"num_images": 32}, {}, "score.num_images is 16 in rapid of the memory and 32 in rapid as asked for"),
            ({"sampling_steps": 4}, {}, "score.sampling_steps is 2"),
            ({"reference_split": "test"}, {}, "score.reference_split is train"),
            ({"schedule": "cosine"}, {}, "settings.schedule is linear"),
            ({}, {"rapid": RAPID.model_copy(update={"dropout": 0.1})}, "strategy.dropout is 0.0"),
            ({}, {"truth_steps": 240}, "strategy.train_steps is 120 in truth-1 of the memory and 240"),
            ({}, {"truth_seeds": 3}, "its arms are rapid, standard, truth-1, truth-2 and not"),
            ({}, {"score_steps": (7,)}, "--score-steps are 5,10,20"),
            ({}, {"specs": 9}, "it has 8 specs and not 9"),
            ({"seed": 1}, {}, "seed is 0"),
            ({"budget": "3M"}, {}, "it has other specs"),
        ],
    )
    def test_another_study_under_the_same_name_is_refused_with_the_difference(
        self, done: PlantedStudy, options: dict[str, Any], asked: dict[str, Any], difference: str
    ) -> None:
        before = done.rows("SELECT count(*) AS n FROM searches")
        other = PlantedStudy(done.folder, done.executor, options=options, asked=asked)
        with pytest.raises(UserError) as caught:
            other.opened()
        assert str(caught.value).startswith(f"'s' is another study: {difference}")
        assert str(caught.value).endswith("go on with it by --resume, or take another name")
        assert done.rows("SELECT count(*) AS n FROM searches") == before

    def test_other_data_under_the_same_name_are_refused(self, done: PlantedStudy) -> None:
        images = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
        np.savez(done.folder / "images.npz", x_train=images)
        other = PlantedStudy(done.folder, done.executor, options={"dataset": str(done.folder / "images.npz")})
        with pytest.raises(UserError, match="'s' is another study: data_fingerprint is "):
            other.opened()

    def test_arms_in_memory_that_do_not_belong_together_are_refused(self, planted: PlantedStudy) -> None:
        study = planted.opened()
        arm = study.arms[0]
        score = arm.protocol.score.model_copy(update={"num_images": 360})
        with opened(planted.db) as db:
            told = json.loads(find_search(db, "s-truth-2").config_json) | {"arm": "truth-3"}
            protocol = study.truths[0].protocol.model_copy(update={"score": score})
            create_search(
                db, name="planted", budget_macs=1, count_convention="paper", rounds=5, seed=3, kind="study",
                searcher="rank-study", backend="rank-study", protocol=protocol, config=told,
            )  # fmt: skip
            with pytest.raises(UserError) as caught:
                stored_study(db, "s")
        assert "'s' mixes protocols: score.num_images is 16 in rapid and 360 in truth-3" in str(caught.value)

    def test_a_search_that_has_the_name_of_an_arm_stops_the_study_as_a_whole(self, planted: PlantedStudy) -> None:
        study = planted.plan()
        with opened(planted.db) as db:
            create_search(
                db, name="s-truth-2", budget_macs=1, count_convention="paper", rounds=5, seed=3, searcher="llm",
                backend="offline", protocol=study.arms[0].protocol, config={},
            )  # fmt: skip
            with pytest.raises(UserError, match="'s-truth-2' is taken"):
                open_study(db, study)
        assert len(planted.rows("SELECT name FROM searches")) == 1

    def test_a_study_that_is_not_there_is_named_with_those_that_are(self, done: PlantedStudy, tmp_path: Path) -> None:
        with (
            opened(done.db, read_only=True) as db,
            pytest.raises(UserError, match=r"'t' is not a rank study .* are s$"),
        ):
            stored_study(db, "t")
        with opened(tmp_path / "new.db") as db, pytest.raises(UserError, match="holds no rank study yet"):
            stored_study(db, None)
