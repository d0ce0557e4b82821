"""``diffnas-agent generate``: always within the budget, towards good ranks where trials are known, never silently."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench import OPTIONS, planted_in
from scipy.stats import spearmanr
from searches import TinySearch

from agent.cli.main import app
from agent.config.sources import resolve
from agent.generation.asked import Wanted
from agent.generation.specs import generate
from diffusion.cost.closed_form import cost
from diffusion.errors import UserError
from diffusion.nag.generator import Generator
from diffusion.nag.training import ScoreTraining, new_network, save_score
from diffusion.nag.unets import unet_graphs
from diffusion.networks import network
from diffusion.space import built_in
from diffusion.spec import UNetSpec

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(capsys: pytest.CaptureFixture[str], *typed: str) -> tuple[Rows, str]:
    """What a command prints for scripts, and what it says to people."""
    assert app(["generate", *typed, "--json"], standalone_mode=False) == 0
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


def test_without_a_memory_it_is_unguided_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    found, said = asked(capsys, "--preset", "digits", "--count", "30", "--budget", "3M", "--min-macs", "2M")
    assert said == (
        "Unguided but for the budget: the memory has no trial of such networks, and a predictor needs five.\n"
    )
    assert len({row["spec"] for row in found}) == 30
    for row in found:
        counted = cost(UNetSpec.parse(row["spec"]), "ddpm", 8, 1)
        assert row["macs"] == {"paper": counted.macs.paper, "total": counted.macs.total}
        assert row["params"] == counted.params
        assert 2_000_000 <= row["macs"]["paper"] <= 3_000_000
        assert (row["predicted"], row["novel"]) == (None, True)


def test_a_seed_gives_the_same_specs_again(capsys: pytest.CaptureFixture[str]) -> None:
    one, two, other = (asked(capsys, "--count", "3", "--seed", seed)[0] for seed in ("1", "1", "2"))
    assert one == two != other


def test_it_computes_on_one_thread_and_leaves_the_others_as_they_were(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    drawn = Generator.graphs
    monkeypatch.setattr(
        Generator, "graphs", lambda *asked, **how: used.append(torch.get_num_threads()) or drawn(*asked, **how)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        asked(capsys, "--count", "2")
        assert used == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_near_a_spec_means_with_most_of_its_operators(capsys: pytest.CaptureFixture[str]) -> None:
    like = UNetSpec.parse("b16-n2-m1.2.2.3-a0110")

    def shared(*typed: str) -> float:
        found, _ = asked(capsys, "--count", "20", "--budget", "100M", *typed)
        rows = np.array([UNetSpec.parse(row["spec"]).row for row in found])
        return float((rows == np.array(like.row)).mean())

    assert shared("--like", str(like)) > 0.65 > shared() + 0.2


def test_limits_on_parameters_hold_and_too_few_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    found, said = asked(capsys, "--count", "20", "--budget", "495K", "--max-params", "60K")
    assert len(found) < 20
    assert f"{len(found)} of 20: nothing else came within the limits." in said
    assert all(row["params"] <= 60_000 and row["macs"]["paper"] <= 495_000 for row in found)


class TestWithTrials:
    @pytest.fixture
    def search(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> TinySearch:
        """Twelve of the planted table's 24 networks, tried at random; the wider, the better."""
        (folder / "tables").mkdir()
        planted_in(folder / "tables", monkeypatch)
        found = TinySearch(folder, {**OPTIONS, "searcher": "random", "rounds": 11, "name": "first"})
        found.run()
        return found

    def test_ranks_are_those_of_what_was_never_tried_too(
        self, search: TinySearch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found, said = asked(capsys, "--from", "first", "--count", "8")
        assert said.startswith(
            "Guided by the ranks of 12 trials under the protocol of 'first'; ranks that were left out "
        )
        tried = {network(UNetSpec.parse(row["spec"]), "ddpm") for row in search.rows("SELECT spec FROM trainings")}
        assert {row["spec"] for row in found if not row["novel"]} == {
            row["spec"] for row in found if network(UNetSpec.parse(row["spec"]), "ddpm") in tried
        }
        ranks = [row["predicted"]["rank"] for row in found]
        assert ranks == sorted(ranks, reverse=True)
        new = [row for row in found if row["novel"]]
        widths = [sum(UNetSpec.parse(row["spec"]).row) for row in new]  # by which the planted scores fall
        assert spearmanr(widths, [row["predicted"]["rank"] for row in new]).statistic > 0.5

    def test_the_latest_search_is_found_by_its_sizes_and_the_typed_budget_holds(
        self, search: TinySearch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found, said = asked(capsys, "--preset", "digits", "--budget", "2M", "--count", "5")
        assert "under the protocol of 'first'" in said
        assert all(row["macs"]["paper"] <= 2_000_000 for row in found)
        _, elsewhere = asked(capsys, "--preset", "ddpm-cifar10", "--count", "1")
        assert elsewhere.startswith("Unguided")

    def test_another_search_is_named(self, search: TinySearch) -> None:
        with pytest.raises(UserError, match=r"^'second' is not a search of this memory; there are first"):
            app(["generate", "--from", "second"], standalone_mode=False)


class TestNetwork:
    @pytest.mark.slow
    def test_it_is_trained_where_it_is_not_there_and_found_again(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("agent.generation.specs.ScoreTraining", lambda seed: ScoreTraining(steps=150, seed=seed))
        first, _ = asked(capsys, "--network", "score.safetensors", "--count", "5")
        written = (folder / "score.safetensors").read_bytes()
        assert asked(capsys, "--network", "score.safetensors", "--count", "5")[0] == first
        assert (folder / "score.safetensors").read_bytes() == written

    def test_one_of_another_space_is_refused(self, folder: Path) -> None:
        graphs, training = unet_graphs(built_in("images-32")), ScoreTraining(steps=1)
        save_score(folder / "score.safetensors", new_network(graphs, training), graphs, training)
        with pytest.raises(UserError, match=r"^'score\.safetensors' was trained for images-32 \(\w+\), and the "):
            app(["generate", "--preset", "digits", "--network", "score.safetensors"], standalone_mode=False)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["--budget", "1K"], "'1K' is met by no spec: the smallest spec of the space digits-8, b8-"),
        (["--min-macs", "8M"], "'6M' is below the 8M MACs asked for at least"),
        (["--like", "b128"], "'b128' is not a spec"),
        (["--like", "b128-n2-m1.2.2.2-a0100"], "b128-n2-m1.2.2.2-a0100 is no graph of digits-8: "),
        (["--from", "nobody"], "'diffnas.db' holds no memory yet"),
    ],
)
def test_a_mistake_is_one_sentence(typed: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        app(["generate", "--preset", "digits", *typed], standalone_mode=False)
    assert str(refused.value).startswith(sentence)


def test_a_table_for_people(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert generate(resolve({"preset": "digits"}), Wanted(2), as_json=False) == 0
    said = capsys.readouterr().out
    assert "Unguided" in said and "predicted rank" in said and said.count("yes") == 2
