"""What a searcher is told: every trial of a search in the order of its rounds, or of the whole memory."""

from dataclasses import dataclass
from typing import Literal

from sqlite_utils import Database

from diffusion.spec import UNetSpec
from memory.queries.records import Scope
from memory.searches import find_search

State = Literal["scored", "failed", "pruned", "refused", "running"]


@dataclass(frozen=True)
class TrialSoFar:
    """One trial under its search's protocol, or a proposal of this round that was refused.

    A score that is not finite counts as a failure.
    """

    trial: int  # of a refusal 0
    round: int
    spec: UNetSpec
    state: State
    score: float | None = None  # lower is better; of a scored trial alone
    proposer: str = ""


def trials_so_far(db: Database, search: int, scope: Scope = "search") -> list[TrialSoFar]:
    """The trials of a search, by round; with ``scope="memory"`` those of other searches of its protocol go before.

    Of other searches only what has ended is told, so that what a searcher knows does not depend on who runs beside it.
    """
    found = find_search(db, search)
    rows = db.conn.execute(
        """
        SELECT trials.id, trials.round, trainings.spec, trials.state, standings.rfid, proposals.proposer
        FROM standings JOIN trials ON trials.id = standings.trial
        JOIN trainings ON trainings.id = trials.training JOIN proposals ON proposals.id = trials.proposal
        WHERE standings.protocol = :protocol AND (
            trials.search = :search
            OR (:everything AND trials.search <> :search AND trials.state IN ('scored', 'failed', 'pruned'))
        )
        ORDER BY trials.search = :search, trials.search, trials.round
        """,
        {"protocol": found.protocol, "search": search, "everything": scope == "memory"},
    )
    return [
        TrialSoFar(trial, number, UNetSpec.parse(spec), _state(state, score), score, proposer)
        for trial, number, spec, state, score, proposer in rows
    ]


def _state(state: str, score: float | None) -> State:
    if state == "scored":
        return "failed" if score is None else "scored"
    if state in ("failed", "pruned"):
        return "failed" if state == "failed" else "pruned"
    return "running"
