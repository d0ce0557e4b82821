import dataclasses
import importlib.util
import json
import statistics
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from same_answers import check_answers, check_derived
from torch import Tensor

from diffusion.process import NoiseProcess, to_model
from diffusion.statistics.pruning import DEFAULT
from diffusion.training.losses import training_loss
from memory.connection import Memory

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def train_step() -> Any:
    return import_module("train_step")


@pytest.fixture(scope="module")
def diffusers_recipe() -> Any:
    return import_module("diffusers_recipe")


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def case(diffusers_recipe: Any, request: pytest.FixtureRequest) -> Any:
    return diffusers_recipe.Case("b4-n1-m1.2.2.2-a0100", 8, request.param, batch_size=4, steps_a_turn=1, num_images=8)


def inputs(case: Any) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    images = to_model(torch.from_numpy(case.images()[:4]))  # (4,C,8,8)
    return images, torch.randn(images.shape, generator=draws), torch.tensor([0, 10, 500, 999])


def test_the_recipe_written_out_has_our_loss_for_our_inputs(diffusers_recipe: Any, case: Any) -> None:
    recipe = diffusers_recipe.Recipe(case)
    recipe.model.eval()  # no dropout: both would draw their own
    images, noise, steps = inputs(case)
    with torch.no_grad():
        ours = training_loss(NoiseProcess.make("linear", 1000), "ddpm", recipe.model, images, noise, steps)
        theirs = recipe.loss(images, noise, steps)
    # diffusers multiplies the 1,000 betas up in float32: 1,000 roundings of 6e-8, as a random walk about 2e-6
    assert float(ours) == pytest.approx(float(theirs), rel=2e-5)
    assert abs(float(theirs) - 1) > 1e-3  # not that of predicting zero


@pytest.mark.parametrize("has_datasets", [True, False])
def test_the_recipe_sees_the_pixels_that_we_see(
    diffusers_recipe: Any, case: Any, has_datasets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_datasets:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    table = diffusers_recipe.image_table(case)
    assert len(table) == 8
    assert isinstance(table, diffusers_recipe.Decoded) is not has_datasets
    seen = torch.stack([table[index]["input"] for index in range(8)])
    torch.testing.assert_close(seen, to_model(torch.from_numpy(case.images())), atol=1e-6, rtol=0)


def test_every_contestant_takes_its_turns_and_the_report_names_ratio_share_and_peak(
    train_step: Any, case: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    hows = train_step.entrants("cpu", compiled=False)
    runners = [train_step.contestant(case, how, torch.get_num_threads()) for how in hows]
    train_step.race(runners, turns=2, steps_a_turn=1, device="cpu")
    assert [len(runner.seconds_a_step) for runner in runners] == [2, 2]
    train_step.report(case, runners, {"fp32": 1e9})
    out = capsys.readouterr().out
    assert "recipe fp32" in out and "× recipe fp32 (quartiles" in out and "of the fp32 peak" in out


def test_compiling_pays_from_where_its_warm_up_is_made_up_for(train_step: Any) -> None:
    eager = train_step.Contestant(train_step.How("ours"), iter(()), seconds_a_step=[0.06, 0.05, 0.04])
    compiled = train_step.Contestant(train_step.How("ours"), iter(()), 60.12, seconds_a_step=[0.04, 0.04, 0.04])
    assert train_step.break_even(compiled, eager) == ("warm-up 60.0 s, 10.00 ms saved a step: pays from 6,000 steps on")
    assert train_step.break_even(eager, compiled).endswith("never pays")


def test_on_a_gpu_both_precisions_and_both_layouts_take_part_compiled_and_not(train_step: Any) -> None:
    names = [str(how) for how in train_step.entrants("cuda", compiled=True)]
    ours = ["ours fp32", "ours fp32 channels_last", "ours bf16", "ours bf16 channels_last"]
    assert names == ["recipe fp32", "recipe bf16", *ours, *(f"{name} compiled" for name in ours)]


def test_no_turn_begins_when_the_time_is_over_but_two_are_had(train_step: Any) -> None:
    runner = train_step.Contestant(train_step.How("ours"), iter([None] * 9))
    train_step.race([runner], turns=9, steps_a_turn=1, device="cpu", until=0.0)
    assert len(runner.seconds_a_step) == 2


def test_images_of_a_case_fill_every_batch(train_step: Any) -> None:
    for case in [*train_step.CPU_CASES.values(), *train_step.CUDA_CASES.values()]:
        assert case.num_images % case.batch_size == 0
        assert case.images().dtype == np.uint8


def test_what_runs_at_once_counts_from_the_first_step_of_the_first_to_the_last_of_the_last() -> None:
    side_by_side = import_module("side_by_side")
    assert side_by_side.seconds([(10.0, 20.0), (12.0, 25.0)]) == 15.0


def test_side_by_side_is_compared_turn_by_turn(capsys: pytest.CaptureFixture[str]) -> None:
    side_by_side = import_module("side_by_side")
    side_by_side.report({"one after the other": [10.0, 20.0, 40.0], "local, side by side": [5.0, 12.0, 28.0]})
    assert "local, side by side: 0.600 of the time of one after the other" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["features", "sampling-32", "sampling-8", "training-32"])
def test_memory_that_is_kept_is_raced_against_memory_that_is_given_back(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job_memory = import_module("job_memory")
    case = dataclasses.replace(job_memory.CASES[name], images=2, before=2)
    contestants = job_memory.contestants_of(case, [1])
    for one in contestants:  # here, since a process that has computed with several threads cannot be forked
        work = case.make(one.batch_size, case.images, not one.keeps)
        one.turns += [job_memory.measured(work) for _ in range(2)]
    job_memory.report(name, case, contestants)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"| {name}: before, 2 at once |") and second.startswith(f"| {name}: now, 1 at once |")
    assert "by CPU time" in second and "by clock" not in first


def test_a_job_begins_when_its_first_step_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job_start = import_module("job_start")

    class Executor:
        def __init__(self, stop: Any, *, is_warm: bool) -> None:
            self.seconds = 0.1 if is_warm else 0.3

        def train(self, job: Any, tell: Any) -> None:
            time.sleep(self.seconds + 0.1)
            tell({"event": "progress", "images_per_second": job.strategy.batch_size / 0.1})  # a step of 0.1 s

    monkeypatch.setattr(job_start, "LocalExecutor", Executor)
    found = job_start.race(tmp_path, turns=2, batch_size=4)
    assert {name: len(times) for name, times in found.items()} == {"first fork": 1, "fresh": 2, "fork": 2}
    for name, seconds in (("fresh", 0.3), ("fork", 0.1)):
        assert all(times.end - 0.1 >= times.first_step - 1e-3 >= seconds - 2e-3 for times in found[name])
    job_start.report(found)
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("searches", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_made_up_memory_is_one_that_answers_every_question(
    searches: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory_queries = import_module("memory_queries")
    path = tmp_path / "memory.db"
    memory_queries.make_memory(path, trials=90, searches=searches)
    with Memory(path) as memory:
        db = memory.db
        check_derived(db)
        check_answers(db)
        assert db.conn.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.conn.execute("SELECT count(*), count(DISTINCT search) FROM trials").fetchone()[:] == (90, searches)
        asked = memory_queries.questions(db, searches) | memory_queries.writes(memory, searches)
        milliseconds = {name: memory_queries.milliseconds(work, turns=2) for name, work in asked.items()}
    memory_queries.report({"90 trials": milliseconds})
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(asked)


@pytest.fixture(scope="module")
def content() -> Any:
    return json.loads((FOLDER / "digits_curves.json").read_text())


class TestStoredCurves:
    """Whole curves of real trainings on the embedded digits, replayed in random orders."""

    def test_they_are_of_one_protocol_at_the_rungs_of_the_rule(self, content: Any) -> None:
        steps = [*DEFAULT.rungs(content["train_steps"]), content["train_steps"]]
        assert len(content["candidates"]) >= 16
        for row in content["candidates"]:
            assert [int(step) for step in row["curve"]] == steps
            assert row["train_seconds"] > row["look_seconds"] > 0 < row["score_seconds"]

    def test_the_rule_saves_a_fifth_and_rarely_stops_the_best(self, content: Any) -> None:
        replays = import_module("prune_replay").replays(content, DEFAULT, count=500)
        assert statistics.mean(one.saved_share for one in replays) >= 0.20
        assert sum(one.best_pruned for one in replays) <= 0.02 * 500
