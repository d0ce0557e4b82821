"""How far a search is: what failed, what runs, what is left, and who proposed."""

import sqlite3

from sqlite_utils import Database

from memory.ledger import totals
from memory.queries.ranking import Record
from memory.searches import LIVE, SearchRow, find_search
from memory.strategies import strategies_of
from memory.trials import TrialState, rounds_done


def failures(db: Database, search: int, limit: int = 20) -> list[Record]:
    """Failed and pruned trials and refused proposals of the search with their reasons, latest first."""
    rows = db.conn.execute(
        """
        SELECT * FROM (
            SELECT trials.state AS kind, trials.round, trials.id AS trial, proposal, proposals.spec, proposals.proposer,
                trials.error AS why, NULL AS refusal_kind, coalesce(trials.finished, trials.created) AS created
            FROM trials JOIN proposals ON proposals.id = proposal
            WHERE trials.search = :search AND trials.state IN ('failed', 'pruned')
            ORDER BY coalesce(trials.finished, trials.created) DESC, proposal DESC LIMIT :limit
        ) UNION ALL SELECT * FROM (
            SELECT 'refused', round, NULL, id, spec, proposer, refusal, refusal_kind, created FROM proposals
            WHERE search = :search AND accepted = 0 ORDER BY created DESC, id DESC LIMIT :limit
        ) ORDER BY created DESC, proposal DESC LIMIT :limit
        """,
        {"search": search, "limit": limit},
    )
    return [dict(row) for row in rows]


def remaining(db: Database, search: int) -> list[Record]:
    """One row: how far the search is and what it has used. Round 0, the baseline, is none of its `rounds`."""
    row = find_search(db, search)
    counts, done = search_counts(db, search), rounds_over(db, row)
    return [
        {
            "search": row.id,
            "name": row.name,
            "rounds": row.rounds,
            "rounds_done": done,
            "rounds_left": max(row.rounds - done, 0),
            "running": running(db, search),
            "without_score": _without_score(db, search),
            "trials": counts,
            "budget_macs": row.budget_macs,
            "count_convention": row.count_convention,
            "protocol": row.protocol,
            "ledger": totals(db, search).model_dump(),
        }
    ]


def rounds_over(db: Database, row: SearchRow) -> int:
    """How many rounds after the baseline's are over: trials with an outcome, or strategies that are measured.

    A strategy that nobody is to measure is over once the search is.
    """
    if row.kind != "strategy":
        return max(rounds_done(db, row.id), 0)
    counts = strategy_counts(db, row.id)
    return counts["proposed"] if row.state == "finished" else counts["measured"] + counts["failed"]


def strategy_counts(db: Database, search: int) -> dict[str, int]:
    """How many strategies beside the standard one are proposed, and of these measured and failed to be measured."""
    found = [each for each in strategies_of(db, search) if each.round > 0]
    return {
        "proposed": len(found),
        "measured": sum(each.measured is not None for each in found),
        "failed": sum(each.error is not None for each in found),
    }


def _without_score(db: Database, search: int) -> list[str]:
    """The specs whose trial failed or was pruned, oldest first."""
    rows = db.conn.execute(
        "SELECT spec FROM trials JOIN trainings INDEXED BY trainings_named ON trainings.id = trials.training"
        " WHERE search = ? AND trials.state IN ('failed', 'pruned') ORDER BY trials.id",
        [search],
    )
    return [row[0] for row in rows]


def running(db: Database, search: int) -> list[Record]:
    """The trials without a score yet, oldest first: their spec is taken, and their training or scoring under way."""
    doing: dict[TrialState, str] = {"running": "training", "trained": "scoring"}
    return [
        {"trial": row["trial"], "round": row["round"], "spec": row["spec"], "doing": doing[row["state"]]}
        for row in _in_states(db, search, *doing)
    ]


def under_way(db: Database, row: SearchRow) -> list[Record]:
    """The trials that a process works on now; one that died left some behind."""
    return running(db, row.id) if row.state in LIVE else []


def replicas_under_way(db: Database, row: SearchRow) -> int:
    """How many further trainings, of specs that were trained before, a process works on now."""
    if row.state not in LIVE:
        return 0
    query = "SELECT count(*) FROM replicas WHERE search = ? AND state = 'running'"
    return int(db.conn.execute(query, [row.id]).fetchone()[0])


def _in_states(db: Database, search: int, *states: TrialState) -> list[sqlite3.Row]:
    """The trials of a search in these states with their specs, oldest first."""
    rows = db.conn.execute(
        "SELECT trials.id AS trial, round, spec, trials.state AS state FROM trials"
        " JOIN trainings ON trainings.id = trials.training"
        f" WHERE search = ? AND trials.state IN ({', '.join('?' * len(states))}) ORDER BY trials.id",
        [search, *states],
    )
    return rows.fetchall()


def search_counts(db: Database, search: int) -> dict[str, int]:
    """How many trials are scored, failed, pruned, trained but not scored, and running; how many proposals refused."""
    counts = dict.fromkeys(("scored", "failed", "pruned", "refused", "trained", "running"), 0)
    rows = db.conn.execute(
        "SELECT state, count(*) AS trials FROM trials WHERE search = :search GROUP BY state"
        " UNION ALL SELECT 'refused', count(*) FROM proposals WHERE search = :search AND accepted = 0",
        {"search": search},
    )
    return counts | {row["state"]: row["trials"] for row in rows}


def proposer_shares(db: Database, search: int) -> dict[str, int]:
    """How many accepted trials each proposer has to its name, the largest share first."""
    rows = db.conn.execute(
        "SELECT proposer, count(*) AS trials FROM proposals WHERE search = ? AND accepted = 1"
        " GROUP BY proposer ORDER BY trials DESC, proposer",
        [search],
    )
    return {row["proposer"]: row["trials"] for row in rows}
