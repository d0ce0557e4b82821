"""What the features of the real images will take, which every score is held against: the one estimate of that.

They are computed once, by the first score that needs them, for all searches of an ``--out``. How fast the feature
network is here is measured with two batches of noise, in a folder that is thrown away.
"""

import tempfile
from pathlib import Path
from threading import Event

from rich.console import Console

from agent.config.bench import machine_of
from agent.report.results import Result
from agent.report.tables import say
from agent.report.under_way import duration
from agent.search.plan import Plan, jobs_of
from diffusion.scores.kept import KeptReference
from diffusion.settings import PaceJob
from diffusion.under_way import under_way
from tools.context import reference_folder
from tools.errors import JobFailed
from tools.executors.local import LocalExecutor


class ReferenceUse(Result):
    """The features of the real images that scores are held against."""

    network: str
    """the feature network"""
    split: str
    """which images, `train` or `test`"""
    images: int
    """how many"""
    there: int
    """of how many the features are kept in `--out` already, by whatever search"""
    seconds_an_image: float | None
    """how long the network takes for one here; `null` where that was not measured, such as without its
    weights"""
    seconds: float | None
    """what those take that are not there, once for all searches of the `--out`; 0 where all are, `null` where it is not
    known"""


def reference_use(planned: Plan, out: Path, *, is_paced: bool = False) -> ReferenceUse | None:
    """What the features for a plan take, where trainings will lie in `out`; None where nothing is scored here.

    How fast the network is gets measured where some are missing, and where it `is_paced` for other features.
    """
    if planned.config.search.bench:
        return None
    score = planned.protocol.score
    kept = KeptReference(
        reference_folder(out),
        planned.protocol.data_fingerprint,
        score.reference_split,
        score.reference_count,
        score.feature_network,
    )
    left = score.reference_count - (there := kept.images_there)
    pace = seconds_an_image(planned) if left or is_paced else None
    return ReferenceUse(
        network=score.feature_network,
        split=score.reference_split,
        images=score.reference_count,
        there=there,
        seconds_an_image=pace,
        seconds=0.0 if left == 0 else None if pace is None else left * pace,
    )


def seconds_an_image(planned: Plan) -> float | None:
    """How long the feature network takes here; None where it cannot be measured, or scores are taken elsewhere."""
    config, settings = planned.config, planned.protocol.settings
    if config.jobs.executor != "local":
        return None
    weights = config.score.feature_weights
    with tempfile.TemporaryDirectory() as folder, under_way("measuring the feature network"):
        job = PaceJob(
            run_folder=Path(folder),
            feature_network=planned.protocol.score.feature_network,
            feature_weights=weights and weights.absolute(),
            shape=(settings.channels, settings.resolution, settings.resolution),
            threads=jobs_of(config, machine_of(config)).threads,
        )
        try:
            found: float | None = LocalExecutor(Event()).pace(job)["seconds_an_image"]
        except JobFailed:  # as the score will say: an estimate stops nobody
            return None
    return found


def print_reference(console: Console, found: ReferenceUse | None) -> None:
    """Whether they are there, or how long they take."""
    if found is None:
        return
    what = f"Features of the {found.images:,} real images ({found.split}) by {found.network}"
    there = f"; those of {found.there:,} are there" if found.there else ""
    if found.seconds == 0:
        say(console, f"{what}: there already.")
    elif found.seconds is None:
        say(console, f"{what}: not there yet, and their time is not estimated{there}.")
    else:
        say(console, f"{what}: about {duration(found.seconds)}, once for all searches of this --out{there}.")
