"""``diffnas-agent audit``: the four models of the DiffNAS paper (arXiv 2310.04750) under both counting conventions.

Specs, FLOPs and FIDs are those that the paper prints, with where they stand in it; every cost beside them is computed
here by `diffusion.cost.closed_form`. Nothing is trained.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from rich.console import Console

from agent.report.results import Result
from agent.report.tables import print_table, say
from diffusion.cost.closed_form import Macs, cost
from diffusion.settings import Family
from diffusion.spec import UNetSpec
from diffusion.units import format_size, parse_size

PRINTED_TO = 10_000_000  # MACs: the paper prints them in G with two digits after the point

SOURCES = {
    "DDPM baseline": "Section V-B: ten numbers, 6.06G, FID 3.17; Table I has the same two figures",
    "DDPM searched": "Section V-B: ten numbers, 5.36G, FID 2.90; Table I has the same two figures",
    "IDDPM baseline": "Section V-C: ten numbers, FID 3.19, 8.14 and 8.137G; Table I has 8.14G",
    "IDDPM searched": "Section V-C: ten numbers, 7.13G, FID 2.82; Table I has the same two figures",
}
MISSING = (
    "params of the four models",
    "what its FLOPs count",
    "seeds, repeats or intervals of the FIDs, and the reference images",
)


@dataclass(frozen=True)
class PaperModel:
    """One of the four models as the paper prints it."""

    name: str
    family: Family
    spec: str
    flops: str
    fid: float


DDPM = PaperModel("DDPM baseline", "ddpm", "b128-n2-m1.2.2.2-a0100", "6.06G", 3.17)
DDPM_SEARCHED = PaperModel("DDPM searched", "ddpm", "b96-n3-m1.2.3.3-a0101", "5.36G", 2.90)
IDDPM = PaperModel("IDDPM baseline", "iddpm", "b128-n3-m1.2.2.2-a0110", "8.14G", 3.19)
IDDPM_SEARCHED = PaperModel("IDDPM searched", "iddpm", "b96-n4-m1.2.3.3-a1110", "7.13G", 2.82)
MODELS = (DDPM, DDPM_SEARCHED, IDDPM, IDDPM_SEARCHED)


class Fit(Result):
    """A way to count that comes to a printed figure."""

    family: Family
    count: Literal["paper", "total"]


class Printed(Result):
    """The figures that the paper prints, and which counts of the spec round to its FLOPs."""

    flops: int
    fid: float
    fits: list[Fit]


class AuditedModel(Result):
    """One of the four models with its costs at 32×32×3; `attention_share` is what QKᵀ and AV are of the total."""

    model: str
    family: Family
    spec: str
    params: int
    macs: Macs
    attention_share: float
    printed: Printed


class Change(Result):
    """A searched model against its baseline; costs as parts of the baseline's, FID as a difference."""

    family: Family
    paper: float
    total: float
    params: float
    fid: float
    sentence: str


class Audit(Result):
    """``audit --json``."""

    models: list[AuditedModel]
    """four objects: `model`, `family`, `spec`, `params`, `macs`, `attention_share`, and what the paper has `printed`:
    `flops`, `fid`, and which counts of the spec, as `family` and `count`, are rounded to these `flops`: `fits`"""
    changes: list[Change]
    """for `family` `ddpm` and `iddpm` what the searched model is against its baseline: `paper`, `total` and `params` as
    relative differences, `fid` as a difference, and a `sentence` that says it"""
    sources: dict[str, str]
    """for each model, where the paper prints it"""
    missing: list[str]
    """what the paper does not print"""


def audit() -> Audit:
    """The four models, what the searched ones are against their baselines, sources, and what is not printed."""
    return Audit(
        models=[_audited(model) for model in MODELS],
        changes=[change(DDPM, DDPM_SEARCHED), change(IDDPM, IDDPM_SEARCHED)],
        sources=SOURCES,
        missing=list(MISSING),
    )


def _audited(model: PaperModel) -> AuditedModel:
    found = cost(UNetSpec.parse(model.spec), model.family)
    return AuditedModel(
        model=model.name,
        family=model.family,
        spec=model.spec,
        params=found.params,
        macs=found.macs,
        attention_share=1 - found.macs.paper / found.macs.total,
        printed=Printed(flops=parse_size(model.flops), fid=model.fid, fits=fits(model)),
    )


def fits(model: PaperModel) -> list[Fit]:
    """Which counts of a spec are rounded to the printed FLOPs: as either family's network, by either convention."""
    families: tuple[Family, ...] = get_args(Family)
    found = []
    for family in families:
        macs = cost(UNetSpec.parse(model.spec), family).macs.model_dump()
        found += [
            Fit.model_validate({"family": family, "count": count})
            for count, value in macs.items()
            if abs(value - parse_size(model.flops)) <= PRINTED_TO / 2
        ]
    return found


def change(baseline: PaperModel, searched: PaperModel) -> Change:
    """What a searched model is against its baseline, under both conventions."""
    before, after = (cost(UNetSpec.parse(model.spec), model.family) for model in (baseline, searched))
    pairs = {
        "paper": (before.macs.paper, after.macs.paper),
        "total": (before.macs.total, after.macs.total),
        "params": (before.params, after.params),
    }
    parts: dict[str, Any] = {name: new / old - 1 for name, (old, new) in pairs.items()}
    amounts = ", ".join(
        f"{_more_or_less(parts[name])} {name}{'' if name == 'params' else ' MACs'} "
        f"({format_size(new)} for {format_size(old)})"
        for name, (old, new) in pairs.items()
    )
    fid = round(searched.fid - baseline.fid, 2)
    then = "dearer than its own baseline" if parts["total"] > 0 else "cheaper than its baseline, too"
    sentence = f"{searched.name}: {fid:+.2f} FID as printed, at {amounts}; by total it is {then}."
    return Change(family=searched.family, **parts, fid=fid, sentence=sentence)


def _more_or_less(part: float) -> str:
    return f"{abs(part):.1%} {'more' if part > 0 else 'fewer'}"


def print_audit(console: Console, found: Audit) -> None:
    """The models as a table; then what follows from it, what the printed figures count, and what is not printed."""
    rows = [
        (
            model.model,
            model.spec,
            format_size(model.params),
            format_size(model.macs.paper),
            format_size(model.macs.total),
            f"{model.attention_share:.1%}",
            format_size(model.printed.flops),
            f"{model.printed.fid:.2f}",
        )
        for model in found.models
    ]
    columns = ("model", "spec", "params", "paper", "total", "attn", "FLOPs*", "FID*")
    print_table(console, columns, rows, right=",".join(columns[2:]))
    say(console, "paper, total: MACs by either convention; attn: QKᵀ and AV in the total; *: as the paper prints it.\n")
    for each in found.changes:
        say(console, each.sentence)
    say(console, f"\n{_what_fits(found.models)}")
    say(console, f"\nNot printed: {'; '.join(found.missing)}.")
    for name, source in found.sources.items():
        say(console, f"{name}: {source}.")


def _what_fits(models: list[AuditedModel]) -> str:
    """Which way to count is rounded to the printed FLOPs of which models."""
    ways = []
    for count in ("paper", "total"):
        for family in get_args(Family):
            fit = Fit.model_validate({"family": family, "count": count})
            fitting = [model.model for model in models if fit in model.printed.fits]
            who = "all" if len(fitting) == len(models) else ", ".join(fitting) or "none"
            ways.append(f"{count} MACs of the spec as {family} for {who}")
    return f"Rounded, FLOPs* is {'; '.join(ways)}."
