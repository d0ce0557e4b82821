"""Measured latencies: how long one image takes through a spec's network on a device, each measured once."""

from sqlite_utils import Database

from diffusion.settings import Settings
from diffusion.spec import UNetSpec
from memory.clock import utc_now
from memory.connection import transaction

FIELDS = "spec, family, resolution, channels, device, threads"


def find_latency(db: Database, spec: UNetSpec, settings: Settings, device: str, threads: int) -> float | None:
    """The median in milliseconds, or None if it was never measured."""
    row = db.conn.execute(
        f"SELECT median_ms FROM latencies WHERE ({FIELDS}) = (?, ?, ?, ?, ?, ?)",
        _key(spec, settings, device, threads),
    ).fetchone()
    return None if row is None else float(row["median_ms"])


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
