"""What was measured: how good a training's images are, and how long one image takes through a spec's network.

Measured again, the first value stays. Nothing here measures, and which score is better is `memory.queries.ranking`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from diffusion.settings import Protocol, Settings
from diffusion.spec import UNetSpec
from memory.connection import finite, transaction, utc_now
from memory.redaction import redacted_json
from memory.searches import store_protocol

FIELDS = "spec, family, resolution, channels, device, threads"


@dataclass(frozen=True)
class Score:
    """The score of a training under one protocol: the mean over its sampling seeds at the last step."""

    value: float | None
    metric: str
    step: int
    num_images: int
    sampling_seeds: int
    device_seconds: float


def add_score(
    db: Database,
    training: int,
    *,
    step: int,
    protocol: Protocol,
    sampling_seed: int,
    metric: str,
    value: float | None,
    num_images: int,
    device_seconds: float,
    extra: dict[str, Any] | None = None,
) -> int:
    """Keep one measurement; measured again, the first one stays. A value that is not finite is stored as none."""
    with transaction(db) as conn:
        key = [training, step, store_protocol(db, protocol), sampling_seed, metric]
        conn.execute(
            "INSERT INTO scores (training, step, protocol, sampling_seed, metric, value, num_images, device_seconds,"
            " extra_json, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (training, step, protocol, sampling_seed, metric) DO NOTHING",
            [*key, finite(value), num_images, device_seconds, redacted_json(extra or {}), utc_now()],
        )
        row = conn.execute(
            "SELECT id FROM scores WHERE training = ? AND step = ? AND protocol = ? AND sampling_seed = ?"
            " AND metric = ?",
            key,
        ).fetchone()
        return int(row["id"])


def score_of(db: Database, training: int, protocol: str) -> Score | None:
    """What a training scored under a protocol's fingerprint, or None if it was never measured."""
    row = db.conn.execute(
        "SELECT avg(value) AS value, scores.metric AS metric, step, max(num_images) AS num_images,"
        " count(value) AS sampling_seeds, sum(device_seconds) AS device_seconds"
        " FROM scores JOIN protocols ON protocols.fingerprint = scores.protocol AND protocols.metric = scores.metric"
        " WHERE training = ? AND protocol = ? GROUP BY step ORDER BY step DESC LIMIT 1",
        [training, protocol],
    ).fetchone()
    return None if row is None else Score(**dict(row))


def rung_scores(db: Database, search: int, protocols: Sequence[str]) -> dict[int, dict[int, float | None]]:
    """What the trials of a search scored at the rungs, each under the protocol of its step: by trial, then by step."""
    rows = db.conn.execute(
        "SELECT trials.id AS trial, step, avg(value) AS value FROM scores"
        " JOIN protocols ON protocols.fingerprint = scores.protocol AND protocols.metric = scores.metric"
        " JOIN trials ON trials.training = scores.training"
        f" WHERE trials.search = ? AND scores.protocol IN ({', '.join('?' * len(protocols))}) GROUP BY trials.id, step",
        [search, *protocols],
    )
    found: dict[int, dict[int, float | None]] = {}
    for row in rows:
        found.setdefault(row["trial"], {})[row["step"]] = row["value"]
    return found


def find_latency(db: Database, spec: UNetSpec, settings: Settings, device: str, threads: int) -> float | None:
    """The median in milliseconds, or None if it was never measured."""
    row = db.conn.execute(
        f"SELECT median_ms FROM latencies WHERE ({FIELDS}) = (?, ?, ?, ?, ?, ?)",
        _key(spec, settings, device, threads),
    ).fetchone()
    return None if row is None else float(row["median_ms"])


def slower_than(db: Database, settings: Settings, device: str, threads: int, at_most_ms: float) -> list[UNetSpec]:
    """The specs of which a longer median was measured."""
    rows = db.conn.execute(
        f"SELECT spec FROM latencies WHERE ({FIELDS}, true) = (spec, ?, ?, ?, ?, ?, median_ms > ?)",
        [settings.family, settings.resolution, settings.channels, device, threads, at_most_ms],
    )
    return [UNetSpec.parse(row["spec"]) for row in rows]


def add_latency(
    db: Database, spec: UNetSpec, settings: Settings, device: str, threads: int, *, median_ms: float, forwards: int
) -> None:
    """Keep a measurement; measured again, the first one stays."""
    with transaction(db) as conn:
        conn.execute(
            f"INSERT INTO latencies ({FIELDS}, median_ms, forwards, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            [*_key(spec, settings, device, threads), median_ms, forwards, utc_now()],
        )


def _key(spec: UNetSpec, settings: Settings, device: str, threads: int) -> list[str | int]:
    return [str(spec), settings.family, settings.resolution, settings.channels, device, threads]
