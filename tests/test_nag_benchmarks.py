"""The studies on NAS-Bench-201 in `benchmarks/nag/`, on a table made up here."""

import gzip
from argparse import Namespace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffusion.nag.nasbench201 import CELLS, Table, canonical, every_cell
from diffusion.nag.search.encodings import path_counts
from diffusion.spec import UNetSpec


@pytest.fixture(scope="module")
def landscape() -> Any:
    """Accuracies that a sum over paths gives, alike on three data sets, with a bit of noise of each network's own."""
    paths, rng, columns = path_counts(every_cell()), np.random.default_rng(0), {}
    worth = rng.normal(size=paths.shape[1])
    for name in ("cifar10", "cifar100", "imagenet16"):
        goodness = paths @ (worth + 0.2 * rng.normal(size=len(worth)))
        test = 90 * (goodness - goodness.min()) / np.ptp(goodness)
        columns |= {f"{name}_test": test, f"{name}_val": test + 0.05 * rng.normal(size=CELLS)}
    return import_module("landscape").Landscape(Table(columns))


def test_results_are_kept_line_by_line_and_half_a_line_is_measured_again(tmp_path: Path) -> None:
    records, outcome = import_module("records").Records, import_module("yardstick").Outcome
    made = [
        outcome(way="gp", data_set="cifar10", seed=seed, cell=1, validation=1, test=1, cpu_seconds=0) for seed in (0, 1)
    ]
    path = tmp_path / "new" / "out.jsonl"
    for each in made:
        records(path, outcome).add(each)
    path.write_text(path.read_text()[:-9])
    again = records(path, outcome)
    assert again.all == made[:1]
    assert list(again.missing([each.key for each in made], lambda each: each.key)) == [made[1].key]
    again.add(made[1])
    assert records(path, outcome).all == made


def test_an_oracle_answers_thirty_questions_and_no_more(landscape: Any) -> None:
    ways = import_module("ways")
    oracle = ways.Oracle(landscape.validation("cifar10"))
    for cell in range(30):
        oracle.ask(cell)
    with pytest.raises(ways.NoMoreQuestionsError, match="30 questions are asked"):
        oracle.ask(30)
    assert oracle.best == landscape.validation("cifar10")[:30].argmax()


@pytest.mark.parametrize("way", ["random", "evolution", "gp", "gp-networks", "transfer-100", "transfer"])
def test_every_way_asks_thirty_times_and_returns_the_best_answer(landscape: Any, way: str) -> None:
    ways = import_module("ways")
    oracle = ways.Oracle(landscape.validation("cifar100"))
    returned = ways.WAYS[way](ways.Task(oracle, landscape, "cifar100", np.random.default_rng(1)))
    assert len(oracle.asked) == 30
    assert returned == oracle.best
    if "gp" in way or "transfer" in way:
        assert len(set(oracle.asked)) == 30
        top = np.sort(landscape.validation("cifar100"))[-CELLS // 100]
        assert landscape.validation("cifar100")[returned] > top


def test_guided_candidates_are_asked_for_as_often_as_is_allowed(landscape: Any) -> None:
    ways = import_module("ways")
    oracle = ways.Oracle(landscape.validation("cifar100"), questions=10)
    assert ways.WAYS["guided"](ways.Task(oracle, landscape, "cifar100", np.random.default_rng(1))) == oracle.best
    assert len(set(oracle.asked)) == 10


def test_a_way_without_transfer_does_not_look_at_the_other_data_sets(landscape: Any) -> None:
    ways, alone = import_module("ways"), dict(landscape.table.columns)
    for column in ("cifar10_val", "imagenet16_val", "cifar10_test", "imagenet16_test", "cifar100_test"):
        alone[column] = np.full(CELLS, np.nan)
    blind = import_module("landscape").Landscape(Table(alone))
    asked = []
    for each in (landscape, blind):
        oracle = ways.Oracle(each.validation("cifar100"))
        ways.WAYS["gp-networks"](ways.Task(oracle, each, "cifar100", np.random.default_rng(1)))
        asked.append(oracle.asked)
    assert asked[0] == asked[1]


def test_transfer_never_sees_a_test_accuracy(landscape: Any) -> None:
    ways, columns = import_module("ways"), dict(landscape.table.columns)
    hidden = {name: values if name.endswith("_val") else np.full(CELLS, np.nan) for name, values in columns.items()}
    blind = import_module("landscape").Landscape(Table(hidden))
    oracle = ways.Oracle(blind.validation("cifar10"))
    ways.WAYS["transfer"](ways.Task(oracle, blind, "cifar10", np.random.default_rng(1)))
    assert len(oracle.asked) == 30


def test_networks_are_asked_for_once_and_are_all_there(landscape: Any) -> None:
    assert len(landscape.members) == len(set(canonical(landscape.cells, thorough=True))) == 4930


def test_what_is_below_the_median_is_as_bad_as_the_median() -> None:
    targets = import_module("ways").upper_half(np.array([10.0, 80.0, 90.0, 92.0, 94.0]))
    assert targets[0] == targets[1] == targets[2] < targets[3] < targets[4]
    assert targets.mean() == pytest.approx(0) and targets.std() == pytest.approx(1)


def test_bold_is_only_what_is_above_every_published_figure_with_all_of_its_interval() -> None:
    yardstick = import_module("yardstick")
    values = {"cifar10": [94.2, 94.3, 94.25], "cifar100": [72.0, 73.0, 72.9], "imagenet16": [46.5, 46.5, 46.5]}
    table = yardstick.markdown(
        [
            yardstick.Outcome(way="gp", data_set=name, seed=seed, cell=0, validation=0, test=test, cpu_seconds=0)
            for name, tests in values.items()
            for seed, test in enumerate(tests)
        ]
    )
    *_, row = table.splitlines()
    assert row.startswith("| gp | 3 | **94.25 (94.2")
    assert "| 72.63 (" in row
    assert row.endswith("| 46.50 (the same for every seed) |")


def test_a_search_of_the_study_is_the_same_each_time_and_its_tables_censor(landscape: Any) -> None:
    study = import_module("bo_study")
    keys = [("cifar10", name, "ucb", seed) for name in ("exhaustive", "mutation+random") for seed in (0, 1)]
    traces = [study.trace(landscape, key, 12) for key in keys]
    assert study.trace(landscape, keys[0], 12).cells == traces[0].cells
    assert traces[0].cells[:10] == traces[2].cells[:10] != traces[1].cells[:10]
    assert traces[0].accuracies == landscape.test("cifar10")[traces[0].cells].tolist()
    assert "| exhaustive | ucb | 0/2 | more than 12 |" in study.markdown(traces, landscape)


def test_regrets_are_drawn(landscape: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, figures, records = (import_module(name) for name in ("bo_study", "figures", "records"))
    monkeypatch.setattr(figures.Landscape, "read", lambda path: landscape)
    kept = records.Records(tmp_path / "bo.jsonl", study.Trace)
    for seed in (0, 1):
        kept.add(study.trace(landscape, ("cifar100", "mutation+random", "its", seed), 12))
    figures.regret(tmp_path / "none", kept.path, tmp_path / "regret.png")
    assert (tmp_path / "regret.png").read_bytes().startswith(b"\x89PNG")


def test_the_study_has_thirty_seeds_of_the_pairs_in_question_and_ten_of_all_others() -> None:
    keys = list(import_module("bo_study").keys(30, 10))
    assert len(keys) == len(set(keys)) == 2 * (6 * 30 + 14 * 10)
    assert {key[3] for key in keys[:40]} == {0}


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        ([4, 1, 2], "16 + 2 (1 to 4), 3/3"),
        ([None, 1, None], "16 + more than 50 (1 to never), 1/3"),
        ([None, 1, 3, None], "16 + more than 50 (1 to never), 2/4"),
    ],
)
def test_transfer_counts_those_that_never_get_there_as_later_than_all(positions: list[int | None], said: str) -> None:
    transfer = import_module("transfer")
    found = [
        transfer.Found(way="generated", data_set="cifar10", seed=seed, position=position, offered=50, labels=16)
        for seed, position in enumerate(positions)
    ]
    assert transfer.summary(found) == said


@pytest.mark.parametrize("way", ["generated", "all", "mean-rank"])
def test_transfer_trains_on_two_data_sets_and_never_reads_more_of_the_third_than_its_labels(
    landscape: Any, way: str
) -> None:
    transfer = import_module("transfer")
    made = transfer.WAYS[way](transfer.Unseen(landscape, "imagenet16", seed=0, steps=30))
    assert made.labels == (0 if way == "mean-rank" else 16)
    assert made.position is None or made.position <= made.offered
    if way == "all":
        assert made.offered == CELLS - 16


@pytest.fixture
def three_sets(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Networks of three data sets where more multiply-accumulates score better, with a bit of noise."""
    images, rng = import_module("images"), np.random.default_rng(0)
    found = {}
    for name in images.SETS:
        rows = rng.choice(images.SPACE.rows(), 30, replace=False)
        log_scores = -np.log(images.costs(rows, "ddpm", 8, 1).macs("paper")) + 0.05 * rng.normal(size=30)
        pictures = rng.integers(0, 256, (80, 8, 8)).astype(np.uint8)
        found[name] = images.Known(pictures, tuple(map(UNetSpec.from_row, rows)), log_scores)
    monkeypatch.setattr(images, "known", lambda name, folder: found[name])
    images.taught.cache_clear()
    return images


def test_a_start_that_knows_other_data_sets_is_played_beside_one_that_does_not(three_sets: Any) -> None:
    keys = [three_sets.Key(way, "cifar10", 0) for way in three_sets.WAYS]
    played = {key.way: three_sets.play(key, Path("none"), 150) for key in keys}
    for each in played.values():
        assert len(each.regrets) == 15 and each.regrets == sorted(each.regrets, reverse=True) and each.regrets[-1] >= 0
    ranks = {way: each.correlation for way, each in played.items()}
    assert ranks["cold"] is None and min(ranks["largest"], ranks["told nothing"], ranks["told its images"]) > 0.7
    assert played["largest"].regrets[0] < played["cold"].regrets[0]
    assert three_sets.play(keys[0], Path("none"), 150) == played["told its images"]
    table = three_sets.markdown(list(played.values()))
    assert table.count("\n| ") == 6 and "- told its images − cold: " in table


def test_a_small_set_of_images_is_one_of_means(tmp_path: Path) -> None:
    images = import_module("images")
    wide = np.zeros((3, 28, 28), dtype=np.uint8)
    wide[1] = 200
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + wide.tobytes()))
    small = images.images_of("fashion", Namespace(fashion=tmp_path))
    assert small.shape == (3, 8, 8) and small[0].max() == 0
    assert small[1, 1:-1, 1:-1].min() == 200 and small[1, 0, 0] == 50 and small[1, 0, 3] == 100  # two pixels of margin
