"""The audit's figures against known answers, an independent count of every network it names, and a loop."""

import io
import itertools
import json
from typing import Any

import pytest
from counted import meta_count
from rich.console import Console

from agent.report import audit as module
from agent.report.audit import audit, print_audit, second_result
from agent.report.results import plain
from diffusion.cost.closed_form import cost, costs
from diffusion.space import built_in
from diffusion.spec import UNetSpec

AUDITED = audit()
FOUND = plain(AUDITED)
MODELS = {model["model"]: model for model in FOUND["models"]}
BASELINE_TOTAL, BASELINE_PAPER = 8_386_707_456, 8_137_015_296  # IDDPM b128-n3-m1.2.2.2-a0110


def named_specs() -> list[tuple[str, dict[str, Any], str]]:
    """Every network whose cost the audit prints: model, costs, family."""
    found = []
    for model in FOUND["models"]:
        extremes = [model["candidates"][key] for key in ("least", "most")] if model["candidates"] else [model]
        found += [(model["model"], costs, model["family"]) for costs in extremes]
    return found


def shown(width: int = 200) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=True)
    print_audit(console, AUDITED)
    return console.export_text()


def test_the_four_models_of_the_paper_are_there() -> None:
    assert list(MODELS) == ["DDPM baseline", "DDPM searched", "IDDPM baseline", "IDDPM searched"]
    assert [model["family"] for model in FOUND["models"]] == ["ddpm", "ddpm", "iddpm", "iddpm"]


def test_the_baselines_cost_what_is_known() -> None:
    ddpm, iddpm = MODELS["DDPM baseline"], MODELS["IDDPM baseline"]
    assert (ddpm["params"], ddpm["macs"]) == (35_746_307, {"paper": 6_053_953_536, "total": 6_221_856_768})
    assert (iddpm["params"], iddpm["macs"]) == (52_546_438, {"paper": BASELINE_PAPER, "total": BASELINE_TOTAL})
    assert iddpm["attention_share"] == pytest.approx(249_692_160 / BASELINE_TOTAL)


def test_figures_of_the_paper_that_could_not_be_read_are_left_out() -> None:
    printed = {name: model["printed"] for name, model in MODELS.items()}
    assert printed == {
        "DDPM baseline": {"flops": 6_060_000_000, "fid": None},
        "DDPM searched": {"flops": None, "fid": None},
        "IDDPM baseline": {"flops": None, "fid": 3.19},
        "IDDPM searched": {"flops": None, "fid": 2.82},
    }
    assert MODELS["DDPM searched"]["spec"] is None and MODELS["IDDPM searched"]["macs"] is None
    assert round(printed["IDDPM baseline"]["fid"] - printed["IDDPM searched"]["fid"], 2) == module.GAIN
    text = shown()
    for missing in FOUND["missing"]:
        assert missing in text


@pytest.mark.parametrize(
    ("model", "costs", "family"), named_specs(), ids=[costs["spec"] for _, costs, _ in named_specs()]
)
def test_every_printed_cost_equals_an_independent_count_of_the_built_network(
    model: str, costs: dict[str, Any], family: Any
) -> None:
    counted = meta_count(UNetSpec.parse(costs["spec"]), family, 32, 3)
    assert (costs["params"], costs["macs"]["total"]) == (counted["params"], counted["macs_total"])


def test_candidates_are_all_the_specs_of_the_space_that_fit() -> None:
    """A plain loop over the corner of the space where base_channel is 128, against the vectorised choice."""
    corner = itertools.product(
        (128,), built_in("images-32").num_blocks, *built_in("images-32").channel_mult, *[(0, 1)] * 4
    )
    low, high = MODELS["IDDPM searched"]["candidates"]["macs_paper"]
    expected = [
        found.macs.total
        for row in corner
        if row[6] == 1 and low <= (found := cost(UNetSpec.from_row(row), "iddpm")).macs.paper <= high
    ]
    candidates = module._searched(
        module.IDDPM_SEARCHED, high, lambda all_rows: (all_rows[:, 6] == 1) & (all_rows[:, 0] == 128), ""
    ).candidates
    assert candidates is not None and candidates.of == 122_880
    assert candidates.count == len(expected) > 50
    assert candidates.least.macs.total == min(expected)
    assert candidates.most.macs.total == max(expected)


def test_the_searched_iddpm_model_is_dearer_than_its_baseline_by_total() -> None:
    found = FOUND["second_result"]
    candidates = MODELS["IDDPM searched"]["candidates"]
    cheapest = candidates["least"]["macs"]
    assert found["dearer"] == found["candidates"] == candidates["count"] == 555
    assert cheapest["paper"] <= BASELINE_PAPER < BASELINE_TOTAL < cheapest["total"]
    for key in ("least", "most"):
        assert found["extra"][key] == pytest.approx(candidates[key]["macs"]["total"] / BASELINE_TOTAL - 1)
    assert (round(found["extra"]["least"], 3), round(found["extra"]["most"], 3)) == (0.024, 0.346)


def test_the_break_even_is_a_spec_that_is_not_dearer() -> None:
    found = second_result()
    assert found.break_even is not None
    paper = round(found.break_even * BASELINE_PAPER)
    rows = built_in("images-32").rows()
    counts = costs(rows[rows[:, 6] == 1], "iddpm")
    (at,) = (counts.macs_paper == paper).nonzero()
    assert counts.macs_total[at].min() <= BASELINE_TOTAL
    assert (counts.macs_total[counts.macs_paper > paper] > BASELINE_TOTAL).all()


def test_the_second_result_is_one_sentence_made_from_its_figures() -> None:
    sentence = FOUND["second_result"]["sentence"]
    assert sentence.count(". ") == 0 and sentence.endswith(".")
    for part in ("0.37 FID", "each of the 555 specs", "2.4% to 34.6%", "median 17.9%", "8.387G total MACs", "92.9%"):
        assert part in sentence
    assert sentence in shown(2000)


def test_a_sentence_never_says_each_when_some_are_cheaper() -> None:
    found = AUDITED.second_result.model_copy(update={"dearer": 554})
    assert "554 of the 555 specs" in module._sentence(found)


def test_what_is_printed_fits_a_terminal_and_keeps_specs_whole() -> None:
    lines = shown(80).splitlines()
    assert max(map(len, lines[:20])) <= 80
    assert all(any(costs["spec"] in line for line in lines) for _, costs, _ in named_specs())


def test_json_can_hold_it() -> None:
    assert json.loads(json.dumps(FOUND, allow_nan=False)) == FOUND


def test_a_searched_model_that_is_typed_is_counted_exactly() -> None:
    typed = UNetSpec.parse("b128-n3-m1.2.2.2-a1100")
    found = plain(audit(iddpm_searched=typed))
    model = found["models"][3]
    expected = cost(typed, "iddpm").macs
    assert (model["spec"], model["macs"]) == (str(typed), expected.model_dump())
    result = found["second_result"]
    assert (result["dearer"], result["extra"]["most"]) == (1, pytest.approx(expected.total / BASELINE_TOTAL - 1))
    assert "no gain at equal compute" in result["sentence"]
    cheap = audit(iddpm_searched=UNetSpec.parse("b64-n1-m1.1.1.1-a0000")).second_result
    assert cheap.dearer == 0 and "a gain at no more compute" in cheap.sentence
    assert audit(ddpm_searched=typed).models[1].spec == str(typed)
