"""``diffnas-agent audit``: the four models of the DiffNAS paper (arXiv 2310.04750) under both counting conventions.

Every cost is computed here by `diffusion.cost.closed_form`; the paper's own figures stand beside it with where they
were read. The ten numbers of the two searched models could not be read anywhere, so none are given: in their place
stands how many specs of the paper's space fit what is known of each, with the cheapest and the dearest of them. Who has
the paper's table types the two specs and gets their exact costs. Nothing is trained.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from agent.report.results import Result
from agent.report.tables import print_table, say, score
from diffusion.cost.closed_form import Macs, cost, costs
from diffusion.settings import Family
from diffusion.space import built_in
from diffusion.spec import PAPER_PARAMETERS, UNetSpec
from diffusion.units import format_size

SPENT = 0.95  # of its budget a searched model is taken to use at least this part: an assumption of ours, not a figure

FULL_RESOLUTION = PAPER_PARAMETERS.index("attn_0")
GAIN = 0.37  # in FID over the IDDPM baseline (abstract of arXiv 2310.04750)

SOURCES = {
    "DDPM baseline, ten numbers": "Ho et al. 2020, Appendix B (CIFAR-10)",
    "DDPM baseline, 6.06G FLOPs": "the budget of arXiv 2310.04750; taken over from docs/design.md",
    "IDDPM baseline, ten numbers": "Nichol & Dhariwal 2021, CIFAR-10; flags and defaults of openai/improved-diffusion",
    "IDDPM searched, FID 2.82": "arXiv 2310.04750, abstract",
    "IDDPM baseline, FID 3.19": "arXiv 2310.04750, abstract: 2.82 is an improvement of 0.37 over it",
    "IDDPM searched, attention at full resolution": "arXiv 2310.04750; taken over, its table was not available",
    "space of the searched models": "arXiv 2310.04750, Section IV-A",
}
MISSING = (
    "the ten numbers of both searched models",
    "FLOPs of both searched models and of the IDDPM baseline",
    "params of all four models",
    "FID of both DDPM models",
)


@dataclass(frozen=True)
class PaperModel:
    """One of the four models: what is known of it, and the figures that the paper prints (None: could not be read)."""

    name: str
    family: Family
    spec: str | None
    flops: int | None
    fid: float | None


DDPM_BUDGET = 6_060_000_000
DDPM = PaperModel("DDPM baseline", "ddpm", "b128-n2-m1.2.2.2-a0100", DDPM_BUDGET, None)
DDPM_SEARCHED = PaperModel("DDPM searched", "ddpm", None, None, None)
IDDPM = PaperModel("IDDPM baseline", "iddpm", "b128-n3-m1.2.2.2-a0110", None, 3.19)
IDDPM_SEARCHED = PaperModel("IDDPM searched", "iddpm", None, None, 2.82)


class Network(Result):
    """A spec with its cost at 32×32×3; `attention_share` is what QKᵀ and AV are of the total."""

    spec: str
    params: int
    macs: Macs
    attention_share: float


class Candidates(Result):
    """What a model whose ten numbers are not known can be: the specs of the space that fit what is known of it."""

    count: int
    of: int
    known: str
    macs_paper: tuple[int, int]
    least: Network
    most: Network


class Printed(Result):
    """The figures that the paper prints; None: could not be read."""

    flops: int | None
    fid: float | None


class AuditedModel(Result):
    """One of the four models: the costs of its spec, or its candidates in their place."""

    model: str
    family: Family
    spec: str | None
    params: int | None
    macs: Macs | None
    attention_share: float | None
    printed: Printed
    candidates: Candidates | None


class Extra(Result):
    """Relative differences from the baseline's total MACs."""

    least: float
    median: float
    most: float


class SecondResult(Result):
    """What the searched IDDPM model costs beyond its baseline under ``total``.

    `break_even` is the largest part of the baseline's paper MACs that a spec with attention at full resolution has
    while its total is not above the baseline's: each one of the space that has more, candidate or not, is dearer.
    """

    extra: Extra
    candidates: int
    dearer: int
    break_even: float | None
    baseline_macs: Macs
    sentence: str = ""


class Audit(Result):
    """``audit --json``."""

    models: list[AuditedModel]
    """four objects: `model`, `family`, `spec`, `params`, `macs`, `attention_share`, what the paper has `printed`, and,
    where the spec is not known, `candidates` in its place"""
    second_result: SecondResult
    """what the searched IDDPM model costs beyond its baseline; `sentence` says it"""
    sources: dict[str, str]
    """for each figure of the paper, where it is from"""
    missing: list[str]
    """figures of the paper that were not available"""


def audit(ddpm_searched: UNetSpec | None = None, iddpm_searched: UNetSpec | None = None) -> Audit:
    """The four models, what follows for the paper's second result, sources, and what is missing.

    A searched model whose ten numbers are given is counted like the baselines.
    """
    return Audit(
        models=[
            _known(DDPM),
            _known(replace(DDPM_SEARCHED, spec=str(ddpm_searched)))
            if ddpm_searched
            else _searched(DDPM_SEARCHED, DDPM_BUDGET, lambda rows: np.ones(len(rows), bool), "any attention or none"),
            _known(IDDPM),
            _known(replace(IDDPM_SEARCHED, spec=str(iddpm_searched)))
            if iddpm_searched
            else _searched(IDDPM_SEARCHED, _baseline().paper, _at_full_resolution, "attention at full resolution"),
        ],
        second_result=second_result_of(iddpm_searched) if iddpm_searched else second_result(),
        sources=SOURCES,
        missing=list(MISSING),
    )


def _known(model: PaperModel) -> AuditedModel:
    assert model.spec is not None, f"the spec of {model.name} is known"
    return _audited(model, None, **dict(_network(UNetSpec.parse(model.spec), model.family)))


def _audited(model: PaperModel, candidates: Candidates | None, **costs: Any) -> AuditedModel:
    """A model; without costs where its spec is not known."""
    printed = Printed(flops=model.flops, fid=model.fid)
    without = dict.fromkeys(Network.model_fields)
    return AuditedModel(
        model=model.name, family=model.family, printed=printed, candidates=candidates, **(without | costs)
    )


def _network(spec: UNetSpec, family: Family) -> Network:
    found = cost(spec, family)
    share = 1 - found.macs.paper / found.macs.total
    return Network(spec=str(spec), params=found.params, macs=found.macs, attention_share=share)


def _searched(
    model: PaperModel, budget: int, fits: Callable[[NDArray[np.int64]], NDArray[np.bool_]], known: str
) -> AuditedModel:
    """A model whose ten numbers are not known: the specs of the space that fit what is, and spend their budget."""
    rows = built_in("images-32").rows()  # (S, 10)
    counts = costs(rows, model.family)
    members = np.flatnonzero(fits(rows) & (counts.macs_paper >= SPENT * budget) & (counts.macs_paper <= budget))
    order = members[np.argsort(counts.macs_total[members], kind="stable")]
    least, most = (_network(UNetSpec.from_row(rows[index]), model.family) for index in order[[0, -1]])
    candidates = Candidates(
        count=len(order),
        of=built_in("images-32").size,
        known=known,
        macs_paper=(int(np.ceil(SPENT * budget)), budget),
        least=least,
        most=most,
    )
    return _audited(model, candidates)


def _baseline() -> Macs:
    return cost(UNetSpec.parse(IDDPM.spec or ""), "iddpm").macs


def _at_full_resolution(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which specs have attention at stage 0.  (S, 10) → (S,)"""
    return np.asarray(rows[:, FULL_RESOLUTION] == 1)


def second_result_of(searched: UNetSpec) -> SecondResult:
    """What a searched IDDPM model, whose ten numbers are known, costs beyond its baseline under both conventions."""
    baseline, found = _baseline(), cost(searched, "iddpm").macs
    paper, total = found.paper / baseline.paper - 1, found.total / baseline.total - 1
    dearer = "no gain at equal compute" if total > 0 else "a gain at no more compute"
    return SecondResult(
        extra=Extra(least=total, median=total, most=total),
        candidates=1,
        dearer=int(total > 0),
        break_even=None,
        baseline_macs=baseline,
        sentence=f"The searched IDDPM model's {GAIN} FID over its baseline is {dearer}: {searched} differs by "
        f"{paper:+.1%} from the baseline's {format_size(baseline.paper)} paper MACs, and by {total:+.1%} from its "
        f"{format_size(baseline.total)} total MACs.",
    )


def second_result() -> SecondResult:
    """What the searched IDDPM model costs beyond its baseline under ``total``, over every spec that it can be."""
    baseline = _baseline()
    rows = built_in("images-32").rows()
    rows = rows[_at_full_resolution(rows)]
    counts = costs(rows, "iddpm")
    part = counts.macs_paper / baseline.paper
    extra = (counts.macs_total / baseline.total - 1)[(part >= SPENT) & (part <= 1)]
    found = SecondResult(
        extra=Extra(least=float(extra.min()), median=float(np.median(extra)), most=float(extra.max())),
        candidates=len(extra),
        dearer=int((extra > 0).sum()),
        break_even=float(part[counts.macs_total <= baseline.total].max()),
        baseline_macs=baseline,
    )
    return found.model_copy(update={"sentence": _sentence(found)})


def _sentence(found: SecondResult) -> str:
    extra, baseline = found.extra, found.baseline_macs
    who = "each" if found.dearer == found.candidates else f"{found.dearer:,}"
    return (
        f"The searched IDDPM model's {GAIN} FID over its baseline is no gain at equal compute: with attention at full "
        f"resolution and {SPENT:.0%} to 100% of the baseline's {format_size(baseline.paper)} paper MACs, {who} of "
        f"the {found.candidates:,} specs that it can be costs {extra.least:.1%} to {extra.most:.1%} (median "
        f"{extra.median:.1%}) more than the baseline's {format_size(baseline.total)} total MACs, and no spec of "
        f"the space with such attention and more than {found.break_even:.1%} of those paper MACs costs less."
    )


def print_audit(console: Console, found: Audit) -> None:
    """The models as a table, a searched one as its cheapest and its dearest candidate; then what follows from it."""
    rows = [line for model in found.models for line in _lines(model)]
    columns = ("model", "spec", "params", "paper", "total", "attn", "FLOPs*", "FID*")
    print_table(console, columns, rows, right=",".join(columns[2:]))
    say(console, "paper, total: MACs by either convention; attn: QKᵀ and AV in the total; *: as the paper prints it.")
    for model in found.models:
        if candidates := model.candidates:
            low, high = map(format_size, candidates.macs_paper)
            say(
                console,
                f"{model.model}: its ten numbers are not available; the two rows are the cheapest and the dearest, "
                f"in total, of the {candidates.count:,} specs of the paper's space (of {candidates.of:,}) that "
                f"have {candidates.known} and {low} to {high} paper MACs ({SPENT:.0%} to 100% of the budget, an "
                "assumption).",
            )
    say(console, f"\n{found.second_result.sentence}")
    say(console, f"\nNot available: {'; '.join(found.missing)}.")
    for figure, source in found.sources.items():
        say(console, f"{figure}: {source}.")


def _lines(model: AuditedModel) -> list[tuple[str, ...]]:
    printed = model.printed
    printed_too = ("–" if printed.flops is None else format_size(printed.flops), score(printed.fid))
    if (candidates := model.candidates) is None:
        return [(model.model, *_line(Network.model_validate(model, from_attributes=True)), *printed_too)]
    return [
        (f"{model.model}, {word}", *_line(network), *printed_too)
        for network, word in ((candidates.least, "at least"), (candidates.most, "at most"))
    ]


def _line(network: Network) -> tuple[str, ...]:
    return (
        network.spec,
        format_size(network.params),
        format_size(network.macs.paper),
        format_size(network.macs.total),
        f"{network.attention_share:.1%}",
    )
