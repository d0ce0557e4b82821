"""docs/paper.md has a row for each equation, table and figure, and its figures are those that the code computes."""

import re
from pathlib import Path
from typing import Any

import pytest

from agent.report.audit import audit
from agent.study.printed import TABLE_2
from diffusion.cost.closed_form import cost
from diffusion.process import NoiseProcess, betas
from diffusion.spec import UNetSpec
from diffusion.units import format_size

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "paper.md").read_text(encoding="utf-8")
BATCH = 128
BASELINE = "b128-n2-m1.2.2.2-a0100"
GPU_FLOPS = 60e12  # assumed, as the page says
IMAGES, STEPS = 50_000, 100  # of a score


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    body = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def number(text: str) -> float:
    return float(text.replace(",", ""))


def cpu_images_a_second() -> float:
    """Of DDPM's network, as docs/benchmarks.md has it."""
    found = re.search(r"ours, fp32 \| ([\d.]+) images/s", (DOCS / "benchmarks.md").read_text(encoding="utf-8"))
    assert found
    return float(found[1])


def total(spec: str, what: str) -> int:
    return cost(UNetSpec.parse(spec.strip("`")), "iddpm" if re.search(r"IDDPM|Table II", what) else "ddpm").macs.total


def test_every_equation_table_and_figure_has_a_row() -> None:
    assert [row[0] for row in rows("Equations")] == [f"Eq. {number}" for number in range(1, 15)]
    assert [row[0].partition(":")[0] for row in rows("Tables and figures")] == [
        "Table I",
        "Table II",
        "Fig. 1",
        "Fig. 2",
    ]


def test_no_row_of_a_table_is_shorter_than_its_head() -> None:
    for heading, columns in (("Claims", 4), ("Equations", 4), ("Tables and figures", 4), ("What it would take", 6)):
        assert {len(row) for row in rows(heading)} == {columns}, heading


@pytest.mark.parametrize(("equation", "form"), [(3, "σ_t² = β_t"), (4, "√ᾱ_t x_0"), (5, "√(1 − ᾱ_t)"), (12, "P_i")])
def test_a_misprinted_equation_is_named_with_its_right_form(equation: int, form: str) -> None:
    cell = rows("Equations")[equation - 1][2]
    assert "**" in cell and form in cell


def test_what_equation_three_prints_is_not_the_deviation_of_a_reverse_step() -> None:
    cell = rows("Equations")[2][2]
    process = NoiseProcess.make("linear", 1000)
    printed, right = (1 - process.alphas_cumprod[499]).sqrt().item(), betas("linear", 1000)[499] ** 0.5
    assert f"{printed:.2f} at t = 500" in cell and f"has {right:.2f}" in cell


@pytest.mark.parametrize("model", audit().models, ids=lambda model: model.model)
def test_the_four_models_are_those_of_the_audit(model: Any) -> None:
    (row,) = [row for row in rows("What the four models cost") if row[0] == model.model]
    counts = [model.params, model.macs.paper, model.macs.total, model.printed.flops]
    assert row[1:] == [f"`{model.spec}`", *map(format_size, counts), f"{model.printed.fid:.2f}"]


def test_the_changes_of_the_searched_models_are_those_of_the_audit() -> None:
    text = " ".join(PAGE.split())
    ddpm, iddpm = audit().changes
    assert f"{iddpm.total:.1%}".replace("%", " %") + " dearer than its own baseline" in text
    for part in (iddpm.paper, iddpm.params, ddpm.paper, ddpm.total, ddpm.params):
        assert f"{abs(part):.1%}".replace("%", " %") in text


@pytest.mark.parametrize("row", rows("What it would take"), ids=lambda row: row[0][:40])
def test_hours_follow_from_images_macs_and_the_measured_throughput(row: list[str]) -> None:
    trainings, steps = map(number, row[1].split(" × "))
    images, macs = trainings * steps * BATCH, total(row[2], row[0])
    assert row[3] == f"{images / 1e6:.1f}M"
    seconds = images * macs / (cpu_images_a_second() * total(BASELINE, "DDPM baseline"))
    assert row[4] == f"{seconds / 3600:,.0f}"
    assert row[5] == f"{images * macs * 6 / GPU_FLOPS / 3600:.1f}"


def test_hours_of_a_score_follow_too() -> None:
    text = " ".join(PAGE.split())
    passes = IMAGES * STEPS
    slow, fast = [], []
    for spec, what in ((BASELINE, "DDPM"), ("b128-n3-m1.2.2.2-a0110", "IDDPM")):
        macs = total(spec, what)
        slow.append(passes * macs / (3 * cpu_images_a_second() * total(BASELINE, "DDPM")) / 3600)
        fast.append(passes * macs * 2 / GPU_FLOPS / 3600)
    assert f"{slow[0]:.0f} hours on these cores for DDPM's network and {slow[1]:.0f} for IDDPM's" in text
    assert f"{fast[0]:.2f} and {fast[1]:.2f} at 60 TFLOP/s" in text


def test_the_rows_of_table_two_in_docs_are_as_printed() -> None:
    text = (DOCS / "ranking.md").read_text(encoding="utf-8")
    for row in TABLE_2:
        (line,) = [
            line
            for line in text.splitlines()
            if line.startswith(f"| paper: {row.strategy} ") and f"{row.train_steps:,}" in line
        ]
        assert line.endswith(f"| {row.spearman} | {row.kendall} | {row.pearson} |")
