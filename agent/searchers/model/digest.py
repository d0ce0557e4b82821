"""What a round starts from: the memory in a page, so that context and cost stay bounded however long the search.

The chat of earlier rounds is not carried along; what they measured is. The prompt cuts text from elsewhere to one line.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sqlite_utils import Database

from diffusion.neighbourhood import neighbours
from diffusion.spec import UNetSpec, widths
from diffusion.units import format_size
from diffusion.verdicts import if_measured
from memory.directives import DirectiveRow, active_directives
from memory.queries import effect, progress, records
from memory.queries.records import Scope
from memory.replicas import said_of_seeds, seed_scores
from tools.context import SearchContext
from tools.count_flops import count
from tools.gates.directive_kinds import KINDS, described
from tools.jobs.replicate import noise_of

BEST_ROWS, RECENT_ROWS, FAILURE_ROWS, RUNNING_ROWS, DIRECTIVE_ROWS, NEAR_ROWS = 5, 4, 5, 8, 15, 8
FEWEST_FOR_ORDER = 4  # trials, before it is said whether the loss orders them as the score does
REASON_CHARACTERS = 160  # of why a trial was proposed; all of it stands in the memory
SAID_CHARACTERS = 120  # of what a directive means; all of it stands in the memory
FEWEST_FOR_EFFECT = 2  # a value seen in a single trial says nothing


def system_values(context: SearchContext, rounds: int, *, suggests: bool = False) -> dict[str, Any]:
    """The variables of the system prompt; `suggests` where there is `suggest_architectures`."""
    settings, strategy = context.limits.protocol.settings, context.limits.protocol.strategy
    return {
        "dataset": settings.dataset,
        "resolution": settings.resolution,
        "channels": settings.channels,
        "family": settings.family,
        "budget": format_size(context.limits.budget_macs),
        "convention": context.limits.convention,
        "metric": context.limits.protocol.score.metric,
        "rounds": rounds,
        "suggests": suggests,
        **space_values(context),
        "strategy": ", ".join(f"{name}={value}" for name, value in strategy.model_dump().items()),
    }


def space_values(context: SearchContext) -> dict[str, Any]:
    """What a spec is in this search: of how many stages, at which sides in pixels, with which numbers, and a member."""
    space, side = context.limits.space, context.limits.protocol.settings.resolution
    spec = space.baseline or space.middle
    return {
        "stages": space.stages,
        "sides": ", ".join(str(side >> stage) for stage in range(space.stages)),
        "space": space.choices,
        "example": {"object": json.dumps(spec.model_dump(mode="json")), "text": str(spec), "widths": spec.widths},
    }


def round_values(db: Database, context: SearchContext) -> dict[str, Any]:
    """The variables of the round prompt; of trials as much as proposers are told."""
    left = progress.remaining(db, context.search)[0]
    used = left["ledger"]["device_seconds"]
    return {
        "round": context.round_number,
        "rounds": left["rounds"],
        "metric": context.limits.protocol.score.metric,
        **(_of_no_trial(db, context) if context.limits.told == "none" else _of_trials(db, context, left["running"])),
        "directives": directive_lines(active_directives(db, context.search)),
        "remaining": f"{left['rounds_left']} rounds; used so far {used:.0f} device-seconds",
    }


def _of_no_trial(db: Database, context: SearchContext) -> dict[str, Any]:
    """What was refused in this round, so that it is not proposed again, and nothing of what was tried."""
    refused = [row for row in progress.failures(db, context.search) if row["kind"] == "refused"]
    here = [_failure(row) for row in refused if row["round"] == context.round_number]
    lacking: dict[str, Any] = {"baseline": None, "best": [], "recent": [], "noise": None, "effects": {}, "running": []}
    lacking |= {"near": [], "headroom": None, "loss_order": None}
    return {**lacking, "failures": here[:FAILURE_ROWS]}


def _of_trials(db: Database, context: SearchContext, running: list[dict[str, Any]]) -> dict[str, Any]:
    scope = context.limits.scope
    baseline = records.baseline(db, context.search)
    noise = noise_of(db, context.search)
    best = records.best(db, context.search, BEST_ROWS, scope=scope)
    return {
        "baseline": baseline and _row(context, baseline) | {"seeds": _seeds(db, context, baseline["spec"])},
        "best": [_row(context, row) for row in best],
        "near": _near(context, best[0]) if best else [],
        "headroom": _headroom(context, best[0]) if best else None,
        "loss_order": _loss_order(records.losses(db, context.search)),
        "recent": [_row(context, row) for row in records.recent(db, context.search, RECENT_ROWS)],
        "noise": noise and f"{noise.cv:.1%} ({noise.degrees_of_freedom} degrees of freedom)",
        "effects": effects(db, context.search, scope),
        "failures": [_failure(row) for row in progress.failures(db, context.search, limit=FAILURE_ROWS)],
        "running": [_running(row) for row in running if row["round"] != context.round_number][-RUNNING_ROWS:],
    }


def _seeds(db: Database, context: SearchContext, spec: str) -> str | None:
    return said_of_seeds(seed_scores(db, context.search).get(spec, []))


def _near(context: SearchContext, best: dict[str, Any]) -> list[str]:
    """The specs one step from the best that may be proposed, the dearest first, with what they cost."""
    spec, family = UNetSpec.parse(best["spec"]), context.limits.protocol.settings.family
    found = [count(context, UNetSpec.from_row(row)) for row in neighbours(context.limits.space, spec, family)]
    left = [each for each in found if each.within_budget and not (each.already_tried or each.forbidden)]
    dearest = sorted(left, key=lambda each: each.macs, reverse=True)[:NEAR_ROWS]
    return [f"{each.spec} {format_size(each.macs)}" for each in dearest]


def _headroom(context: SearchContext, best: dict[str, Any]) -> str:
    left = context.limits.budget_macs - best["macs"][context.limits.convention]
    return f"{format_size(max(left, 0))} MACs ({max(left, 0) / context.limits.budget_macs:.0%} of the budget)"


def _loss_order(pairs: Sequence[tuple[float, float]]) -> str | None:
    """How far the final loss orders the trials as the score does; None of too few."""
    losses, scores = (np.array(values) for values in zip(*pairs, strict=True)) if pairs else (np.array([]),) * 2
    if len(pairs) < FEWEST_FOR_ORDER or np.ptp(losses) == 0 or np.ptp(scores) == 0:
        return None
    return f"{spearmanr(losses, scores).statistic:.2f}"


def effects(db: Database, search: int, scope: Scope = "search") -> dict[str, str]:
    """For each width, the blocks and each attention tried at two values or more: mean score and trials by value."""
    found = {}
    for parameter, values in effect.means(db, search, scope).items():
        if len(values) > 1 and max(each.trials for each in values) >= FEWEST_FOR_EFFECT:
            found[parameter] = ", ".join(f"{each.value}: {each.mean:.4g} ({each.trials})" for each in values)
    return found


def directive_lines(active: list[DirectiveRow]) -> list[str]:
    """The limits and wishes that hold, latest first: what each means, and what was said."""
    lasting = [each for each in reversed(active) if not KINDS[each.kind].once]
    lines = [described(each)[:SAID_CHARACTERS] for each in lasting[:DIRECTIVE_ROWS]]
    more = len(lasting) - len(lines)
    return lines + ([f"and {more} older ones; query_memory with question=remaining lists all"] if more else [])


def _row(context: SearchContext, row: dict[str, Any]) -> dict[str, Any]:
    macs = row["macs"][context.limits.convention]
    return {
        "trial": row["trial"],
        "round": row["round"],
        "spec": row["spec"],
        "widths": widths(row["spec"]),
        "score": f"{row['rfid']:.4g}{if_measured(row['verdict']['baseline'], ' ({})')}",
        "macs": format_size(macs),
        "loss": "" if row["loss"] is None else f"{row['loss']:.4f}",
        "share": f"{macs / context.limits.budget_macs:.0%}",
        "params": format_size(row["params"]),
        "proposer": row["proposer"],
        "reason": (row["reason"] or "")[:REASON_CHARACTERS],
    }


def _running(row: dict[str, Any]) -> str:
    return f"trial {row['trial']} (round {row['round']}): {row['spec']}, widths {widths(row['spec'])} ({row['doing']})"


def _failure(row: dict[str, Any]) -> str:
    stopped = "stopped early, " if row["kind"] == "pruned" else ""
    what = f"{row['spec']}, widths {widths(row['spec'])}" if row["spec"] else "no valid spec"
    return f"round {row['round']}, {what}: {stopped}{row['why']}"
