"""The trials nearest to a spec."""

import math

from sqlite_utils import Database

from diffusion.spec import PARAMETERS, UNetSpec
from memory.queries.ranking import Record
from memory.queries.records import Scope, records_of, shown

DISTANCE = "sum over the ten numbers: |log2 of the ratio| for channels, blocks and multipliers, 1 for each other attn"


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
            for name, asked, here in zip(PARAMETERS, spec.row, other.row, strict=True)
            if asked != here
        }
        distance = round(spec_distance(spec, other), 4)
        found.append({**shown(record), "distance": distance, "distance_is": DISTANCE, "differs_in": differs})
    return sorted(found, key=lambda record: record["distance"])[:limit]


def spec_distance(one: UNetSpec, other: UNetSpec) -> float:
    """How far two specs are apart (`DISTANCE`): twice a width is as far as one attention more."""
    sizes = zip(one.row[:6], other.row[:6], strict=True)
    flags = zip(one.attn, other.attn, strict=True)
    return sum(math.log2(max(pair) / min(pair)) for pair in sizes) + sum(a != b for a, b in flags)
