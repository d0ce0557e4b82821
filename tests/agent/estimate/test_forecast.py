"""What a search may use, before it begins: known answers from the closed form, and two real steps."""

import json
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from searches import TINY

from agent.config.groups import SearchSettings
from agent.config.sources import resolve
from agent.estimate import dry_run, reference
from agent.estimate.calibration import Calibration
from agent.estimate.dry_run import estimate, print_use
from agent.estimate.forecast import Use, forecast_tokens
from agent.search.plan import plan
from agent.search.wiring import context_maker
from agent.searchers.centaur import is_models
from diffusion.settings import TrainJob
from tools.executors.machine import Machine, Node

BASELINE_MACS, BUDGET = 490_560, 2_000_000
STEP = Calibration(seconds_a_step=1.5, seconds_to_start=4.0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dry_run, "calibrate", lambda job: STEP)
    monkeypatch.setattr(reference, "seconds_an_image", lambda planned: 0.0)
    return tmp_path


def used(**changes: object) -> Use:
    return estimate(resolve({**TINY, "parallel": 1, **changes}), measured=True).use


def trial_seconds(times_macs: float) -> float:
    """2 steps; 16 images in 2 sampling steps are a third of 4 steps of 8 images."""
    return 4.0 + 2 * 1.5 * times_macs + 4.0 + (4 / 3) * 1.5 * times_macs


def test_seconds_are_those_of_the_steps_times_the_macs() -> None:
    expected = trial_seconds(1.0) + 3 * trial_seconds(BUDGET / BASELINE_MACS)
    found = used()
    assert found.device_seconds == pytest.approx(expected)
    assert found.wall_seconds == pytest.approx(expected)


def test_the_features_are_counted_of_real_images_once_and_of_samples_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = used()
    monkeypatch.setattr(reference, "seconds_an_image", lambda planned: 0.25)
    found = used()
    assert before.device_seconds is not None
    assert found.device_seconds == pytest.approx(before.device_seconds + 0.25 * (1437 + 4 * 16))
    assert found.wall_seconds == pytest.approx(found.device_seconds)


def test_replicas_and_the_race_are_counted() -> None:
    at_baseline, at_budget = trial_seconds(1.0), trial_seconds(BUDGET / BASELINE_MACS)
    found = used(replicas=3, race_trainings=2)
    assert found.device_seconds == pytest.approx(3 * at_baseline + 5 * at_budget)


def test_nothing_is_said_of_time_where_no_step_was_measured() -> None:
    found = estimate(resolve(TINY)).use
    assert (found.device_seconds, found.wall_seconds, found.calibration) == (None, None, None)


def test_money_is_tokens_times_prices_and_unknown_without_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    (folder / "prices.toml").write_text('"openai:mine" = [10, 20]\n')
    found = used(llm="openai:mine", prices=folder / "prices.toml")
    read, written = forecast_tokens(search(3))
    assert (found.input_tokens, found.output_tokens) == (read, written)
    assert found.cost_usd == pytest.approx((10 * read + 20 * written) / 1e6)
    assert used(llm="openai:mine").cost_usd is None
    assert used().cost_usd == 0.0


def search(rounds: int, searcher: str = "llm", **changes: object) -> SearchSettings:
    return resolve({**TINY, "rounds": rounds, "searcher": searcher, **changes}).config.search


def test_no_round_reads_nothing_and_later_rounds_read_more_up_to_a_bound() -> None:
    assert forecast_tokens(search(0)) == (0, 0)
    reads = [forecast_tokens(search(rounds))[0] for rounds in range(102)]
    steps = [after - before for before, after in pairwise(reads)]
    assert steps[0] < steps[5]
    assert steps[99] == steps[100]


def test_only_rounds_that_a_model_plays_are_counted() -> None:
    assert forecast_tokens(search(20, "gp")) == (0, 0)
    _, written = forecast_tokens(search(20))
    played = sum(is_models(0, number, 0.3) for number in range(1, 21))
    assert 0 < played < 20
    assert forecast_tokens(search(20, "centaur"))[1] == written * played // 20
    every = forecast_tokens(search(20, "centaur", centaur_share=1.0))
    assert every[1] == written and every[0] > forecast_tokens(search(20))[0]  # one tool more to read of


def test_people_are_told_in_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    print_use(Console(width=200), used())
    said = capsys.readouterr().out
    assert "$0.00" in said
    assert "two steps measured, 1.5 s each" in said


@pytest.mark.slow
def test_two_real_steps_are_measured_and_nothing_is_left_behind(folder: Path) -> None:
    from processes import ARGUMENTS, start

    process = start(folder, "run", *ARGUMENTS, "--dry-run", "--json")
    out, said = process.communicate()
    assert process.returncode == 0, said
    found = json.loads(out)["use"]
    assert 0 < found["calibration"]["seconds_a_step"] < 60
    assert found["device_seconds"] > 400 * found["calibration"]["seconds_a_step"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("gpus", [0, 1])
def test_what_is_estimated_is_what_the_search_trains(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU that is bf16 with channels_last, which takes other seconds and other memory than fp32."""
    machine = Machine((Node(cores=2, gpus=gpus),))
    for place in ("agent.config.bench", "agent.search.plan"):
        monkeypatch.setattr(f"{place}.this_machine", lambda: machine)
    estimated: list[TrainJob] = []
    monkeypatch.setattr(dry_run, "calibrate", lambda job: estimated.append(job) or STEP)
    resolved = resolve({**TINY, "parallel": 1, "snapshot_steps": (1,)})
    estimate(resolved, measured=True)
    planned = plan(resolved.config)
    nobody: Any = None  # nothing is trained
    context = context_maker(1, planned, nobody, Event(), nobody)(1, "test")
    (ours,), theirs = estimated, context.train_job(planned.baseline)
    assert (ours.precision, ours.channels_last) == (("bf16", True) if gpus else ("fp32", False))
    places = {"data_folder": theirs.data_folder, "run_folder": theirs.run_folder}
    assert ours.model_copy(update={**places, "measures_peak": theirs.measures_peak}) == theirs
