"""Records of trials: the best of a search or of the whole memory, the Pareto front, and one trial with all about it.

Each is answered within one protocol, by default the search's own, since scores of two protocols do not compare. The
questions of a search look at its own trials, cached ones among them; ``scope="memory"`` looks at every search's, each
training once. Answers are lists of dictionaries that JSON can hold. Free-form questions stand in `memory.queries.sql`.
"""

import json
from collections.abc import Iterable
from typing import Literal

from sqlite_utils import Database

from diffusion.spec import UNetSpec
from memory.queries.ranking import Record, is_score, pareto_front, ranked
from memory.searches import find_protocol, find_search
from memory.trials import find_trial

Scope = Literal["search", "memory"]


def best(
    db: Database, search: int, limit: int | None = 10, *, scope: Scope = "search", protocol: str | None = None
) -> list[Record]:
    """The scored trials, best first; without a limit all of them."""
    found = [record for record in records_of(db, search, scope, protocol) if is_score(record["rfid"])]
    return [shown(record) for record in ranked(found)[:limit]]


def pareto(db: Database, search: int, *, scope: Scope = "search", protocol: str | None = None) -> list[Record]:
    """The scored trials that none beats in both score and MACs, cheapest first, by the search's counting convention."""
    cost = find_search(db, search).macs_column
    return [shown(record) for record in pareto_front(records_of(db, search, scope, protocol), cost)]


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
    return [shown(record) for record in ranked(scored)[:limit]]


def show_trial(db: Database, trial: int) -> Record:
    """Everything about one trial: its record, proposal, training, protocol and scores under every protocol."""
    found = find_trial(db, trial)
    record = dict(db.conn.execute("SELECT * FROM results WHERE trial = ?", [trial]).fetchone())
    proposal = dict(db.conn.execute("SELECT * FROM proposals WHERE id = ?", [found.proposal]).fetchone())
    training = dict(db.conn.execute("SELECT * FROM trainings WHERE id = ?", [found.training]).fetchone())
    scores = db.conn.execute("SELECT * FROM scores WHERE training = ? ORDER BY id", [found.training])
    return {
        **shown(record),
        "search_name": record["search_name"],
        "finished": record["finished"],
        "proposal": proposal,
        "training": _unpacked(training),
        "scores": [_unpacked(dict(row)) for row in scores],
        "protocol_content": find_protocol(db, record["protocol"]).model_dump(mode="json"),
    }


def records_of(db: Database, search: int, scope: Scope, protocol: str | None) -> list[Record]:
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


def shown(record: Record) -> Record:
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


def _unpacked(row: Record) -> Record:
    """A row whose ``*_json`` columns are values instead of text."""
    return {
        name.removesuffix("_json"): json.loads(value) if name.endswith("_json") else value
        for name, value in row.items()
    }


def spec_in_search(db: Database, search: int, spec: UNetSpec) -> Record | None:
    """The record (view `results`) of a spec that this search has tried, its best one if it has several."""
    rows = db.conn.execute("SELECT * FROM results WHERE search = ? AND spec = ? ORDER BY trial", [search, str(spec)])
    found = ranked([dict(row) for row in rows])
    return found[0] if found else None
