"""How long one image takes through a spec's network: measured for a cap on latency, and remembered.

The measurement runs in a process of its own (`diffusion.cost.latency`), on this machine and the kind of device that the
trainings use. It is never estimated: where it cannot be taken, the caller is told why. Other work on the machine makes
it longer.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diffusion.cost.throughput import device_name
from diffusion.networks import spellings
from diffusion.settings import Settings
from diffusion.spec import UNetSpec
from diffusion.under_way import under_way
from memory.connection import transaction
from memory.ledger import charge
from memory.redaction import redact
from memory.scores import add_latency, find_latency, slower_than
from tools.errors import JobFailed
from tools.executors.local import child_environment
from tools.executors.machine import Share

if TYPE_CHECKING:
    from tools.context import SearchContext

TIMEOUT_SECONDS = 600.0


def latency_ms(context: "SearchContext", spec: UNetSpec) -> float:
    """The median of repeated forward passes of one image, in milliseconds; measured the first time only.

    Raises:
        JobFailed: it could not be measured.
    """
    known = known_latency_ms(context, spec)
    if known is not None:
        return known
    started = time.monotonic()
    median_ms, forwards = measured_ms(spec, context.limits.protocol.settings, context.jobs.share)
    db = context.db
    with transaction(db):
        add_latency(
            db,
            spec,
            context.limits.protocol.settings,
            _device(context),
            context.jobs.share.threads,
            median_ms=median_ms,
            forwards=forwards,
        )
        charge(db, context.search, "score", device_seconds=time.monotonic() - started, note=f"latency of {spec}")
    return median_ms


def known_latency_ms(context: "SearchContext", spec: UNetSpec) -> float | None:
    """What was measured before, of any spelling of the network, or None."""
    settings, device, threads = context.limits.protocol.settings, _device(context), context.jobs.share.threads
    spelled = (spec, *spellings(spec, settings.family))
    known = (find_latency(context.db, each, settings, device, threads) for each in spelled)
    return next((found for found in known if found is not None), None)


def known_slower_than(context: "SearchContext", at_most_ms: float) -> list[UNetSpec]:
    """The specs that were measured before and took longer."""
    jobs = context.jobs
    return slower_than(context.db, context.limits.protocol.settings, _device(context), jobs.share.threads, at_most_ms)


def _device(context: "SearchContext") -> str:
    return device_name("cuda:0" if context.jobs.share.device == "cuda" else "cpu")


def measured_ms(spec: UNetSpec, settings: Settings, share: Share) -> tuple[float, int]:
    """The median of so many forward passes of one image, measured now.

    Raises:
        JobFailed: it could not be measured.
    """
    threads = str(share.threads)
    command = [
        sys.executable,
        "-m",
        "diffusion.cost.latency",
        str(spec),
        settings.model_dump_json(),
        threads,
        share.device,
    ]
    found = said_by(command, threads, f"the latency of {spec}", ("median_ms", "forwards"))
    return float(found["median_ms"]), int(found["forwards"])


def said_by(command: list[str], threads: str, what: str, names: Sequence[str]) -> dict[str, Any]:
    """The values of these names in the JSON line that a measurement in a process of its own prints.

    Raises:
        JobFailed: it printed none, or one that lacks them.
    """
    try:
        with under_way(f"measuring {what}"):
            done = subprocess.run(
                command,
                env=child_environment(threads),
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        found = json.loads(done.stdout.splitlines()[-1])
        return {name: found[name] for name in names}
    except subprocess.TimeoutExpired:
        raise JobFailed(f"{what} was not measured within {TIMEOUT_SECONDS:.0f} seconds") from None
    except (ValueError, IndexError, KeyError, TypeError):
        said = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it said nothing")
        raise JobFailed(redact(f"{what} could not be measured: {said}")) from None
