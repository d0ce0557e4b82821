"""The questions to the memory answered a second time, as plainly as can be: all rows are read, Python picks and sorts.

What the database answers (`memory.queries`) is compared with this; rows are put together from the tables alone.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations
from statistics import fmean
from typing import TypeGuard

from sqlite_utils import Database

from diffusion.networks import head_width
from diffusion.spec import PARAMETERS, UNetSpec
from memory.queries.ranking import Record
from memory.queries.records import Scope, shown
from memory.queries.similar import DISTANCE, spec_distance
from memory.searches import find_search

ALL_RESULTS = f"""
    WITH measured AS (
        SELECT training, protocol, metric, step, avg(value) AS value, count(value) AS sampling_seeds,
               sum(device_seconds) AS score_seconds
        FROM scores GROUP BY training, protocol, metric, step
    ),
    shown AS (
        SELECT trials.id AS trial, searches.protocol AS protocol
        FROM trials JOIN searches ON searches.id = trials.search
        UNION
        SELECT trials.id, scores.protocol FROM trials JOIN scores ON scores.training = trials.training
    )
    SELECT
        trials.id AS trial, trials.search AS search, searches.name AS search_name, trials.round AS round,
        trainings.spec AS spec, trainings.network AS network,
        {", ".join(f"trainings.{name} AS {name}" for name in PARAMETERS)},
        {", ".join(f"trainings.base_channel * trainings.mult_{stage} AS width_{stage}" for stage in range(6))},
        trainings.macs_paper AS macs_paper, trainings.macs_total AS macs_total, trainings.params AS params,
        measured.value AS rfid, protocols.metric AS metric, protocols.fingerprint AS protocol,
        trials.state AS state, proposals.proposer AS proposer, proposals.reason AS reason, trials.cached AS cached,
        trainings.seed AS seed, trainings.loss AS loss, trainings.steps_done AS steps_done,
        trainings.device_seconds AS device_seconds, measured.score_seconds AS score_seconds,
        measured.sampling_seeds AS sampling_seeds, trials.error AS error, trials.created AS created,
        trials.finished AS finished, trainings.family AS family, trainings.dataset AS dataset,
        trials.training AS training, trials.proposal AS proposal,
        verdicts.ci_low AS ci_low, verdicts.ci_high AS ci_high, verdicts.baseline AS versus_baseline,
        verdicts.incumbent AS versus_incumbent,
        coalesce(json_extract(searches.config_json, '$.train'), 'rapid') AS train,
        protocols.fingerprint = searches.protocol AS own_protocol
    FROM shown
    JOIN trials ON trials.id = shown.trial
    JOIN searches ON searches.id = trials.search
    JOIN proposals ON proposals.id = trials.proposal
    JOIN trainings ON trainings.id = trials.training
    JOIN protocols ON protocols.fingerprint = shown.protocol
    LEFT JOIN verdicts ON verdicts.trial = trials.id AND protocols.fingerprint = searches.protocol
    LEFT JOIN measured ON measured.training = trials.training
        AND trials.state <> 'failed' AND (trials.state <> 'pruned' OR protocols.fingerprint <> searches.protocol)
        AND measured.protocol = protocols.fingerprint
        AND measured.metric = protocols.metric
        AND measured.step = (
            SELECT max(step) FROM scores
            WHERE training = trials.training AND protocol = protocols.fingerprint AND metric = protocols.metric
        )
"""


def is_score(value: object) -> TypeGuard[float]:
    """Whether a value is a score at all."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def rank_key(value: object) -> tuple[bool, float]:
    """Sorts scores best first, and what is no score behind them."""
    return (False, float(value)) if is_score(value) else (True, 0.0)


def better(value: object, than: object) -> bool:
    """Whether the first is strictly better than the second."""
    return rank_key(value) < rank_key(than)


def best_of(values: Iterable[float | None]) -> float | None:
    """The best score among them, or None if none is a score."""
    return min((value for value in values if is_score(value)), key=rank_key, default=None)


def ranked(records: Iterable[Record]) -> list[Record]:
    """Best first; equal scores keep their order."""
    return sorted(records, key=lambda record: rank_key(record["rfid"]))


def pareto_front(records: Iterable[Record], cost: str) -> list[Record]:
    """The scored records that no other beats in score or cost without losing in the other, cheapest first."""
    front: list[Record] = []
    scored = [record for record in records if is_score(record["rfid"])]
    for record in sorted(scored, key=lambda record: (record[cost], rank_key(record["rfid"]))):
        same = front and (record[cost], record["rfid"]) == (front[-1][cost], front[-1]["rfid"])
        if not front or same or better(record["rfid"], front[-1]["rfid"]):
            front.append(record)
    return front


def best(
    db: Database, search: int, limit: int | None = 10, *, scope: Scope = "search", protocol: str | None = None
) -> list[Record]:
    found = [record for record in records_of(db, search, scope, protocol) if is_score(record["rfid"])]
    return [shown(record) for record in ranked(found)[:limit]]


def top_records(db: Database, protocol: str, limit: int = 20) -> list[Record]:
    scored = [record for record in rows_under(db, protocol) if is_score(record["rfid"])]
    return [shown(record) for record in ranked(scored)[:limit]]


def pareto(db: Database, search: int, *, scope: Scope = "search", protocol: str | None = None) -> list[Record]:
    cost = find_search(db, search).macs_column
    return [shown(record) for record in pareto_front(records_of(db, search, scope, protocol), cost)]


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
    for record in records_of(db, search, scope, protocol):
        other = UNetSpec.parse(record["spec"])
        differs = {
            name: {"asked": asked, "here": here}
            for name in PARAMETERS
            if (asked := spec.numbers.get(name)) != (here := other.numbers.get(name))
        }
        distance = round(spec_distance(spec, other), 4)
        found.append({**shown(record), "distance": distance, "distance_is": DISTANCE, "differs_in": differs})
    return sorted(found, key=lambda record: record["distance"])[:limit]


def effect(
    db: Database, search: int, parameter: str, *, scope: Scope = "search", protocol: str | None = None
) -> list[Record]:
    """What one of the numbers, or the width of a stage, seems to do.

    Rows of kind ``pair`` compare the trials that differ in it alone: the mean of (score at ``to``) − (score at
    ``from``), below zero where ``to`` is better. Rows of kind ``value`` give the scored trials that have each value.
    """
    found = [record for record in records_of(db, search, scope, protocol) if is_score(record["rfid"])]
    scored = [record for record in found if value_of(record, parameter) is not None]
    return _paired(scored, parameter) + _by_value(scored, parameter)


def value_of(record: Record, parameter: str) -> int | None:
    """A number of a record's spec, or the width of a stage."""
    spec = UNetSpec.parse(record["spec"])
    return (spec.numbers | {f"width_{stage}": width for stage, width in enumerate(spec.channels)}).get(parameter)


def without(record: Record, parameter: str) -> object:
    """What is left of a record's training without a parameter: what another one shares with it that makes a pair."""
    spec = UNetSpec.parse(record["spec"])
    kind, _, stage = parameter.partition("_")
    if parameter == "base_channel" or kind == "mult":
        return record["seed"], tuple(each for each in spec.numbers.items() if each[0] != parameter)
    widths, flags, blocks = list(spec.channels), list(spec.attn), spec.num_blocks
    if kind == "width":
        del widths[int(stage)]
    elif kind == "attn":
        del flags[int(stage)]
    else:
        blocks = 0
    heads = head_width(spec) if record["family"] == "iddpm" else 0
    return record["seed"], spec.stages, tuple(widths), tuple(flags), blocks, heads


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


def rows_under(db: Database, protocol: str) -> list[Record]:
    """The rows of the view `all_results` of a protocol."""
    rows = db.conn.execute(f"SELECT * FROM ({ALL_RESULTS}) WHERE protocol = ? ORDER BY trial", [protocol])
    return [dict(row) for row in rows]


def records_of(db: Database, search: int, scope: Scope, protocol: str | None) -> list[Record]:
    """The trials in scope under the protocol, oldest first."""
    records = rows_under(db, protocol or find_search(db, search).protocol)
    return _once(records, search) if scope == "memory" else [row for row in records if row["search"] == search]


def _once(records: Iterable[Record], search: int) -> list[Record]:
    """Each training once: as the trial of this search if it has one, else as the first one that is not failed."""
    kept: dict[int, Record] = {}
    for record in sorted(records, key=lambda record: (record["search"] != search, record["state"] == "failed")):
        kept.setdefault(record["training"], record)
    return sorted(kept.values(), key=lambda record: record["trial"])


def _by_value(scored: list[Record], parameter: str) -> list[Record]:
    groups: dict[int | None, list[Record]] = defaultdict(list)
    for record in scored:
        groups[value_of(record, parameter)].append(record)
    return [
        {
            "kind": "value",
            "parameter": parameter,
            "value": value,
            "count": len(group),
            "mean": fmean(record["rfid"] for record in group),
            "best": best_of(record["rfid"] for record in group),
            "best_trial": ranked(group)[0]["trial"],
            "confounded": True,
        }
        for value, group in sorted(groups.items())
    ]


def _paired(scored: list[Record], parameter: str) -> list[Record]:
    """Differences between trials that share everything but the parameter, their seed and family included."""
    groups: dict[object, list[Record]] = defaultdict(list)
    for record in scored:
        groups[without(record, parameter)].append(record | {"at": value_of(record, parameter)})
    pairs: dict[tuple[int, int], list[Record]] = defaultdict(list)
    for group in groups.values():
        for one, other in combinations(sorted(group, key=lambda record: record["at"]), 2):
            if one["at"] != other["at"]:
                difference = {"trials": [one["trial"], other["trial"]], "difference": other["rfid"] - one["rfid"]}
                pairs[one["at"], other["at"]].append(difference)
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
