"""A rank study for people: the numbers of `agent.study.report` as tables and sentences; nothing is computed here."""

from rich.console import Console

from agent.estimate.reference import print_reference
from agent.report.tables import print_table, say
from agent.study.costs import PlannedStudy
from agent.study.differences import Difference, pairs
from agent.study.report import MeasuredStudy, Missing, ProxyRow, TableRow
from diffusion.statistics.ranking import FEWEST, Estimate
from diffusion.units import format_size

PRINTED = (
    "The paper's rows are as it prints them, without intervals; they fit orders of nine and of seven networks, not the "
    "ten of its text, and its Pearson is its Spearman."
)


def print_study(console: Console, found: MeasuredStudy) -> None:
    """Table II, then each proxy at each step, what tells them apart, cheaper scores, and who failed or waits."""
    truth, metric = found.truth, found.metric
    say(console, f"Study {found.study}: {found.specs} specs on {found.dataset}, {metric}, lower is better.")
    say(
        console,
        f"Truth: {truth.strategy.train_steps:,} steps of the standard strategy, mean over the seeds "
        f"{', '.join(map(str, truth.seeds))}, for {truth.specs_with_truth} specs; "
        f"{truth.device_seconds:,.0f} device-seconds. The first two of these trainings agree with each other by "
        f"tau-b {_estimate(truth.agreement_of_two.kendall)}.",
    )
    _print_table_2(console, found.table_2)
    _print_proxies(console, found.proxies)
    for row in found.differences:
        say(console, f"{row.conclusion}. {_needed(row)}")
    _print_cheaper(console, found)
    _print_listed(console, "Failed (the worst by rank, left out of Pearson's)", found.failed)
    _print_listed(console, "Not there yet (left out)", found.waiting)


def print_plan(console: Console, found: PlannedStudy) -> None:
    """What a study would train: its arms, its specs and what they compute."""
    columns = ("arm", "lr", "dropout", "T", "steps", "scored at", "seed", "trainings", "MACs")
    cells = [
        (
            row.arm,
            f"{row.strategy.learning_rate:g}",
            f"{row.strategy.dropout:g}",
            row.strategy.diffusion_steps,
            row.strategy.train_steps,
            ", ".join(map(str, row.score_steps)),
            row.seed,
            row.trainings,
            format_size(row.macs),
        )
        for row in found.arms
    ]
    say(console, f"\nStudy {found.study}, scores {found.metric}")
    print_table(console, columns, cells, right="lr,dropout,T,steps,seed,trainings,MACs")
    say(
        console,
        f"Specs ({len(found.specs)}): {' '.join(found.specs)}\n{format_size(found.macs)} MACs in all, for "
        "trainings and scores. Nothing was written.",
    )
    print_reference(console, found.reference)


def _print_table_2(console: Console, rows: list[TableRow]) -> None:
    columns = ("strategy", "lr", "dropout", "T", "steps", "s a spec", "Spearman", "Kendall tau-b", "Pearson")
    cells = [
        (
            f"{'paper' if row.source == 'paper' else 'here'}: {row.strategy}",
            f"{row.learning_rate:g}",
            f"{row.dropout:g}",
            row.diffusion_steps,
            f"{row.train_steps:,}",
            _number(row.device_seconds_a_spec, ",.1f"),
            *_three(row),
        )
        for row in rows
    ]
    say(console, "\nTable II of the paper beside this study, each strategy at its end")
    print_table(console, columns, cells, right="lr,dropout,T,steps,s a spec")
    say(
        console,
        f"{PRINTED} s a spec: device-seconds of a training and one score. "
        "Intervals: 95 %, bootstrap over specs, each by itself.",
    )


def _three(row: TableRow) -> list[str]:
    """The three correlations of a row, as printed or with their intervals."""
    if row.printed:
        return [f"{value:.3f}" for value in (row.printed.spearman, row.printed.kendall, row.printed.pearson)]
    return [_estimate(found) for found in (row.spearman, row.kendall, row.pearson)]


def _print_proxies(console: Console, rows: list[ProxyRow]) -> None:
    columns = ("proxy", "step", "Spearman", "Kendall tau-b", "Pearson", "specs", "failed", "no truth", "waiting")
    cells = [
        (
            row.arm,
            row.step,
            *map(_estimate, (row.spearman, row.kendall, row.pearson)),
            row.ranked,
            row.failed,
            row.without_truth,
            row.waiting,
        )
        for row in rows
    ]
    say(console, f"\nHow each proxy ranks at each step (fewer than {FEWEST} specs have no correlation)")
    print_table(console, columns, cells, right=",".join((columns[1], *columns[5:])))
    _print_choices(console, rows)


def _print_choices(console: Console, rows: list[ProxyRow]) -> None:
    k = rows[0].top_k
    columns = ("proxy", "step", f"recall of {k}", "regret", f"regret of {k}", "device-s", "device-s a point")
    cells = [
        (
            row.arm,
            row.step,
            _number(row.recall, ".2f"),
            _number(row.regret, ".1%"),
            _number(row.regret_top_k, ".1%"),
            f"{row.device_seconds.total:,.0f}",
            _number(row.device_seconds_per_point, ",.1f"),
        )
        for row in rows
    ]
    say(console, "\nWhat that chooses, and what it costs")
    print_table(console, columns, cells, right=",".join(columns[1:]))
    say(
        console,
        f"recall of {k}: share of the truly best {k} among the {k} best by proxy. regret: how much worse than the best "
        "is what confirming the proxy's best finds. A point is 0.01 of tau-b. device-s: trainings up to the step, as "
        "their share of the whole, and one score each.\n",
    )


def _print_cheaper(console: Console, found: MeasuredStudy) -> None:
    if found.cheapest_score is None:
        return
    columns = ("score", "weights", "Kendall tau-b", "device-s", "of the full", "specs", "failed", "waiting")
    cells = [
        (
            pairs(row.changes),
            row.arm,
            _estimate(row.kendall),
            _number(row.device_seconds_a_score, ".2f"),
            _number(row.full_device_seconds_a_score, ".2f"),
            row.ranked,
            row.failed,
            row.waiting,
        )
        for row in found.cheaper_scores
    ]
    say(console, "\nCheaper scores against the study's own, on the same weights, with other images")
    print_table(console, columns, cells, right="device-s,of the full,specs,failed,waiting")
    say(console, f"{found.cheapest_score.why}.")
    for row in found.cheaper_scores:
        if row.against_standard:
            say(console, f"{row.against_standard.conclusion}.")


def _print_listed(console: Console, title: str, rows: list[Missing]) -> None:
    if not rows:
        return
    say(console, f"\n{title}")
    cells = [(row.arm, ", ".join(map(str, row.steps)), row.spec, row.trial or "–", row.why or "") for row in rows]
    print_table(console, ("arm", "steps", "spec", "trial", "why"), cells, right="trial")


def _needed(row: Difference) -> str:
    return f"Were the correlations truly these: {row.needed_n['kendall'].why}."


def _estimate(found: Estimate | None) -> str:
    """A value with its interval."""
    return "–" if found is None else f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
