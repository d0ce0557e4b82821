"""What is said of a search when it begins and when it ends."""

from pathlib import Path

from rich.console import Console

from agent.config.backend import OFFLINE
from agent.config.settings import RunConfig
from agent.report.guide.next_steps import print_steps, steps_of
from agent.report.status import search_status
from agent.report.tables import how_scored, ledger_line, print_card, say, score
from agent.report.trials import ShownTrial, TrialRow, print_top, trial_rows
from agent.report.words import NO_MODEL, trials_line
from agent.search.ending import RACED, RESUMABLE
from agent.search.plan import Plan
from agent.search.raced import raced
from diffusion.networks import networks_in
from diffusion.spec import widths
from diffusion.units import format_size
from diffusion.verdicts import if_measured
from memory.connection import opened
from memory.ledger import totals
from memory.queries.progress import proposer_shares, search_counts
from memory.queries.records import best, show_trial
from memory.replicas import said_of_seeds, seed_scores
from memory.searches import find_search
from tools.executors.machine import Share

PROPOSES = {
    "llm": "the offline backend proposes local changes",
    "centaur": "a surrogate of the scores proposes",
}
UNMEASURED = "One training each: differences may be noise (verdicts: unmeasured)"
NO_RACE = "No race was run: what is best by its first score may have been lucky."
ENDED_EARLY = {
    "finished_by_model": "the model ended it",
    "stopped_by_user": "the user ended it",
    "space_exhausted": "every spec that the limits leave was tried",
}


def who_proposes(config: RunConfig, otherwise: str) -> str:
    """The model that proposes and where it is asked; without one, what else proposes."""
    llm, url, searcher = config.backend.llm, config.backend.base_url, config.search.searcher
    if searcher not in ("llm", "centaur"):
        return f"The searcher {searcher} proposes; no language model is asked."
    if llm == OFFLINE:
        return f"{NO_MODEL}: {otherwise} (choose one with --llm)."
    said, share = f"{llm} proposes{f' at {url}' if url else ''}", f"{config.search.centaur_share:.0%}"
    return f"{said}, beside a surrogate, in {share} of the rounds." if searcher == "centaur" else f"{said}."


def networks_of(config: RunConfig) -> str:
    """How many networks are searched, for people."""
    space, count = config.search_space, networks_in(config.search_space, config.data.family)
    return f"{count:,} networks" if space.is_enumerable else f"about {format_size(count)} networks"


def announce(console: Console, name: str, planned: Plan, jobs: Share) -> None:
    """Who is in charge, then what is searched under which limit."""
    config = planned.config
    say(console, who_proposes(config, PROPOSES.get(config.search.searcher, PROPOSES["llm"])))
    settings = planned.protocol.settings
    print_card(console, planned.card)
    say(
        console,
        f"Search {name}: {settings.dataset} {settings.resolution}×{settings.resolution}, at most "
        f"{format_size(config.search.budget)} MACs ({config.search.count}) of {networks_of(config)}, "
        f"baseline and {config.search.rounds} rounds of {config.strategy.train_steps} steps.",
    )
    say(console, f"Scores: {how_scored(planned.protocol)}. Lower is better.")
    if jobs.parallel > 1 or jobs.processes > 1 or config.jobs.executor != "local":
        say(
            console,
            f"Trainings: {jobs.parallel} at once on {config.jobs.executor}, each with {jobs.processes} process(es) of "
            f"{jobs.threads} thread(s).",
        )
    for note in planned.notes:
        say(console, f"Note: {note}.")


def summary(console: Console, db_path: Path, search: int) -> None:
    """The table of trials, the best spec, what it cost, who proposed, and where the images are."""
    with opened(db_path, read_only=True) as db:
        row, found = find_search(db, search), search_status(db, str(search))
        ranking = trial_rows(best(db, search, limit=None))
        counts, shares, ledger = search_counts(db, search), proposer_shares(db, search), totals(db, search)
        grid = _grid(ShownTrial(**show_trial(db, ranking[0].trial))) if ranking else None
        first = next((row.spec for row in ranking if row.round == 0), "")
        seeds = said_of_seeds(seed_scores(db, search).get(first, []))
        reason, _, told = (row.reason or "").partition(": ")
        after = raced(db, row) if ranking and reason in RACED else None
    console.line()
    print_top(console, ranking)
    if ranking:
        _print_best(console, ranking)
    if seeds:
        say(console, f"The baseline by its training seeds: {seeds}.")
    if reason in ENDED_EARLY:
        say(console, f"Ended early: {ENDED_EARLY[reason]}{': ' + told if told else ''}.")
    proposed = ", ".join(f"{proposer} {count}" for proposer, count in shares.items())
    say(console, trials_line(counts))
    say(console, f"Proposed by: {proposed or 'nobody yet'}.")
    say(console, f"Used: {ledger_line(ledger)}.")
    if grid:
        say(console, f"Images of the best: {grid}", whole=True)
    if reason in RACED and ranking:
        say(console, f"\nThe race: {after.why}." if after else f"\n{NO_RACE}")
    if reason not in RESUMABLE:  # how to go on is said last
        print_steps(console, steps_of(row, found, db_path))


def _print_best(console: Console, ranking: list[TrialRow]) -> None:
    first = ranking[0]
    baseline = next((row for row in ranking if row.round == 0), None)
    text = f"Best: {first.spec} (widths {widths(first.spec)}) with {first.metric} {score(first.rfid)}"
    if baseline and baseline is not first:
        text += f", the baseline has {score(baseline.rfid)}"
    elif baseline:
        text += ", the baseline: nothing that was tried beat it"
    verdict = first.verdict.baseline
    noise = if_measured(verdict, "By its first score {}") or UNMEASURED
    beyond = " beyond noise" if verdict in ("better", "worse") else ""
    say(console, f"\n{text}. {noise}{beyond}.")


def _grid(shown: ShownTrial) -> str | None:
    """The image grid of a trial's newest score."""
    grids = [row["extra"]["grid"] for row in shown.scores if row.get("extra", {}).get("grid")]
    if not grids:
        return None
    path = Path(grids[-1])
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
