"""Typed questions to the memory: best, Pareto front, similar, effect of a number, failures, what is left, and records.

Each is answered within one protocol, by default the search's own, since scores of two protocols do not compare. The
questions of a search look at its own trials, cached ones among them; ``scope="memory"`` looks at every search's, each
training once. Answers are lists of dictionaries that JSON can hold. Free-form questions stand in `memory.sql`.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations
from statistics import fmean
from typing import Literal

from sqlite_utils import Database

from diffusion.errors import UserError
from diffusion.spec import PARAMETERS, UNetSpec
from memory.ledger import totals
from memory.ranking import Record, best_of, is_score, pareto_front, ranked
from memory.searches import find_protocol, find_search
from memory.trials import find_trial, rounds_done

Scope = Literal["search", "memory"]
DISTANCE = "sum over the ten numbers: |log2 of the ratio| for channels, blocks and multipliers, 1 for each other attn"


def best(
    db: Database, search: int, limit: int | None = 10, *, scope: Scope = "search", protocol: str | None = None
) -> list[Record]:
    """The scored trials, best first; without a limit all of them."""
    found = [record for record in _records(db, search, scope, protocol) if is_score(record["rfid"])]
    return [_shown(record) for record in ranked(found)[:limit]]


def pareto(db: Database, search: int, *, scope: Scope = "search", protocol: str | None = None) -> list[Record]:
    """The scored trials that none beats in both score and MACs, cheapest first, by the search's counting convention."""
    cost = find_search(db, search).macs_column
    return [_shown(record) for record in pareto_front(_records(db, search, scope, protocol), cost)]


def similar(
    db: Database,
    search: int,
    spec: UNetSpec,
    limit: int = 10,
    *,
    scope: Scope = "search",
    protocol: str | None = None,
) -> list[Record]:
    """The trials nearest to a spec, nearest first, with what differs; also those that failed or still run."""
    found = []
    for record in _records(db, search, scope, protocol):
        other = UNetSpec.parse(record["spec"])
        differs = {
            name: {"asked": asked, "here": here}
            for name, asked, here in zip(PARAMETERS, spec.row, other.row, strict=True)
            if asked != here
        }
        distance = round(spec_distance(spec, other), 4)
        found.append({**_shown(record), "distance": distance, "distance_is": DISTANCE, "differs_in": differs})
    return sorted(found, key=lambda record: record["distance"])[:limit]


def spec_distance(one: UNetSpec, other: UNetSpec) -> float:
    """How far two specs are apart (`DISTANCE`): twice a width is as far as one attention more."""
    sizes = zip(one.row[:6], other.row[:6], strict=True)
    flags = zip(one.attn, other.attn, strict=True)
    return sum(math.log2(max(pair) / min(pair)) for pair in sizes) + sum(a != b for a, b in flags)


def effect(
    db: Database, search: int, parameter: str, *, scope: Scope = "search", protocol: str | None = None
) -> list[Record]:
    """What one of the ten numbers seems to do.

    Rows of kind ``value`` give the scored trials that have each value; rows of kind ``pair`` compare the trials that
    differ in this number alone: the mean of (score at ``to``) − (score at ``from``), below zero where ``to`` is better.
    """
    if parameter not in PARAMETERS:
        raise UserError(f"'{parameter}' is not one of the ten numbers; ask for {', '.join(PARAMETERS)}")
    scored = [record for record in _records(db, search, scope, protocol) if is_score(record["rfid"])]
    return _by_value(scored, parameter) + _paired(scored, parameter)


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


def top_records(db: Database, protocol: str | None = None, limit: int = 20) -> list[Record]:
    """The scored trials of all searches under one protocol (default: the latest search's), best first.

    Raises:
        UserError: no protocol of this memory has the fingerprint.
    """
    if protocol is None:
        protocol = find_search(db).protocol
    find_protocol(db, protocol)
    rows = db.conn.execute("SELECT * FROM all_results WHERE protocol = ? ORDER BY trial", [protocol])
    scored = [record for record in map(dict, rows) if is_score(record["rfid"])]
    return [_shown(record) for record in ranked(scored)[:limit]]


def show_trial(db: Database, trial: int) -> Record:
    """Everything about one trial: its record, proposal, training, protocol and scores under every protocol."""
    found = find_trial(db, trial)
    record = dict(db.conn.execute("SELECT * FROM results WHERE trial = ?", [trial]).fetchone())
    proposal = dict(db.conn.execute("SELECT * FROM proposals WHERE id = ?", [found.proposal]).fetchone())
    training = dict(db.conn.execute("SELECT * FROM trainings WHERE id = ?", [found.training]).fetchone())
    scores = db.conn.execute("SELECT * FROM scores WHERE training = ? ORDER BY id", [found.training])
    return {
        **_shown(record),
        "search_name": record["search_name"],
        "finished": record["finished"],
        "proposal": proposal,
        "training": _unpacked(training),
        "scores": [_unpacked(dict(row)) for row in scores],
        "protocol_content": find_protocol(db, record["protocol"]).model_dump(mode="json"),
    }


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


def _records(db: Database, search: int, scope: Scope, protocol: str | None) -> list[Record]:
    """The trials in scope under the protocol, oldest first."""
    if protocol is None:
        protocol = find_search(db, search).protocol
    else:
        find_protocol(db, protocol)
    rows = db.conn.execute(
        "SELECT * FROM all_results WHERE protocol = :protocol AND (:everywhere OR search = :search) ORDER BY trial",
        {"protocol": protocol, "everywhere": scope == "memory", "search": search},
    )
    records = [dict(row) for row in rows]
    return _once(records, search) if scope == "memory" else records


def _once(records: Iterable[Record], search: int) -> list[Record]:
    """Each training once: as the trial of this search if it has one, else as the first one that is not failed."""
    kept: dict[int, Record] = {}
    for record in sorted(records, key=lambda record: (record["search"] != search, record["state"] == "failed")):
        kept.setdefault(record["training"], record)
    return sorted(kept.values(), key=lambda record: record["trial"])


def _shown(record: Record) -> Record:
    """A row of `all_results` in the shape that scripts rely on (`memory top --json`), and a little more."""
    same = (
        "trial", "search", "round", "spec", "family", "dataset", "rfid", "metric", "params", "protocol", "seed",
        "state", "proposer", "reason", "device_seconds", "error", "created",
    )  # fmt: skip
    return {
        **{name: record[name] for name in same},
        "macs": {"paper": record["macs_paper"], "total": record["macs_total"]},
        "cached": bool(record["cached"]),
        "train": record["train"],
        "ci95": None if record["ci_low"] is None else [record["ci_low"], record["ci_high"]],
        "verdict": {
            "baseline": record["versus_baseline"] or "unmeasured",
            "incumbent": record["versus_incumbent"] or "unmeasured",
        },
    }


def _by_value(scored: list[Record], parameter: str) -> list[Record]:
    groups: dict[int, list[Record]] = defaultdict(list)
    for record in scored:
        groups[record[parameter]].append(record)
    return [
        {
            "kind": "value",
            "parameter": parameter,
            "value": value,
            "count": len(group),
            "mean": fmean(record["rfid"] for record in group),
            "best": best_of(record["rfid"] for record in group),
            "best_trial": ranked(group)[0]["trial"],
        }
        for value, group in sorted(groups.items())
    ]


def _paired(scored: list[Record], parameter: str) -> list[Record]:
    """Differences between trials that share everything but the parameter, their seed and family included."""
    shared = [name for name in (*PARAMETERS, "seed") if name != parameter]
    groups: dict[tuple[int, ...], list[Record]] = defaultdict(list)
    for record in scored:
        groups[tuple(record[name] for name in shared)].append(record)
    pairs: dict[tuple[int, int], list[Record]] = defaultdict(list)
    for group in groups.values():
        for one, other in combinations(sorted(group, key=lambda record: record[parameter]), 2):
            if one[parameter] != other[parameter]:
                difference = {"trials": [one["trial"], other["trial"]], "difference": other["rfid"] - one["rfid"]}
                pairs[one[parameter], other[parameter]].append(difference)
    return [
        {
            "kind": "pair",
            "parameter": parameter,
            "from": low,
            "to": high,
            "count": len(found),
            "mean_difference": fmean(pair["difference"] for pair in found),
            "pairs": found,
        }
        for (low, high), found in sorted(pairs.items())
    ]


def _unpacked(row: Record) -> Record:
    """A row whose ``*_json`` columns are values instead of text."""
    return {
        name.removesuffix("_json"): json.loads(value) if name.endswith("_json") else value
        for name, value in row.items()
    }
