"""Times as they are stored and shown: ISO-8601 text in UTC with milliseconds, so that text order is time order."""

from datetime import UTC, datetime


def utc_now() -> str:
    """The present, such as ``2026-11-21T04:05:06.789+00:00``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def seconds_since(moment: str) -> float:
    """How long ago a stored time was; negative for one that lies ahead."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
