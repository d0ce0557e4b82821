"""The audit's figures against those that the paper prints, and against an independent count of every network."""

import io
import json
from typing import Any

import pytest
from counted import meta_count
from rich.console import Console

from agent.report import audit as module
from agent.report.audit import MODELS, Fit, PaperModel, audit, change, fits, print_audit
from agent.report.results import plain
from diffusion.space import built_in
from diffusion.spec import UNetSpec

AUDITED = audit()
FOUND = plain(AUDITED)

# Sections V-B and V-C of arXiv 2310.04750: ten numbers, FLOPs in G, FID; then our params, paper and total MACs.
PRINTED: dict[str, Any] = {
    "DDPM baseline": ([128, 2, 1, 2, 2, 2, 0, 1, 0, 0], 6.06, 3.17, 35_746_307, 6_053_953_536, 6_221_856_768),
    "DDPM searched": ([96, 3, 1, 2, 3, 3, 0, 1, 0, 1], 5.36, 2.90, 47_981_859, 5_358_772_224, 5_536_112_640),
    "IDDPM baseline": ([128, 3, 1, 2, 2, 2, 0, 1, 1, 0], 8.14, 3.19, 52_546_438, 8_137_015_296, 8_386_707_456),
    "IDDPM searched": ([96, 4, 1, 2, 3, 3, 1, 1, 1, 0], 7.13, 2.82, 63_141_894, 7_133_442_048, 9_193_254_912),
}


def shown(width: int = 200) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=True)
    print_audit(console, AUDITED)
    return console.export_text()


def test_the_four_models_of_the_paper_are_there() -> None:
    assert [model["model"] for model in FOUND["models"]] == list(PRINTED)
    assert [model["family"] for model in FOUND["models"]] == ["ddpm", "ddpm", "iddpm", "iddpm"]


@pytest.mark.parametrize("model", FOUND["models"], ids=lambda model: model["model"])
class TestModel:
    def test_it_stands_as_printed_beside_our_counts(self, model: Any) -> None:
        numbers, flops, fid, params, paper, total = PRINTED[model["model"]]
        assert list(UNetSpec.parse(model["spec"]).row) == numbers
        assert (model["printed"]["flops"], model["printed"]["fid"]) == (round(flops * 1e9), fid)
        assert (model["params"], model["macs"]) == (params, {"paper": paper, "total": total})
        assert model["attention_share"] == pytest.approx((total - paper) / total)

    def test_an_independent_count_of_the_built_network_says_the_same(self, model: Any) -> None:
        counted = meta_count(UNetSpec.parse(model["spec"]), model["family"], 32, 3)
        assert (model["params"], model["macs"]["total"]) == (counted["params"], counted["macs_total"])

    def test_its_printed_flops_are_rounded_paper_macs_as_iddpm_and_never_total_macs(self, model: Any) -> None:
        ways = model["printed"]["fits"]
        assert {"family": "iddpm", "count": "paper"} in ways
        assert all(way["count"] == "paper" for way in ways)

    def test_the_built_in_space_holds_it(self, model: Any) -> None:
        assert built_in("images-32").why_not(UNetSpec.parse(model["spec"])) is None

    def test_it_says_where_the_paper_prints_it(self, model: Any) -> None:
        source = FOUND["sources"][model["model"]]
        assert source.startswith("Section V-B" if model["family"] == "ddpm" else "Section V-C")
        assert f"FID {model['printed']['fid']:.2f}" in source
        assert f"{model['printed']['flops'] / 1e9:.2f}" in source


def test_the_second_figure_of_the_iddpm_baseline_has_one_digit_more_and_fits_too() -> None:
    assert "8.137G" in FOUND["sources"]["IDDPM baseline"]
    assert round(FOUND["models"][2]["macs"]["paper"] / 1e9, 3) == 8.137


def test_the_ddpm_baseline_alone_is_not_its_own_count_rounded() -> None:
    by_name = {model.name: fits(model) for model in MODELS}
    own = {name: Fit(family="ddpm", count="paper") in ways for name, ways in by_name.items()}
    assert own == {"DDPM baseline": False, "DDPM searched": True, "IDDPM baseline": False, "IDDPM searched": True}
    assert "paper MACs of the spec as ddpm for DDPM searched, IDDPM searched; " in shown(2000)
    assert "paper MACs of the spec as iddpm for all; " in shown(2000)
    assert "total MACs of the spec as iddpm for none." in shown(2000)


def test_by_total_the_searched_iddpm_is_dearer_than_its_baseline_and_the_searched_ddpm_is_not() -> None:
    ddpm, iddpm = FOUND["changes"]
    assert (ddpm["family"], iddpm["family"]) == ("ddpm", "iddpm")
    assert iddpm["total"] == pytest.approx(9_193_254_912 / 8_386_707_456 - 1)
    assert [round(iddpm[name], 3) for name in ("paper", "total", "params")] == [-0.123, 0.096, 0.202]
    assert [round(ddpm[name], 3) for name in ("paper", "total", "params")] == [-0.115, -0.110, 0.342]
    assert (ddpm["fid"], iddpm["fid"]) == (-0.27, -0.37)  # the conclusion's two figures


def test_what_a_searched_model_costs_is_one_sentence_made_from_its_figures() -> None:
    ddpm, iddpm = (each["sentence"] for each in FOUND["changes"])
    for sentence in (ddpm, iddpm):
        assert sentence.count(". ") == 0 and sentence.endswith(".") and sentence in shown(2000)
    for part in ("-0.37 FID", "12.3% fewer paper", "9.6% more total MACs (9.193G for 8.387G)", "20.2% more params"):
        assert part in iddpm
    assert iddpm.endswith("by total it is dearer than its own baseline.")
    assert ddpm.endswith("by total it is cheaper than its baseline, too.")


def test_a_searched_model_that_changes_nothing_is_not_called_dearer() -> None:
    same = change(module.IDDPM, module.IDDPM)
    assert (same.total, same.fid) == (0, 0) and "dearer" not in same.sentence


def test_a_figure_that_no_count_comes_to_fits_nothing() -> None:
    assert fits(PaperModel("X", "ddpm", "b128-n2-m1.2.2.2-a0100", "9.99G", 3.0)) == []


def test_what_is_printed_fits_a_terminal_and_keeps_specs_whole() -> None:
    lines = shown(80).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(any(model.spec in line for line in lines) for model in MODELS)
    for missing in FOUND["missing"]:
        assert missing in shown(2000)


def test_json_can_hold_it() -> None:
    assert json.loads(json.dumps(FOUND, allow_nan=False)) == FOUND
