"""What the race of a search has concluded, read back from the memory, whoever asks and whenever."""

import json
from dataclasses import dataclass

from sqlite_utils import Database

from memory.searches import SearchRow
from tools.jobs.race import field_of


@dataclass(frozen=True)
class Raced:
    """What may be said of a search after its race."""

    trial: int  # that is recommended: the winner's if it is better than the baseline, else the baseline's
    why: str  # begins with the spec


def raced(db: Database, row: SearchRow) -> Raced | None:
    """What the race of a search of specs has shown; None where it has not come to its first look."""
    told = json.loads(row.config_json)
    trainings = told.get("race_trainings")
    allowance = row.rounds if trainings is None else trainings
    field = field_of(db, row.id, told.get("replicas", 1), allowance) if allowance else None
    if field is None or (found := field.conclusion).winner is None:
        return None
    return Raced(field.trials[found.recommended], found.why)
