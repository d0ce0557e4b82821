"""How far a search is: what failed, what runs, what is left, and who proposed."""

from sqlite_utils import Database

from memory.ledger import totals
from memory.queries.ranking import Record
from memory.searches import find_search
from memory.trials import rounds_done


def failures(db: Database, search: int, limit: int = 20) -> list[Record]:
    """Failed and pruned trials and refused proposals of the search with their reasons, latest first."""
    rows = db.conn.execute(
        "SELECT trials.state AS kind, trials.round AS round, trials.id AS trial, proposals.id AS proposal,"
        " proposals.spec, proposals.proposer, trials.error AS why, NULL AS refusal_kind,"
        " coalesce(trials.finished, trials.created) AS created"
        " FROM trials JOIN proposals ON proposals.id = trials.proposal"
        " WHERE trials.search = :search AND trials.state IN ('failed', 'pruned')"
        " UNION ALL SELECT 'refused', round, NULL, id, spec, proposer, refusal, refusal_kind, created FROM proposals"
        " WHERE search = :search AND accepted = 0 ORDER BY created DESC, proposal DESC LIMIT :limit",
        {"search": search, "limit": limit},
    )
    return [dict(row) for row in rows]


def remaining(db: Database, search: int) -> list[Record]:
    """One row: how far the search is and what it has used. Round 0, the baseline, is none of its `rounds`."""
    row = find_search(db, search)
    done = rounds_done(db, search)
    return [
        {
            "search": row.id,
            "name": row.name,
            "rounds": row.rounds,
            "rounds_done": max(done, 0),
            "rounds_left": max(row.rounds - max(done, 0), 0),
            "running": running(db, search),
            "without_score": [row["spec"] for row in _ended_without_score(db, search)],
            "trials": search_counts(db, search),
            "budget_macs": row.budget_macs,
            "count_convention": row.count_convention,
            "protocol": row.protocol,
            "ledger": totals(db, search).model_dump(),
        }
    ]


def running(db: Database, search: int) -> list[Record]:
    """The trials without a score yet, oldest first: their spec is taken, and their training or scoring under way."""
    rows = db.conn.execute(
        "SELECT trial, round, spec, CASE state WHEN 'running' THEN 'training' ELSE 'scoring' END AS doing"
        " FROM results WHERE search = ? AND state IN ('running', 'trained') ORDER BY trial",
        [search],
    )
    return [dict(row) for row in rows]


def _ended_without_score(db: Database, search: int) -> list[Record]:
    """The trials that failed or were pruned: their spec is taken, too."""
    rows = db.conn.execute(
        "SELECT trial, spec FROM results WHERE search = ? AND state IN ('failed', 'pruned') ORDER BY trial", [search]
    )
    return [dict(row) for row in rows]


def search_counts(db: Database, search: int) -> dict[str, int]:
    """How many trials are scored, failed, pruned, trained but not scored, and running; how many proposals refused."""
    row = db.conn.execute(
        "SELECT count(*) FILTER (WHERE state = 'scored') AS scored, count(*) FILTER (WHERE state = 'failed') AS failed,"
        " count(*) FILTER (WHERE state = 'pruned') AS pruned,"
        " (SELECT count(*) FROM proposals WHERE search = :search AND accepted = 0) AS refused,"
        " count(*) FILTER (WHERE state = 'trained') AS trained,"
        " count(*) FILTER (WHERE state = 'running') AS running FROM trials WHERE search = :search",
        {"search": search},
    ).fetchone()
    return dict(row)


def proposer_shares(db: Database, search: int) -> dict[str, int]:
    """How many accepted trials each proposer has to its name, the largest share first."""
    rows = db.conn.execute(
        "SELECT proposer, count(*) AS trials FROM proposals WHERE search = ? AND accepted = 1"
        " GROUP BY proposer ORDER BY trials DESC, proposer",
        [search],
    )
    return {row["proposer"]: row["trials"] for row in rows}
