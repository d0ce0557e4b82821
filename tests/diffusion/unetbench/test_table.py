import json
import math
from pathlib import Path

import bench
import pytest

from diffusion.cost.closed_form import cost
from diffusion.errors import UserError
from diffusion.neighbourhood import neighbours
from diffusion.spec import UNetSpec
from diffusion.statistics.noise import interval, pooled_noise
from diffusion.unetbench import table as tables
from diffusion.unetbench.figures import agreement_at, best_at, noise_at, steps_agreement
from diffusion.unetbench.table import NoResult, Table, find_table, write_table

SPEC = UNetSpec.parse("b8-n1-m1.1.2.1-a0100")
SHIPPED = (tables.FOLDER / "unetbench.json").exists()


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    return bench.planted_in(tmp_path, monkeypatch)


def test_a_table_is_read_as_it_was_written(table: Table) -> None:
    assert table.contents == bench.contents()
    assert (table.name, table.steps, table.baseline) == ("planted", (2, 4, 8), bench.BASELINE)
    assert table.identity == f"planted-{table.sha256[:12]}"
    assert len(table.entries) == table.space.size == 24
    assert table.is_complete


def test_a_table_without_a_network_or_a_second_score_is_not_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = bench.contents().networks
    assert not bench.planted_in(tmp_path, monkeypatch, networks=rows[1:]).is_complete
    failed = rows[0].trainings[0].model_copy(update={"error": "diverged"})
    short = rows[0].model_copy(update={"trainings": (failed, *rows[0].trainings[1:])})
    other = tmp_path / "other"
    other.mkdir()
    assert not bench.planted_in(other, monkeypatch, networks=(short, *rows[1:])).is_complete


@pytest.mark.parametrize("change", [lambda text: text.replace("0.5", "0.4", 1), lambda text: text + "\n"])
def test_an_altered_file_is_refused_in_one_sentence(table: Table, change: object) -> None:
    path = tables.FOLDER / "planted.json"
    assert callable(change)
    path.write_text(change(path.read_text()))
    tables._read.cache_clear()
    with pytest.raises(UserError, match=r"planted.json' is not the table that was made: its SHA-256 is another"):
        find_table("planted")


def test_a_file_without_its_checksum_and_a_name_without_a_file_are_refused(table: Table) -> None:
    (tables.FOLDER / "planted.sha256").unlink()
    tables._read.cache_clear()
    with pytest.raises(UserError, match="SHA-256"):
        find_table("planted")
    with pytest.raises(UserError, match=r"^'other' is not a table of trained networks; there are planted$"):
        find_table("other")


def test_a_table_of_another_version_is_named_with_what_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_table(bench.contents(), tmp_path)
    path.write_text(path.read_text().replace('"steps"', '"stages"', 1))
    path.with_suffix(".sha256").write_text(tables._checksum_line(path))
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=r"is not a table that this version reads: steps: Field required"):
        find_table("planted")


def test_what_is_shown_is_drawn_anew_from_the_seed_of_the_search_for_each_network(table: Table) -> None:
    first = {spec: [table.shown(spec, 8, search_seed=seed).score for seed in range(40)] for spec in table.space}
    again = {spec: [table.shown(spec, 8, search_seed=seed).score for seed in range(40)] for spec in table.space}
    assert first == again
    for spec, shown in first.items():
        assert set(shown) == set(table.scores(spec, 8))
    spelled = tuple(shown.index(min(shown)) for shown in first.values())
    assert len(set(spelled)) > 1  # not one coin for all networks
    pairs = [(spec, shown) for spec, found in first.items() if spec != bench.BASELINE for shown in found]
    worse = sum(shown == max(table.scores(spec, 8)) for spec, shown in pairs)
    assert abs(worse / len(pairs) - 0.5) < 0.1  # 40 searches × 23 networks: six standard deviations of a fair coin


def test_the_trainings_of_a_network_are_distinct_until_there_are_no_more(table: Table) -> None:
    shown = [table.shown(bench.BASELINE, 4, search_seed=7, number=number) for number in range(5)]
    assert sorted(each.score for each in shown if each.score) == sorted(table.scores(bench.BASELINE, 4))
    with pytest.raises(
        NoResult, match=r"^the table planted has 5 training seeds of b16-n1.*, and training 6 was asked"
    ):
        table.shown(bench.BASELINE, 4, search_seed=7, number=5)
    with pytest.raises(NoResult, match="is not in the table"):
        table.shown(UNetSpec.parse("b24-n1-m1.1.2.1-a0100"), 4, search_seed=7)


def test_a_part_of_a_training_costs_its_part_and_has_no_last_loss(table: Table) -> None:
    whole, part = (table.shown(SPEC, step, search_seed=0) for step in (8, 2))
    assert (whole.train_seconds, part.train_seconds) == (80.0, 20.0)
    assert (whole.loss, part.loss) == (0.5, None)


def test_a_training_that_failed_is_shown_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = bench.contents().networks
    failed = tuple(each.model_copy(update={"error": "diverged", "scores": ()}) for each in rows[0].trainings)
    table = bench.planted_in(
        tmp_path, monkeypatch, networks=(rows[0].model_copy(update={"trainings": failed}), *rows[1:])
    )
    with pytest.raises(NoResult, match=r"^diverged$"):
        table.shown(rows[0].spec, 8, search_seed=0)
    assert table.mean(rows[0].spec, 8) is None


def test_a_network_is_found_in_every_spelling(table: Table) -> None:
    spelled = UNetSpec.parse("b4-n1-m2.2.4.2-a0100")
    assert table.shown(spelled, 8, search_seed=3) == table.shown(SPEC, 8, search_seed=3)


def test_the_protocols_of_the_steps_differ_in_their_steps_alone(table: Table) -> None:
    assert table.protocol_at(8) == bench.PROTOCOL
    assert {table.protocol_at(step).fingerprint: step for step in (2, 4, 8)} == table.fingerprints
    assert len(table.fingerprints) == 3


def test_figures_are_those_of_the_scores(table: Table) -> None:
    scores = {str(spec): table.scores(spec, 8) for spec in table.space}
    noise = noise_at(table, 8)
    assert noise == pooled_noise(scores, str(bench.BASELINE)) and noise is not None
    assert 0.03 < noise.cv < 0.07  # planted: 0.05
    assert table.mean(SPEC, 8) == pytest.approx(math.sqrt(math.prod(scores[str(SPEC)])))
    best = best_at(table, 8)
    assert best is not None
    assert best.score == min(mean for spec in table.space if (mean := table.mean(spec, 8)) is not None)
    own = interval(noise, table.scores(best.spec, 8))
    assert own is not None and best.low < own[0] and best.low < best.score < best.high
    same = steps_agreement(table, 8).spearman
    assert same is not None and same.value == pytest.approx(1)
    found = agreement_at(table, 8).kendall
    assert found is not None and 0.5 < found.value < 1


@pytest.mark.skipif(not SHIPPED, reason="the table is made when its trainings are over")
def test_the_shipped_table_is_complete_small_and_closed_under_one_step() -> None:
    table = find_table("unetbench")
    assert table.is_complete
    assert (tables.FOLDER / "unetbench.json").stat().st_size < 2_000_000
    assert len(table.entries) == len(table.contents.networks) == table.space.size >= 192
    assert table.seeds(table.baseline) >= 8
    assert len(table.steps) >= 3
    for row in table.contents.networks:
        known = cost(row.spec, "ddpm", 8, 1)
        assert (known.macs.paper, known.macs.total, known.params) == (row.macs_paper, row.macs_total, row.params)
        assert all(table.seeds(UNetSpec.from_row(near)) for near in neighbours(table.space, row.spec))


@pytest.mark.skipif(not SHIPPED, reason="the table is made when its trainings are over")
def test_the_shipped_table_names_no_folder_of_a_machine() -> None:
    text = (tables.FOLDER / "unetbench.json").read_text()
    assert "/" not in json.dumps({**json.loads(text), "networks": []}).replace("/255", "")
