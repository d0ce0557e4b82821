"""The figures of docs/unetbench.md, from the table that is shipped."""

from collections.abc import Iterator

from diffusion.statistics.ranking import Estimate, RankAgreement
from diffusion.unetbench.figures import agreement_at, best_at, noise_at, steps_agreement
from diffusion.unetbench.table import FOLDER, Table, find_table
from diffusion.units import format_size

NOT_YET = "The table is not there yet: its networks are being trained."


def figures_of(name: str) -> str:
    """The figures of a table as a page has them."""
    if not (FOLDER / f"{name}.json").exists():
        return NOT_YET
    table = find_table(name)
    return "\n\n".join((_made(table), "\n".join(_by_step(table)), "\n".join(_networks(table))))


def _made(table: Table) -> str:
    rows = [training for row in table.contents.networks for training in row.trainings]
    trained, scored = sum(row.train_seconds for row in rows), sum(sum(row.score_seconds) for row in rows)
    failed = sum(row.error is not None for row in rows)
    return (
        f"{table.contents.made}. {len(table.contents.networks)} networks, {len(rows)} trainings ({failed} failed), "
        f"{table.seeds(table.baseline)} of the baseline {table.baseline}; {trained / 3600:.1f} hours of training "
        f"and {scored / 3600:.1f} of scoring. Protocol {table.protocol_at(table.steps[-1]).fingerprint}, "
        f"SHA-256 {table.sha256}."
    )


def _by_step(table: Table) -> Iterator[str]:
    """Noise, agreement and the best, a row for each number of steps."""
    titles = ("steps", "noise between seeds (CV)", "τ of the two seeds", "τ with the last step", "best network")
    yield f"| {' | '.join((*titles, 'its mean', 'lowest true mean'))} |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for step in table.steps:
        noise, best = noise_at(table, step), best_at(table, step)
        cells = [f"{step}", f"{noise.cv:.1%} ({noise.degrees_of_freedom} degrees of freedom)" if noise else "–"]
        cells.append(_kendall(agreement_at(table, step)))
        cells.append("–" if step == table.steps[-1] else _kendall(steps_agreement(table, step)))
        cells += [f"`{best.spec}`", f"{best.score:.3g}", f"{best.low:.3g} to {best.high:.3g}"] if best else ["–"] * 3
        yield f"| {' | '.join(cells)} |"


def _networks(table: Table) -> Iterator[str]:
    """What the networks cost and score, from the cheapest to the dearest."""
    last = table.steps[-1]
    means = sorted(mean for row in table.contents.networks if (mean := table.mean(row.spec, last)) is not None)
    macs = sorted(row.macs_paper for row in table.contents.networks)
    yield "| | lowest | median | highest |"
    yield "| --- | --- | --- | --- |"
    yield f"| mean score at step {last} | {means[0]:.3g} | {means[len(means) // 2]:.3g} | {means[-1]:.3g} |"
    yield f"| MACs (paper) | {' | '.join(format_size(macs[at]) for at in (0, len(macs) // 2, -1))} |"


def _kendall(found: RankAgreement) -> str:
    kendall: Estimate | None = found.kendall
    return "–" if kendall is None else f"{kendall.value:.2f} ({kendall.low:.2f} to {kendall.high:.2f})"
