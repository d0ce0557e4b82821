"""``diffnas-agent export``: a trained trial as a pipeline folder, with a card that says how its score was taken."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlite_utils import Database

from agent.report.results import Result
from agent.report.tables import say, score
from agent.trials.evaluate import Known, known_trial
from agent.trials.model_card import Beside, CardScore, ModelCardFacts, StudentFacts, model_card
from agent.trials.recommended import recommended
from diffusion.data.card import card_rows
from diffusion.settings import Protocol
from diffusion.training.checkpoint import Checkpoint
from diffusion.under_way import under_way
from memory.connection import opened
from memory.queries.ranking import Record
from memory.queries.records import show_trial
from memory.searches import find_protocol
from memory.trials import Trial

PACKAGES = ("diffnas-agent", "torch", "diffusers", "accelerate", "torch-fidelity")
NAMES = ("kid", "kid_std", "precision", "recall")  # beside the score, where they were measured


class ExportedTrial(Result):
    """``export --json``."""

    trial: int
    """id of the trial"""
    spec: str
    """its spec"""
    step: int
    """the step that was exported"""
    folder: str
    """the folder, as it was typed"""
    metric: str
    """name of the score"""
    rfid: float | None
    """the score in the card, or `null` if none was taken at this step"""
    protocol: str
    """fingerprint of the protocol"""
    why: str = ""
    """why it is this trial; only where a search was named"""


def export_asked(
    db_path: Path,
    asked: str,
    folder: Path,
    *,
    step: int | None,
    replace: bool,
    beside: Callable[[Database, Trial], Beside | None],
) -> ExportedTrial:
    """Write the folder of a trial by its number, or of the one that the search of a name recommends.

    Raises:
        UserError: one sentence with the remedy.
    """
    if asked.isascii() and asked.isdigit():
        return export_trial(db_path, int(asked), folder, step=step, replace=replace, beside=beside)
    with opened(db_path, read_only=True) as db:
        found = recommended(db, asked)
    done = export_trial(db_path, found.trial, folder, step=step, replace=replace, beside=beside)
    return done.model_copy(update={"why": found.why})


def export_trial(
    db_path: Path,
    trial: int,
    folder: Path,
    *,
    step: int | None,
    replace: bool,
    beside: Callable[[Database, Trial], Beside | None],
) -> ExportedTrial:
    """Write the folder; `beside` finds what was measured of a student and its teacher.

    Raises:
        UserError: one sentence with the remedy.
    """
    from diffusion.export import export_pipeline

    with under_way("reading the weights"):
        known = known_trial(db_path, trial)
        checkpoint = known.checkpoint(step)
    with opened(db_path, read_only=True) as db:
        record = show_trial(db, trial)
        protocol, card_score = scored_at(db, record, known, checkpoint.step)
        measured = beside(db, known.trial)
    facts = ModelCardFacts(
        spec=known.trial.spec,
        protocol=protocol,
        step=checkpoint.step,
        score=card_score,
        data=tuple(card_rows(known.card.model_copy(update={"name": protocol.settings.dataset}))),
        lineage=lineage(known, record, checkpoint),
        versions={name: version(name) for name in PACKAGES},
        student=student_facts(checkpoint, measured),
    )
    pictures = measured.pictures if measured else {}
    card = model_card(facts)
    with under_way("writing the folder"):
        export_pipeline(checkpoint, folder, card=card, lineage=facts.lineage, pictures=pictures, replace=replace)
    return _exported(known, facts, folder)


def _exported(known: Known, facts: ModelCardFacts, folder: Path) -> ExportedTrial:
    return ExportedTrial(
        trial=known.trial.id,
        spec=str(known.trial.spec),
        step=facts.step,
        folder=str(folder),
        metric=facts.protocol.score.metric,
        rfid=facts.score.value if facts.score else None,
        protocol=facts.protocol.fingerprint,
    )


def scored_at(db: Database, record: Record, known: Known, step: int) -> tuple[Protocol, CardScore | None]:
    """The score of a step for the card, with its protocol: as the trial's search takes it, else the newest of any."""
    strategy = known.protocol.strategy.model_copy(update={"train_steps": step})
    protocol = known.protocol.model_copy(update={"strategy": strategy})
    rows = [row for row in record["scores"] if row["step"] == step and row["value"] is not None]
    own = [row for row in rows if row["protocol"] == protocol.fingerprint]
    if not rows:
        return protocol, None
    first = own[0] if own else rows[-1]
    protocol = protocol if own else find_protocol(db, first["protocol"])
    beside = {name: first["extra"].get(name) for name in NAMES}
    return protocol, CardScore(value=first["value"], sampling_seed=first["sampling_seed"], **beside)


def student_facts(checkpoint: Checkpoint, measured: Beside | None) -> StudentFacts | None:
    """What the card says of a student, of any other network nothing."""
    from diffusion.distill.units import short
    from diffusion.training.network import cost_of_student, whole_of

    student = checkpoint.job.student
    if student is None:
        return None
    mine, its = cost_of_student(student), cost_of_student(whole_of(student))
    costs = (
        ("parameters", mine.params, its.params),
        ("MACs, `paper` convention", mine.macs_paper, its.macs_paper),
        ("MACs, `total` convention", mine.macs_total, its.macs_total),
    )
    facts = StudentFacts(choices=short(student.choices), retrained=student.retrained, costs=costs)
    if measured is None:
        return facts
    told = {"beside": measured.rows, "verdict": measured.verdict, "pictures": tuple(measured.pictures)}
    return facts.model_copy(update=told)


def lineage(known: Known, record: Record, checkpoint: Checkpoint) -> dict[str, Any]:
    """Where the weights come from, without a path of this machine."""
    return {
        "search": record["search_name"],
        "trial": known.trial.id,
        "round": known.trial.round,
        "proposer": known.trial.proposer,
        "reason": known.trial.reason,
        "training": known.trial.key,
        "seed": known.trial.seed,
        "step": checkpoint.step,
        "data_fingerprint": known.protocol.data_fingerprint,
        "device_seconds": known.trial.device_seconds,
        "created": known.trial.created,
    }


def print_exported(console: Console, found: ExportedTrial) -> None:
    """Where the folder is and what its card says of the score."""
    if found.why:
        say(console, f"Trial {found.trial}, {found.why}.")
    measured = "not scored yet" if found.rfid is None else f"{found.metric} {score(found.rfid)}"
    say(console, f"{found.spec} at step {found.step}, {measured}; protocol {found.protocol}:")
    say(console, found.folder, whole=True)
