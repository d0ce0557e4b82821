"""The tool that tells what the surrogate of the search would try next, and how far that is to be trusted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from diffusion.neighbourhood import neighbours
from diffusion.networks import Networks, networks
from diffusion.settings import Family
from diffusion.spec import Rows, SpecField, UNetSpec, stages_of
from diffusion.statistics.surrogate import FEWEST, LEVEL, Surrogate, features
from memory.queries.so_far import TrialSoFar
from tools.arguments import Arguments, Runtime, model_tool
from tools.context import SearchContext
from tools.gates.facts import Mask
from tools.gates.feasible import Feasible, feasible
from tools.suggestions import Suggestion, as_percent, covered, networks_of, round_generator, suggest

if TYPE_CHECKING:
    from tools.generation import Generated

MOST = 20
NEAR = 2  # doublings of a width or the blocks, and changed attentions: from here on it is another network
NARROWED = "Nothing that may be proposed is like that; ask again without near, away or generate."
CALIBRATED = (0.8, 0.97)  # coverage of 90 % intervals by a dozen scores or more: what chance leaves of a true 90 %


class Predicted(BaseModel):
    """What the surrogate expects of a network."""

    score: float
    low90: float
    high90: float
    expected_improvement: str


class Candidate(BaseModel):
    """A network to try, what is expected of it, what it costs, and how far it is from what was tried."""

    spec: str
    widths: str
    predicted: Predicted | None
    macs: int
    share_of_budget: float
    params: int
    novelty: float | None
    nearest_trial: int | None
    predicted_rank: str | None = None  # of what was generated: 1 is the best of what was tried, 0 the worst


class Effect(BaseModel):
    """What one step from the best network would do to its score, by the surrogate: a factor below 1 is better."""

    step: str
    score_times: float
    low90: float
    high90: float
    says: str


class Knowledge(BaseModel):
    """The surrogate in words: how far its intervals can be trusted, and what it has learned of each number."""

    scores: int
    calibration: str
    noise: str
    reach: str
    best: str
    effects: list[Effect]


class Suggested(BaseModel):
    """What `suggest_architectures` gives."""

    note: str
    suggestions: list[Candidate]
    surrogate: Knowledge | None = None


class SuggestArguments(Arguments):
    """What `suggest_architectures` takes."""

    count: Annotated[int, Field(ge=1, le=MOST, description="how many candidates to give")] = 5
    near: Annotated[
        SpecField | None,
        Field(description=f"only networks at most {NEAR} doublings or changed attentions from this spec"),
    ] = None
    away: Annotated[SpecField | None, Field(description=f"only networks more than {NEAR} of them from this spec")] = (
        None
    )
    generate: Annotated[
        bool, Field(description="take candidates from the generator, guided by ranks, instead of everything feasible")
    ] = False


def suggested(
    context: SearchContext,
    count: int = 5,
    near: UNetSpec | None = None,
    away: UNetSpec | None = None,
    generate: bool = False,
) -> Suggested:
    """The candidates of this round, the one that the searcher `gp` would propose first, and what is known so far."""
    open_now, rng = feasible(context), round_generator(context.jobs.seed, context.round_number)
    trials, family = open_now.told, context.limits.protocol.settings.family
    rows, ranks = _generated(context, open_now, rng) if generate else (open_now.rows, {})
    rows = rows[_within(rows, near, family, otherwise=True) & ~_within(rows, away, family, otherwise=False)]
    found, surrogate = suggest(trials, rows, family, rng, count)
    is_narrowed = generate or near is not None or away is not None
    return Suggested(
        note=NARROWED if is_narrowed and not found else _note(found, surrogate, trials),
        suggestions=[_candidate(context, each, trials, ranks.get(each.spec)) for each in found],
        surrogate=None if surrogate is None else _knowledge(context, surrogate, trials),
    )


def _generated(
    context: SearchContext, open_now: Feasible, rng: np.random.Generator
) -> "tuple[Rows, dict[UNetSpec, Generated]]":
    """What the generator makes of the trials and may be proposed, with the rank that its predictor gives each."""
    from tools.generation import proposals  # torch is not needed where nothing is generated

    found = proposals(context.limits, open_now.told, open_now.allows, rng)
    return found.rows, {each.spec: each for each in found.ranked}


def _within(rows: Rows, spec: UNetSpec | None, family: Family, *, otherwise: bool) -> Mask:
    """Which rows are near a spec; all or none where there is none, or where its stages do not compare."""
    if spec is None or not len(rows) or spec.stages != stages_of(rows):
        return np.full(len(rows), otherwise)
    return np.asarray(_apart(networks(rows, family), spec, family) <= NEAR + 1e-9)  # doublings are sums of logarithms


def _apart(others: Networks, spec: UNetSpec, family: Family) -> NDArray[np.float64]:
    """How many doublings of widths or blocks and changed attentions each network is away from a spec.  (N,)"""
    here = features(networks(np.array([spec.row], dtype=np.int64), family))
    return np.asarray(np.abs(features(others) - here).sum(axis=1))


def _note(found: Sequence[Suggestion], surrogate: Surrogate | None, trials: Sequence[TrialSoFar]) -> str:
    if not found:
        return "Nothing is left: every network that budget, limits and directives allow was tried or refused."
    if surrogate is None:
        scores = sum(trial.state == "scored" for trial in trials)
        return f"There are {scores} scores and a surrogate needs {FEWEST}: these are random feasible networks."
    return "Ordered by expected improvement over everything feasible; intervals include the noise of a training."


def _candidate(
    context: SearchContext, suggestion: Suggestion, trials: Sequence[TrialSoFar], generated: "Generated | None"
) -> Candidate:
    spec, forecast = suggestion
    cost, limits = context.limits.cost(spec), context.limits
    macs = cost.macs.by(limits.convention)
    distance, nearest = _nearest(context, spec, trials)
    return Candidate(
        spec=str(spec),
        widths=spec.widths,
        predicted=forecast
        and Predicted(
            score=_short(forecast.score),
            low90=_short(forecast.low),
            high90=_short(forecast.high),
            expected_improvement=as_percent(forecast.improvement),
        ),
        macs=macs,
        share_of_budget=round(macs / limits.budget_macs, 4),
        params=cost.params,
        novelty=distance,
        nearest_trial=nearest,
        predicted_rank=generated and generated.said,
    )


def _nearest(context: SearchContext, spec: UNetSpec, trials: Sequence[TrialSoFar]) -> tuple[float | None, int | None]:
    """How many doublings of widths or blocks and changed attentions the nearest trial is away, and which it is."""
    if not trials:
        return None, None
    family = context.limits.protocol.settings.family
    apart = _apart(networks_of(trials, family), spec, family)
    place = int(np.argmin(apart))
    return round(float(apart[place]), 2), trials[place].trial


def _knowledge(context: SearchContext, surrogate: Surrogate, trials: Sequence[TrialSoFar]) -> Knowledge:
    family = context.limits.protocol.settings.family
    scored = [trial for trial in trials if trial.state == "scored"]
    means = surrogate.predict(networks_of(scored, family)).mean
    best = scored[int(np.argmin(means))]
    return Knowledge(
        scores=int(surrogate.measured.sum()),
        calibration=_calibration(surrogate),
        noise=f"training again moves a score by about {as_percent(surrogate.noise_std)}, as the surrogate has it",
        reach=f"two networks that differ by one doubling or attention go together with correlation "
        f"{surrogate.correlation(1):.2f}, by four with {surrogate.correlation(4):.2f}; the length is the same for "
        "every number",
        best=f"trial {best.trial}, {best.spec} (widths {best.spec.widths}): scored {best.score:.4g}, believed "
        f"{np.exp(means.min()):.4g}",
        effects=_effects(context, surrogate, best.spec),
    )


def _calibration(surrogate: Surrogate) -> str:
    share, (low, high) = surrogate.left_one_out().coverage(LEVEL), CALIBRATED
    judged = "too sure of itself" if share < low else "more careful than it need be" if share > high else "calibrated"
    return f"{covered(surrogate)}: {judged}"


def _effects(context: SearchContext, surrogate: Surrogate, best: UNetSpec) -> list[Effect]:
    """What each step from the best would do, the most promising first."""
    family = context.limits.protocol.settings.family
    near = neighbours(context.limits.space, best, family)
    if not len(near):
        return []
    here = networks(np.array([best.row], dtype=np.int64), family)
    there = networks(near, family)
    change = surrogate.difference(there, here)
    low, high = change.interval(LEVEL)
    return [
        Effect(
            step=_step(here[0].tolist(), there[place].tolist(), stages_of(near)),
            score_times=_short(np.exp(change.mean[place])),
            low90=_short(np.exp(low[place])),
            high90=_short(np.exp(high[place])),
            says="better" if high[place] < 0 else "worse" if low[place] > 0 else "not clear yet",
        )
        for place in np.argsort(change.mean, kind="stable")
    ]


def _step(here: list[int], there: list[int], stages: int) -> str:
    """Which numbers of a network change: ``width of stage 1: 32 → 48``."""
    names = [
        "blocks",
        *(f"width of stage {stage}" for stage in range(stages)),
        *(f"attention at stage {stage}" for stage in range(stages)),
        "width of a head",
    ]
    changed = [f"{name}: {old} → {new}" for name, old, new in zip(names, here, there, strict=True) if old != new]
    widths = [".".join(map(str, each[1 : 1 + stages])) for each in (here, there)]
    return changed[0] if len(changed) == 1 else f"widths: {widths[0]} → {widths[1]}"  # with another base


def _short(value: float) -> float:
    """Four digits: more would only look exact."""
    return float(f"{value:.4g}")


@model_tool("suggest_architectures", SuggestArguments)
def suggest_architectures(
    runtime: Runtime,
    count: int = 5,
    near: UNetSpec | None = None,
    away: UNetSpec | None = None,
    generate: bool = False,
) -> tuple[str, dict[str, object]]:
    """Ask the surrogate of this search which networks to try next, and how sure it is; it costs nothing.

    A Gaussian process over the widths, blocks and attention of what was tried predicts the score of every network that
    is within the budget, the limits and the user's directives and was not tried. Gives the candidates of the largest
    expected improvement first, each with its spec, the width of each stage, the predicted score with a 90 % interval
    (lower is better), its cost and share of the budget, and its novelty: doublings and changed attentions to the
    nearest trial. Also says how well its intervals covered the scores so far, and what one step from the best network
    would do. With fewer than five scores the candidates are random. Say near or away to have them close to a spec or
    far from it; with generate they come from a diffusion model over architectures that the ranks of the trials guide,
    and each has its predicted rank. Propose one with train_ract, or depart from them
    where you know something that the surrogate cannot, and say why.
    """
    result = suggested(runtime.context, count, near, away, generate)
    return result.model_dump_json(exclude_none=True), result.model_dump(mode="json")
