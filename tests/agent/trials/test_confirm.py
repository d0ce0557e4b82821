"""The best of a search trained in full with several seeds: the table, the verdict, the recommendation, a resume."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from planted import Planted
from searches import TINY

from agent.cli.main import main
from agent.trials.confirm import FIRST_SEED
from diffusion.settings import ScoreJob
from memory.connection import opened
from tools.errors import Interrupted

Typed = Callable[..., tuple[int, str, str]]
SPECS = "3"


class Inside(Planted):
    """All searches of a test share it; the second spec is better by a half, the third like the baseline."""

    def __init__(self) -> None:
        super().__init__((50.0, 100.0, 100.0))
        self.counts: dict[str, int] = {}

    def evaluate(self, job: ScoreJob, on_progress: Any) -> dict[str, Any]:
        place, seed = self.specs.index(str(job.spec)), self.seeds[job.run_folder]
        value = (self.values[place] if place else 100.0) * (1 + 0.01 * ((seed * 2 + place) % 3 - 1))
        steps = job.protocol.strategy.train_steps
        return {"step": steps, "metric": "fid-digits-cnn", "value": value, "num_images": 16, "device_seconds": 1.0}


@pytest.fixture
def inside() -> Inside:
    return Inside()


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], inside: Inside) -> Typed:
    """Type a command in a folder that holds a finished search of three rounds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def executor(stop: Event) -> Inside:
        return inside

    monkeypatch.setattr("agent.search.wiring.LocalExecutor", executor)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["diffnas-agent", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, out, err

    settings = [part for name, value in TINY.items() if name != "preset" for part in ("--set", f"{name}={value}")]
    code, _, err = run("run", "--preset", "digits", "--name", "first", *settings)
    assert code == 0, err
    inside.trained.clear()
    return run


def test_the_best_is_confirmed_with_fresh_seeds_and_recommended(typed: Typed, inside: Inside) -> None:
    code, out, err = typed("confirm", "--json", "--seeds", "3", "--strategy", "train_steps=8")
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found["recommended"] == inside.specs[1]
    rows = {row["spec"]: row for row in found["rows"]}
    assert rows.keys() == set(inside.specs[:2])
    assert rows[inside.specs[1]]["verdict"] == "better" and rows[inside.specs[0]]["verdict"] is None
    assert rows[inside.specs[1]]["ci95"][0] < rows[inside.specs[1]]["score"] < rows[inside.specs[1]]["ci95"][1]
    assert {seed for _, seed in inside.trained} == {FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2}
    assert len(inside.trained) == 6


def test_when_nothing_is_better_the_baseline_is_recommended(typed: Typed, inside: Inside) -> None:
    with opened(Path("diffnas.db"), read_only=True) as db:
        row = db.conn.execute("SELECT trial FROM results WHERE spec = ?", [inside.specs[2]]).fetchone()
    code, out, _ = typed("confirm", str(row["trial"]))
    assert code == 0
    assert f"Recommended: {inside.specs[0]}: nothing beat the baseline beyond noise." in out


def test_a_confirmation_that_was_stopped_goes_on_and_trains_nothing_twice(typed: Typed, inside: Inside) -> None:
    left = [4]

    def stop(spec: str, seed: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Interrupted

    inside.before_training = stop
    code, _, err = typed("confirm", "--name", "sure")
    assert code == 130, err
    code, out, err = typed("resume", "sure")
    assert code == 0, err
    assert "Recommended" in out
    assert len(inside.trained) == len(set(inside.trained)) == 6


def test_what_it_would_train_is_said_and_nothing_is_written(typed: Typed, inside: Inside) -> None:
    code, out, _ = typed("confirm", "--dry-run", "--json", "--top", "2", "--seeds", "4")
    assert code == 0
    plan = json.loads(out)
    assert plan["trainings"] == 12 and plan["specs"][0] == inside.specs[1]
    full = {"learning_rate": 5e-4, "dropout": 0.3, "diffusion_steps": 1000, "train_steps": 1200}
    assert {name: plan["strategy"][name] for name in full} == full  # the standard one, not the search's rapid one
    _, out, _ = typed("confirm", "--dry-run", "--strategy", "digits-rapid,train_steps=77")
    assert "6 trainings, 3 seeds each, of 77 steps of 128 images at 0.001" in " ".join(out.split())
    assert not inside.trained


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("confirm", "99"), "'99' is not a trial of this memory"),
        (("confirm", "1"), "'first' has nothing but its baseline"),
        (("confirm", "--strategy", "learning_rate=7"), "--strategy learning_rate=7"),
    ],
)
def test_mistakes_are_one_sentence(typed: Typed, arguments: tuple[str, ...], sentence: str) -> None:
    code, _, err = typed(*arguments)
    assert code == 2 and err.startswith(sentence) and len(err.splitlines()) == 1
