"""What a compression is about to do, and what came of it: teacher and student side by side."""

from collections.abc import Sequence
from math import exp, log
from statistics import fmean

from rich.console import Console
from sqlite_utils import Database

from agent.compress.plan import Compression
from agent.report.results import Result
from agent.report.tables import how_scored, print_table, say, score, span
from agent.search.plan import Plan
from diffusion.cost.closed_form import Macs
from diffusion.statistics.noise import interval, pooled_noise
from diffusion.statistics.paired import ratio_of_pairs
from diffusion.units import format_size
from diffusion.verdicts import Answer
from memory.queries.records import show_trial
from memory.searches import SearchRow, find_protocol, find_search
from memory.trials import Trial, trial_in_round

TEACHER, STUDENT = "teacher", "student"


class Network(Result):
    """A teacher, or what was made of it."""

    trials: list[int]
    """ids of its trials: a student is retrained with several seeds"""
    macs: Macs
    """multiply-accumulates for one image"""
    params: int
    """parameters"""
    scores: list[float | None]
    """of the teacher for each seed of its images, of the student for each training"""
    score: float | None
    """their geometric mean"""
    ci95: tuple[float, float] | None
    """its 95 % interval, from three scores on"""

    @property
    def between(self) -> str:
        """The interval in words; nothing where there is none."""
        return "" if self.ci95 is None else span(*self.ci95)


class Compressed(Result):
    """``compress --json``: the event ``compress.finished``."""

    name: str
    """of the search"""
    reason: str
    """why it ended"""
    method: str
    """who chose what is left"""
    target: float
    """the most that was to be left"""
    metric: str
    """name of the score"""
    teacher: Network | None
    """the network that was given"""
    student: Network | None
    """what was made of it"""
    macs_share: float | None
    """the student's part of the teacher's multiply-accumulates, as the target counts them"""
    params_share: float | None
    """and of its parameters"""
    ratio: float | None
    """the student's score over the teacher's"""
    ratio_ci95: tuple[float, float] | None
    """its 95 % interval"""
    verdict: Answer
    """whether the student is better or worse than the teacher beyond noise"""
    why: str
    """the same with its numbers"""
    latency: dict[str, float] | None
    """milliseconds of the teacher, `first_ms`, and of the student, `second_ms`, for a `batch`, the median `ratio` of
    the second to the first, and how many `turns` were taken"""


def compressed(
    db: Database, search: int, asked: Compression, reason: str, latency: dict[str, float] | None = None
) -> Compressed:
    """What a search has found so far."""
    found = find_search(db, search)
    rounds = [trial_in_round(db, search, number) for number in range(found.rounds + 1)]
    first, students = rounds[0], [trial for trial in rounds[1:] if trial is not None and trial.state == "scored"]
    scores = {
        TEACHER: _scores(db, found, [first] if first else []),
        STUDENT: _scores(db, found, students),
    }
    noise = pooled_noise(scores, STUDENT)
    said = ratio_of_pairs(scores[STUDENT], scores[TEACHER])
    teacher = _network([first], scores[TEACHER], interval(noise, scores[TEACHER])) if first else None
    student = _network(students, scores[STUDENT], interval(noise, scores[STUDENT])) if students else None
    count = found.count_convention
    share = teacher and student and (student.macs.by(count) / teacher.macs.by(count), student.params / teacher.params)
    return Compressed(
        name=found.name,
        reason=reason,
        method=asked.method,
        target=asked.target,
        metric=find_protocol(db, found.protocol).score.metric,
        teacher=teacher,
        student=student,
        macs_share=share[0] if share else None,
        params_share=share[1] if share else None,
        ratio=said.ratio,
        ratio_ci95=None if said.low is None or said.high is None else (said.low, said.high),
        verdict=said.answer,
        why=said.why,
        latency=latency,
    )


def _scores(db: Database, search: SearchRow, trials: Sequence[Trial]) -> list[float | None]:
    """Every score of some trials under the search's protocol."""
    records = [show_trial(db, trial.id)["scores"] for trial in trials]
    return [row["value"] for rows in records for row in rows if row["protocol"] == search.protocol]


def _network(trials: Sequence[Trial], scores: list[float | None], ci95: tuple[float, float] | None) -> Network:
    usable = [found for found in scores if found is not None and found > 0]
    return Network(
        trials=[trial.id for trial in trials],
        macs=Macs(paper=trials[0].macs_paper, total=trials[0].macs_total),
        params=trials[0].params,
        scores=scores,
        score=exp(fmean(map(log, usable))) if usable else None,
        ci95=ci95,
    )


def announce(console: Console, planned: Plan, asked: Compression) -> None:
    """What is about to be done."""
    strategy, loss = planned.protocol.strategy, asked.loss
    pool = f", its pool trained for {asked.supernet_steps:,} steps" if asked.supernet_steps else ""
    say(
        console,
        f"Makes a student of {asked.teacher} with at most {asked.target:.0%} of its multiply-accumulates and "
        f"parameters, chosen {asked.method}{pool}; it begins with {asked.start} weights.",
    )
    beta = f"{loss.last:g}" if loss.ramp == "constant" else f"from {loss.first:g} to {loss.last:g}, {loss.ramp}"
    say(console, f"Then {strategy.train_steps:,} steps of {strategy.batch_size} images, β {beta}.")
    say(console, f"Scores: {how_scored(planned.protocol)}. Lower is better.")


def print_compressed(console: Console, found: Compressed) -> None:
    """Teacher and student side by side, and what may be said of them."""
    rows = [_row(name, network) for name, network in ((TEACHER, found.teacher), (STUDENT, found.student)) if network]
    if not rows:
        return
    print_table(console, ("", "MACs paper", "MACs total", "params", found.metric, "95 %", "n"), rows, right="123456")
    if found.macs_share is not None and found.params_share is not None:
        say(console, f"{found.macs_share:.1%} of the multiply-accumulates, {found.params_share:.1%} of the parameters.")
        say(console, f"{found.verdict}: {found.why}.")
    if found.latency:
        both = "{first_ms:.4g} ms the teacher, {second_ms:.4g} ms the student".format(**found.latency)
        say(console, f"{found.latency['batch']:.0f} images take {both}: {found.latency['ratio']:.2f} ×.")


def _row(name: str, network: Network) -> list[str]:
    sizes = (network.macs.paper, network.macs.total, network.params)
    return [name, *map(format_size, sizes), score(network.score), network.between, str(len(network.scores))]
