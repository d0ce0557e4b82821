"""What is said of searches, against what comes out by hand."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench
import numpy as np
import pytest

from agent.compare.measure import Played, Truth, chance, played, truth_of
from agent.compare.plan import Comparison, planned
from agent.compare.play import play
from agent.compare.report import Compared, compared
from agent.config.sources import resolve
from diffusion.networks import network
from diffusion.spec import UNetSpec
from diffusion.unetbench.table import Table
from memory.connection import opened

BASELINE, BEST, GOOD, BAD = map(
    UNetSpec.parse, ("b16-n1-m1.2.2.2-a0100", "b16-n2-m1.2.2.2-a0100", "b8-n1-m1.2.2.2-a0100", "b8-n1-m1.2.2.1-a0100")
)
VALUES = {BASELINE: 2.0, BEST: 1.0, GOOD: 1.5, BAD: 4.0}
TRUTH = Truth({network(spec, "ddpm"): value for spec, value in VALUES.items()}, "ddpm", is_noise_free=True)


def search(*specs: UNetSpec, scores: list[float] | None = None) -> Played:
    count = len(specs)
    shown = np.array(scores or [1.0] * count)
    return Played("random", 0, specs, shown, np.arange(1.0, count + 1), 0, 0, 0, 0.0)


class TestOneSearch:
    def test_regret_is_that_of_the_truly_best_so_far(self) -> None:
        found = search(BASELINE, BAD, GOOD, BEST, scores=[2.2, 0.9, 1.4, 1.0])
        assert found.regret(TRUTH).tolist() == [1.0, 1.0, 0.5, 0.0]

    def test_a_lucky_seed_is_recommended_and_gains_nothing(self) -> None:
        found = search(BASELINE, BAD, GOOD, scores=[2.2, 0.9, 1.4])
        assert found.recommended == BAD and TRUTH.of(found.recommended) / TRUTH.best - 1 == 3.0

    def test_how_soon_one_of_the_best_was_tried(self) -> None:
        best = TRUTH.among_the_best(0.01)
        assert best == {network(BEST, "ddpm")} and len(TRUTH.among_the_best(0.5)) == 2
        assert search(BASELINE, BAD, GOOD, BEST).until(best, "ddpm") == 3
        assert search(BASELINE, BAD).until(best, "ddpm") is None
        assert search(BASELINE).until({network(BASELINE, "ddpm")}, "ddpm") == 0

    def test_another_spelling_is_the_same_network(self) -> None:
        respelled = UNetSpec.parse("b8-n2-m2.4.4.4-a0100")  # of the best
        assert TRUTH.of(respelled) == 1.0 and search(BASELINE, respelled).until(TRUTH.among_the_best(0.01), "ddpm") == 1

    def test_diversity_is_the_mean_distance_of_two_specs(self) -> None:
        assert search(BASELINE, BEST).diversity == 1.0  # twice the blocks
        assert search(BASELINE, BEST, GOOD).diversity == pytest.approx((1 + 1 + 2) / 3)
        assert search(GOOD, BAD, BAD).diversity == pytest.approx((1 + 1 + 0) / 3)
        assert search(BASELINE).diversity == 0.0


def test_chance_is_the_mean_over_every_order_of_the_networks_other_than_the_baseline() -> None:
    """Of 4, 1.5 and 1 with 2 given: after one (2 + 1.5 + 1) / 3, after two (1.5 + 1 + 1) / 3, after three 1."""
    assert chance(TRUTH, BASELINE, 3) == pytest.approx([1.0, 0.5, 1 / 6, 0.0])
    orders = [search(BASELINE, *order).regret(TRUTH) for order in itertools.permutations((BEST, GOOD, BAD))]
    assert chance(TRUTH, BASELINE, 3) == pytest.approx(np.mean(orders, axis=0))
    assert chance(TRUTH, BASELINE, 9).shape == (4,)  # there are no more


FACTORS = (0.9, 1.1)  # of the two seeds, the mean of which is exact


def true_values() -> dict[UNetSpec, float]:
    """1 for the best of the table, and a tenth more for each of the others in their order."""
    return {spec: 1.0 + place / 10 for place, spec in enumerate(sorted(bench.SPACE, key=str))}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    rows = []
    for spec, value in true_values().items():
        row = bench.network_row(spec, bench.BASELINE_SEEDS if spec == bench.BASELINE else 2)
        factors = [FACTORS[place % 2] for place in range(len(row.trainings) - len(row.trainings) % 2)]
        factors += [1.0] * (len(row.trainings) % 2)
        trainings = [
            each.model_copy(update={"scores": (value * factor,) * len(bench.STEPS)})
            for each, factor in zip(row.trainings, factors, strict=True)
        ]
        rows.append(row.model_copy(update={"trainings": tuple(trainings)}))
    with pytest.MonkeyPatch.context() as patch:
        yield bench.planted_in(tmp_path_factory.mktemp("tables"), patch, networks=tuple(rows))


@pytest.fixture(scope="module")
def asked(table: Table, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return play_in(tmp_path_factory.mktemp("played"))


def play_in(folder: Path, searchers: str = "random,local", **options: Any) -> Comparison:
    places = {"db": folder / "diffnas.db", "out": folder / "runs"}
    config = resolve({"bench": bench.NAME, "budget": "1G", "rounds": 12, **places, **options}).config
    asked = planned(config, "cmp", searchers, 2)
    list(play(asked, 1))
    return asked


def told(asked: Comparison) -> Compared:
    with opened(asked.config.places.db, read_only=True) as db:
        return compared(db, asked)


def test_the_figures_of_a_comparison_are_those_of_its_rows(asked: Comparison) -> None:
    found, truth = told(asked), true_values()
    assert (found.is_noise_free, found.networks, found.seeds, found.waiting) == (True, 24, [0, 1], 0)
    regrets: dict[str, dict[int, list[float]]] = {}
    for entry in asked:
        with opened(asked.config.places.db, read_only=True) as db:
            rows = db.conn.execute(
                "SELECT spec, rfid FROM results WHERE search_name = ? ORDER BY round", [entry.name]
            ).fetchall()
        values = [truth[UNetSpec.parse(row["spec"])] for row in rows]
        assert all(min(abs(row["rfid"] / value - factor) for factor in (*FACTORS, 1)) < 1e-9
                   for row, value in zip(rows, values, strict=True))  # fmt: skip
        for mark in (10, 12):
            regrets.setdefault(entry.searcher, {}).setdefault(mark, []).append(min(values[: mark + 1]) - 1)
    for each in found.searchers:
        assert {mark: mean.mean for mark, mean in each.regret.items()} == pytest.approx(
            {mark: np.mean(values) for mark, values in regrets[each.searcher].items()}
        )
        assert each.by_evaluations.mean[-1] == pytest.approx(each.regret[12].mean)
        assert each.by_device_seconds.at[0] == 81.0 and each.by_device_seconds.at[-1] == pytest.approx(13 * 81.0)
        assert each.by_device_seconds.mean[-1] == pytest.approx(each.regret[12].mean)
        assert (each.refusals, each.tokens, each.seeds) == (0.0, 0.0, 2)
        assert [(one.share, one.networks) for one in each.reached] == [(0.01, 1), (0.05, 2)]
    last = [pair for pair in found.pairs if pair.evaluations == 12]
    assert [(pair.a, pair.b, pair.better) for pair in last] == [("random", "local", None)]
    assert last[0].difference == pytest.approx(np.mean(regrets["random"][12]) - np.mean(regrets["local"][12]))
    assert found.chance is not None and found.chance.keys() == {10, 12}


def test_searches_after_the_first_of_a_seed_take_as_many_device_seconds(asked: Comparison) -> None:
    """What one search has computed another finds in the memory, and is charged nothing: its curve must not gain."""
    with opened(asked.config.places.db, read_only=True) as db:
        seconds = [each.device_seconds[-1] for each in played(db, asked)]
    assert seconds == [13 * 81.0] * 4


def test_what_the_budget_forbids_is_not_regretted(table: Table, tmp_path: Path) -> None:
    asked = play_in(tmp_path, "random", budget="1M", baseline="b8-n1-m1.2.2.2-a0100", rounds=3, max_params=150_000)
    with opened(asked.config.places.db, read_only=True) as db:
        searches = played(db, asked)
    truth, limits = truth_of(asked, searches), (1e6, 150_000)
    rows = {row.spec: row for row in table.contents.networks}
    fit = [spec for spec, row in rows.items() if row.macs_paper <= limits[0] and row.params <= limits[1]]
    assert 0 < len(fit) < 24
    assert set(truth.values) == {network(spec, "ddpm") for spec in fit}
    assert told(asked).networks == len(fit)


def test_for_real_the_scores_that_were_shown_stand_in_for_the_truth(asked: Comparison) -> None:
    real = Comparison("cmp", ("random",), (0, 1), asked.config.changed(bench=None))
    searches = [search(BASELINE, GOOD, scores=[2.0, 1.0]), search(BASELINE, BAD, BEST, scores=[4.0, np.inf, 1.5])]
    truth = truth_of(real, searches)
    assert not truth.is_noise_free
    assert truth.values == {network(BASELINE, "ddpm"): 3.0, network(GOOD, "ddpm"): 1.0, network(BEST, "ddpm"): 1.5}
    assert searches[1].regret(truth).tolist() == [2.0, 2.0, 0.5]
