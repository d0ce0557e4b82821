"""The scores of a rank study as columns, one cell a spec: read from memory, nothing is trained or computed anew.

Three things may stand where a score should be, and none is dropped silently: a *failed* trial or score, which the rule
of `diffusion.statistics.ranking` takes for the worst; one that is still *waiting*, whose spec is left out of the
statistics of that strategy and step; and a spec without at least two full trainings, which has no truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Literal

from sqlite_utils import Database

from agent.study.arms import FEWEST_TRUTH_SEEDS, Arm, Study
from diffusion.errors import UserError, command
from diffusion.settings import Protocol
from diffusion.statistics.ranking import FEWEST
from memory.scores import score_of
from memory.trials import trial_in_round

State = Literal["scored", "failed", "waiting"]


@dataclass(frozen=True)
class Cell:
    """One spec in one arm at one step."""

    state: State
    value: float | None = None
    trial: int | None = None
    why: str | None = None
    train_seconds: float = 0.0  # of the training's device-seconds, the share up to this step
    score_seconds: float = 0.0


Column = Sequence[Cell]  # (N,), in the order of the study's specs
Columns = Mapping[tuple[str, int], Column]  # by arm and step


def column(db: Database, study: Study, arm: Arm, step: int, protocol: Protocol | None = None) -> list[Cell]:
    """The scores of an arm at a step, under its own protocol or another one of the same weights."""
    protocol = protocol or arm.protocol_at(step)
    return [_cell(db, arm, number, step, protocol) for number in range(len(study.specs))]


def _cell(db: Database, arm: Arm, number: int, step: int, protocol: Protocol) -> Cell:
    trial = trial_in_round(db, arm.search, number)
    if trial is None:
        return Cell("waiting")
    found = score_of(db, trial.training, protocol.fingerprint)
    if found is None:
        if trial.state == "failed":
            return Cell("failed", None, trial.id, trial.error, trial.device_seconds)
        return Cell("waiting", None, trial.id)
    share = trial.device_seconds * step / arm.strategy.train_steps
    spent = found.device_seconds / max(1, found.sampling_seeds)
    if found.value is None:
        return Cell("failed", None, trial.id, f"no finite score at step {step}", share, spent)
    return Cell("scored", found.value, trial.id, None, share, spent)


def truth_of(truths: Sequence[Column]) -> list[float | None]:
    """The mean score of the full trainings of each spec; None where fewer than two have one.  (N,)"""
    found: list[float | None] = []
    for cells in zip(*truths, strict=True):
        values = [cell.value for cell in cells if cell.value is not None]
        found.append(mean(values) if len(values) >= FEWEST_TRUTH_SEEDS else None)
    return found


def truth_in(db: Database, study: Study) -> list[float | None]:
    """The truth of each spec of a study in memory; None where it has none.  (N,)

    Raises:
        UserError: the full training of half of its specs or more is missing, or fewer than five have one.
    """
    truths = [column(db, study, arm, arm.score_steps[-1]) for arm in study.truths]
    truth = truth_of(truths)
    check_truth(study, truths, truth)
    return truth


def check_truth(study: Study, truths: Sequence[Column], truth: Sequence[float | None]) -> None:
    """Refuse to say anything of a study that has too little truth.

    Raises:
        UserError: the full training of half of its specs or more is missing, or fewer than five have one.
    """
    missing, count = truth.count(None), len(truth)
    waiting = sum(any(cell.state == "waiting" for cell in cells) for cells in zip(*truths, strict=True))
    if 2 * missing < count and count - missing >= FEWEST:
        return
    again = command("rank-study", study.name, "--resume", db=study.arms[0].planned.config.places.db)
    remedy = f"wait, or go on with `{again}`"
    if not waiting:
        remedy = "too many failed to say anything, so start a study of another name"
    raise UserError(f"'{study.name}' lacks the full training of {missing} of its {count} specs; {remedy}")


def without_waiting(truth: Sequence[float | None], *columns: Column) -> tuple[list[float | None], ...]:
    """The scores of each column, and the truth, of the specs that wait in none of them."""
    ready = ready_in(*columns)
    return (*([cells[index].value for index in ready] for cells in columns), [truth[index] for index in ready])


def ready_in(*columns: Column) -> list[int]:
    """The specs that wait in none of the columns."""
    return [
        index for index, cells in enumerate(zip(*columns, strict=True)) if "waiting" not in {c.state for c in cells}
    ]


def seconds_of(cell: Cell) -> float:
    """Device-seconds of the training so far and of its score."""
    return cell.train_seconds + cell.score_seconds
