"""What the race of a search has concluded, read back from the memory, whoever asks and whenever."""

import json
from dataclasses import dataclass

from sqlite_utils import Database

from memory.searches import SearchRow
from tools.jobs.race import Field, field_of


@dataclass(frozen=True)
class Raced:
    """What may be said of a search after its race."""

    trial: int  # that is recommended: the winner's if it is better than the baseline, else the baseline's
    why: str  # begins with the spec


def raced(db: Database, row: SearchRow) -> Raced | None:
    """What the race of a search of specs has shown; None where it has not come to its first look."""
    field = field_in(db, row) if allowance_of(row) else None
    if field is None or (found := field.conclusion).winner is None:
        return None
    return Raced(field.trials[found.recommended], found.why)


def field_in(db: Database, row: SearchRow) -> Field | None:
    """The race of a search as its settings plan it; None without a scored baseline or without a candidate."""
    return field_of(db, row.id, int(json.loads(row.config_json).get("replicas", 1)), allowance_of(row))


def allowance_of(row: SearchRow) -> int:
    """How many further trainings the race of a search may make."""
    asked = json.loads(row.config_json).get("race_trainings")
    return row.rounds if asked is None else int(asked)
