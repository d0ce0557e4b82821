"""Trials, failures and all about one trial, as `memory` shows them to scripts and to people."""

from collections.abc import Iterable
from typing import Any, Literal

from rich.console import Console

from agent.report.results import Result
from agent.report.tables import how_scored, print_table, say, score
from agent.report.words import NO_FAILURE, NO_SCORE
from diffusion.cost.closed_form import Macs
from diffusion.settings import Family, Protocol, Strategy
from diffusion.spec import widths
from diffusion.units import format_size, printable
from diffusion.verdicts import Answer
from memory.replicas import said_of_seeds


class Answers(Result):
    """What a score is against the baseline's, and against the best one that was there before."""

    baseline: Answer
    incumbent: Answer


class TrialRow(Result):
    """A trial; ``memory top --json`` is a list of these, best first."""

    trial: int
    """id of the trial"""
    search: int
    """id of its search"""
    round: int
    """its round"""
    spec: str
    """its spec"""
    family: Family
    """`ddpm` or `iddpm`"""
    dataset: str
    """the data set's word"""
    rfid: float | None
    """its score"""
    metric: str | None
    """name of the score"""
    params: int
    """its parameters"""
    protocol: str
    """fingerprint of the protocol"""
    seed: int
    """seed of its training"""
    state: str
    """`scored`"""
    proposer: str
    """who proposed it"""
    reason: str | None
    """the proposer's sentence"""
    device_seconds: float
    """seconds of training"""
    error: str | None
    """`null` for a scored trial"""
    created: str
    """when it began"""
    macs: Macs
    """its cost under both conventions"""
    cached: bool
    """whether its training was there before"""
    loss: float | None
    """of its last step"""
    train: str
    """`rapid`"""
    ci95: tuple[float, float] | None
    """`[low, high]`, or `null`"""
    verdict: Answers
    """`{"baseline": …, "incumbent": …}`: `better`, `worse`, `inconclusive` or `unmeasured`"""


class ShownTrial(TrialRow):
    """``memory show --json``; rows are objects with the columns of their table."""

    search_name: str
    """name of its search"""
    finished: str | None
    """when it was scored, failed or pruned, or `null`"""
    proposal: dict[str, Any]
    """its row of `proposals`"""
    training: dict[str, Any]
    """its row of `trainings`, `strategy` and `settings` as objects"""
    loss_curve: list[tuple[int, float]]
    """how its loss went, as `[step, loss]`, at most 200 points; empty of a training before curves were kept"""
    scores: list[dict[str, Any]]
    """its rows of `scores` under every protocol, `extra` as an object"""
    seed_scores: list[float | None]
    """its score and those of its replicas, by training seed; `null` of one that failed"""
    protocol_content: dict[str, Any]
    """what the fingerprint stands for: `data_fingerprint`, `settings`, `strategy`, `score`"""


class FailureRow(Result):
    """A trial without a score, or a proposal that was refused; ``memory failures --json`` is a list of these."""

    kind: Literal["failed", "pruned", "refused"]
    """`failed` or `pruned` (a trial), or `refused` (a proposal)"""
    round: int
    """its round"""
    trial: int | None
    """id of the trial, or `null`"""
    proposal: int
    """id of the proposal"""
    spec: str | None
    """its spec, or `null`"""
    proposer: str
    """who proposed it"""
    why: str | None
    """the reason"""
    refusal_kind: str | None
    """class of the refusal, or `null`; see [refusals](memory.md#refusals)"""
    created: str
    """when"""


def trial_rows(records: Iterable[dict[str, Any]]) -> list[TrialRow]:
    """Those of records."""
    return [TrialRow(**record) for record in records]


def print_top(console: Console, found: list[TrialRow]) -> None:
    """Trials in their order, with the protocol that makes them comparable; the baseline is its own proposer."""
    if not found:
        say(console, NO_SCORE)
        return
    rows = [
        (
            row.trial,
            row.spec,
            widths(row.spec),
            score(row.rfid),
            f"{format_size(row.macs.paper)}/{format_size(row.macs.total)}",
            format_size(row.params),
            row.proposer + (" (cached)" if row.cached else ""),
        )
        for row in found
    ]
    columns = ("trial", "spec", "widths", "score", "MACs paper/total", "params", "proposed by")
    print_table(console, columns, rows, right="trial,score,MACs paper/total,params")
    say(console, f"{found[0].metric}, lower is better; protocol {found[0].protocol}")


def print_failures(console: Console, found: list[FailureRow]) -> None:
    """Failures and refusals with their reasons."""
    if not found:
        say(console, NO_FAILURE)
        return
    rows = [
        (row.round, row.kind, row.spec or "–", widths(row.spec) if row.spec else "–", row.proposer, row.why)
        for row in found
    ]
    print_table(console, ("round", "", "spec", "widths", "proposed by", "why"), rows)


def print_trial(console: Console, found: ShownTrial) -> None:
    """One trial on a page: what it is, what it cost, why it was tried and what came of it; the rest is for scripts."""
    how = Protocol.model_validate(found.protocol_content)
    strategy, training = Strategy.model_validate(found.training["strategy"]), found.training
    say(
        console,
        f"Trial {found.trial}, round {found.round} of {found.search_name} (search {found.search}): {found.state}",
    )
    reused = ", reused from an earlier search" if found.cached else ""
    loss = "" if training["loss"] is None else f", loss {training['loss']:.4g}"
    lines = {
        "spec": f"{found.spec} (widths {widths(found.spec)}), {found.family} on {found.dataset}",
        "costs": f"{format_size(found.macs.paper)} MACs ({format_size(found.macs.total)} with attention's products), "
        f"{format_size(found.params)} params",
        "proposed by": f"{found.proposer}: {printable(found.reason or 'no reason was given')}",
        "training": f"{training['steps_done']:,} of {strategy.train_steps:,} steps of {strategy.batch_size} images at "
        f"{strategy.learning_rate:g}, dropout {strategy.dropout:g}, seed {found.seed}: {training['state']} in "
        f"{found.device_seconds:.0f} s{loss}{reused}",
        "loss curve": _curve(found),
        "weights": training["run_folder"],
        "error": found.error and printable(found.error),
        "score": _scored(found),
        "by training seeds": said_of_seeds(found.seed_scores),
        "protocol": how_scored(how),
    }
    for name, text in lines.items():
        if text:
            say(console, f"{name}: {text}", whole=name == "weights")
    columns = ("protocol", "metric", "score", "step", "images", "seed", "taken")
    names = ("protocol", "metric", "value", "step", "num_images", "sampling_seed", "created")
    rows = [[score(row[name]) if name == "value" else row[name] for name in names] for row in found.scores]
    if len(rows) > 1:
        print_table(console, [f"\n{columns[0]}", *columns[1:]], rows, right="score,step,images,seed")
    say(console, "--json prints everything that is known of it.")


def _curve(found: ShownTrial) -> str | None:
    if not found.loss_curve:
        return None
    (first, start), (last, end) = found.loss_curve[0], found.loss_curve[-1]
    return f"{len(found.loss_curve)} points, {start:.4g} at step {first:,} to {end:.4g} at step {last:,}"


def _scored(found: ShownTrial) -> str | None:
    if found.rfid is None:
        return None
    interval = "" if found.ci95 is None else " ({:.4g} to {:.4g})".format(*found.ci95)
    against = f"; against the baseline {found.verdict.baseline}, against the best before it {found.verdict.incumbent}"
    return f"{found.metric} {score(found.rfid)}{interval}{against if found.round else ''}"
