"""What each search of a comparison found, evaluation by evaluation, judged by what is truly so where a table knows it.

On a table the *regret* of what was tried is noise-free: how much worse the best network tried truly is (the mean over
the table's seeds) than the best of the table that budget and limits leave. A search that merely picks lucky seeds gains
nothing by that. In searches that trained for real nobody knows the truth: there the scores that were shown stand in for
it, and the best of all searches for the best of the space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from agent.compare.plan import Comparison, Entry
from agent.config.bench import table_of
from agent.search.limits import fitting
from agent.search.plan import plan
from diffusion.neighbourhood import distances
from diffusion.networks import network
from diffusion.settings import Family
from diffusion.spec import UNetSpec
from diffusion.statistics.paired import expected_best
from memory.ledger import totals
from memory.queries.progress import search_counts
from memory.searches import find_search, list_searches

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """What is judged by: the value of each network, and whether it is free of the noise of a single training."""

    values: Mapping[str, float]  # by the network's name
    family: Family
    is_noise_free: bool

    @property
    def best(self) -> float:
        """The least value."""
        return min(self.values.values())

    def of(self, spec: UNetSpec) -> float:
        """The value of a spec; infinite where there is none."""
        return self.values.get(network(spec, self.family), np.inf)

    def among_the_best(self, share: float) -> set[str]:
        """The networks of the best share, at least one."""
        count = max(1, int(np.ceil(share * len(self.values) - 1e-9)))
        return set(sorted(self.values, key=lambda name: self.values[name])[:count])


@dataclass(frozen=True)
class Played:
    """One search that is over, evaluation by evaluation; the first is the baseline."""

    searcher: str
    seed: int
    specs: tuple[UNetSpec, ...]
    scores: Numbers  # as the search was shown them; infinite where a trial failed  (E,)
    device_seconds: Numbers  # that all so far took, without the baseline's replicas, which are the same for all  (E,)
    refusals: int
    input_tokens: int
    output_tokens: int
    own_seconds: float  # wall-clock of its rounds

    @property
    def recommended(self) -> UNetSpec:
        """What it would hand over: the best by the scores it was shown."""
        return self.specs[int(np.argmin(self.scores))]

    def regret(self, truth: Truth) -> Numbers:
        """How much worse than the best the best tried so far is: 0.1 is a tenth more.  (E,)"""
        values = np.array([truth.of(spec) for spec in self.specs])
        return np.asarray(np.minimum.accumulate(values) / truth.best - 1)

    def until(self, wanted: set[str], family: Family) -> int | None:
        """After how many evaluations one of these networks was tried; None if never."""
        found = (number for number, spec in enumerate(self.specs) if network(spec, family) in wanted)
        return next(found, None)

    @property
    def diversity(self) -> float:
        """The mean distance of two of its specs: a doubling of a number, or another attention, counts one."""
        rows = np.array([spec.row for spec in self.specs])
        apart = np.array([distances(rows, spec) for spec in self.specs])
        pairs = len(rows) * (len(rows) - 1)
        return float(apart.sum() / pairs) if pairs else 0.0


def played(db: Database, comparison: Comparison) -> list[Played]:
    """The searches of a comparison that are finished."""
    states = {row.name: row.state for row in list_searches(db)}
    return [_played(db, entry) for entry in comparison if states.get(entry.name) == "finished"]


def _played(db: Database, entry: Entry) -> Played:
    search = find_search(db, entry.name)
    rows = db.conn.execute(
        """
        SELECT trainings.spec AS spec, standings.rfid AS score, trials.state AS state,
            coalesce(trainings.device_seconds, 0.0) + coalesce(standings.score_seconds, 0.0) AS seconds
        FROM trials JOIN trainings ON trainings.id = trials.training
        JOIN standings ON standings.trial = trials.id AND standings.protocol = ?
        WHERE trials.search = ? ORDER BY trials.round
        """,
        [search.protocol, search.id],
    ).fetchall()
    used = totals(db, search.id)
    return Played(
        searcher=entry.searcher,
        seed=entry.seed,
        specs=tuple(UNetSpec.parse(row["spec"]) for row in rows),
        scores=np.array([np.inf if row["score"] is None else row["score"] for row in rows], dtype=np.float64),
        device_seconds=np.cumsum([row["seconds"] for row in rows], dtype=np.float64),
        refusals=search_counts(db, search.id)["refused"],
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        own_seconds=used.wall_seconds,
    )


def truth_of(comparison: Comparison, searches: Sequence[Played]) -> Truth:
    """The table's means over seeds where budget and limits leave a network, or what the searches were shown."""
    family, table = comparison.config.data.family, table_of(comparison.config)
    if table is None:
        shown: dict[str, list[float]] = {}
        for search in searches:
            for spec, score in zip(search.specs, search.scores, strict=True):
                if np.isfinite(score):
                    shown.setdefault(network(spec, family), []).append(float(score))
        return Truth({name: float(np.mean(scores)) for name, scores in shown.items()}, family, is_noise_free=False)
    step = comparison.config.strategy.train_steps
    specs = map(UNetSpec.from_row, fitting(plan(comparison.config)))
    means = {network(spec, family): table.mean(spec, step) for spec in specs}
    return Truth({name: mean for name, mean in means.items() if mean is not None}, family, is_noise_free=True)


def chance(truth: Truth, baseline: UNetSpec, rounds: int) -> Numbers:
    """The expected regret of drawing networks other than the baseline without replacement.  (rounds + 1,)"""
    others = [value for name, value in truth.values.items() if name != network(baseline, truth.family)]
    best = expected_best(np.array(others), min(rounds, len(others)), truth.of(baseline))
    return np.asarray(best / truth.best - 1)
