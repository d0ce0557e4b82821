"""``--dry-run``: the resolved settings with their sources and what the search would use; nothing is written.

Costs are the closed form's. Seconds are not guessed: two real steps measure how fast this machine is.
"""

from dataclasses import replace
from typing import Any

from rich.console import Console

from agent.config.backend import WITHOUT_MODEL
from agent.config.bench import machine_of
from agent.config.kinds import RUN, TRAIN
from agent.config.sources import Resolved
from agent.estimate.calibration import Calibration, calibrate
from agent.estimate.forecast import Use, forecast
from agent.estimate.reference import ReferenceUse, print_reference, reference_use
from agent.report.results import Result
from agent.report.tables import print_settings, say, show
from agent.search.plan import Plan, jobs_of, plan, written_nowhere
from diffusion.cost.closed_form import BACKWARD_FACTOR, cost
from diffusion.cost.peak_memory import peak_bytes
from diffusion.networks import networks_in
from diffusion.settings import TrainJob
from diffusion.spec import UNetSpec
from diffusion.under_way import under_way
from diffusion.units import format_size
from tools.allowance import LIMITS
from tools.context import Jobs, SearchLimits
from tools.executors.machine import Share

MIB = 2**20


class SearchCosts(Result):
    """MACs by the search's own convention, and images."""

    baseline_macs: int
    baseline_trial_macs: int
    search_macs_at_most: int
    images_trained_per_trial: int
    images_sampled_per_trial: int


class Estimate(Result):
    """``run --dry-run --json``."""

    settings: dict[str, Any]
    """for each setting `{"value": …, "from": …}`; `from` is `built-in`, `preset NAME`, `file`, `.env`, `environment` or
    `option`"""
    baseline: str
    """the spec of round 0 under this budget"""
    space_size: int
    """specs in the search space"""
    protocol: str
    """fingerprint of the protocol"""
    metric: str
    """name of the score"""
    notes: list[str]
    """what was done to the images or the baseline"""
    jobs: Share | None
    """`parallel` trainings at once, of `processes` each, of `threads` each, on the `device` `cpu` or `cuda`; `null` for
    a Ray cluster, which is not asked"""
    memory_bytes: int
    """the most memory that each process of the baseline's training takes, by the closed form, beyond what it had
    before: weights, gradients, optimiser, averages, activations of a batch, data"""
    cost: SearchCosts
    """`baseline_macs`, `baseline_trial_macs`, `search_macs_at_most`, `images_trained_per_trial`,
    `images_sampled_per_trial`; MACs by the search's own convention, a training step counted as three forward passes"""
    allowance: dict[str, int | float | None]
    """`max_cost`, `max_hours`, `max_tokens`; `null` without such a limit"""
    use: Use
    """what the search may use: `input_tokens`, `output_tokens`, `cost_usd` (`null`: a price is unknown),
    `device_seconds` and `wall_seconds` with all rounds at the budget and without the model's answers, and `calibration`
    (`seconds_a_step`, `seconds_to_start`); the last three are `null` where no step was measured"""
    reference: ReferenceUse | None
    """the features of the real images: `network`, `split`, `images`, how many are `there` already, whichever search of
    the `--out` computed them, `seconds_an_image`, and `seconds` for the others; `null` where nothing is scored"""


def estimate(resolved: Resolved, spec: UNetSpec | None = None, *, measured: bool = False) -> Estimate:
    """Settings, sources, baseline, MACs and use of the whole search; the data are checked in a folder thrown away.

    With a `spec`, of its training by hand alone. Seconds are estimated where two steps may be `measured` here.
    """
    alone: dict[str, Any] = {"rounds": 0, "parallel": 1, "replicas": 1, "race_trainings": 0, **WITHOUT_MODEL}
    config = resolved.config.changed(**alone) if spec else resolved.config
    with written_nowhere(config) as aside:
        planned = plan(aside, spec, TRAIN if spec else RUN)
        jobs = jobs_of(config, machine_of(config)) if config.jobs.executor == "local" else None
        memory_bytes = memory_bytes_of(planned, jobs)
        measures = measured and jobs is not None and config.strategy.train_steps > 1 and not config.search.bench
        with under_way("measuring two steps of a training"):
            calibration: Calibration | None = calibrate(job_of(planned, jobs)) if measures else None
        reference = reference_use(planned, config.places.out, is_paced=True) if measured and spec is None else None
    return Estimate(
        settings=replace(resolved, config=config).shown(),
        baseline=str(planned.baseline),
        space_size=networks_in(config.search_space, config.data.family),
        protocol=planned.protocol.fingerprint,
        metric=planned.protocol.score.metric,
        notes=[*planned.notes, *resolved.notes],
        jobs=jobs,
        memory_bytes=memory_bytes,
        cost=costs_of(planned),
        allowance={name: getattr(config.backend, name) for name in LIMITS},
        use=forecast(planned, calibration, jobs.parallel if jobs else 1, reference),
        reference=reference,
    )


def job_of(planned: Plan, jobs: Share | None) -> TrainJob:
    """The baseline's training, as the search would make it."""
    config = planned.config
    limits = SearchLimits(config.search_space, config.search.budget, config.search.count, planned.protocol)
    share = jobs or Share(1, config.jobs.nproc, 1)
    return Jobs(config.places.out, config.search.seed, config.jobs, share).train_job(limits, planned.baseline)


def memory_bytes_of(planned: Plan, jobs: Share | None) -> int:
    """The most that each process of the baseline's training takes, by the closed form, beyond what it had before."""
    job, settings = job_of(planned, jobs), planned.protocol.settings
    known = cost(job.spec, settings.family, settings.resolution, settings.channels)
    return peak_bytes(job, known, jobs.device if jobs else "cpu")


def costs_of(planned: Plan) -> SearchCosts:
    """MACs of one trial at the baseline's cost, and the most the whole search can take at the budget."""
    config, settings = planned.config, planned.protocol.settings
    baseline = cost(planned.baseline, settings.family, settings.resolution, settings.channels).macs.by(
        config.search.count
    )
    images_trained = config.strategy.train_steps * config.strategy.batch_size
    images_denoised = config.score.num_images * config.score.sampling_steps
    passes = BACKWARD_FACTOR * images_trained + images_denoised
    return SearchCosts(
        baseline_macs=baseline,
        baseline_trial_macs=baseline * passes,
        search_macs_at_most=baseline * passes + config.search.rounds * config.search.budget * passes,
        images_trained_per_trial=images_trained,
        images_sampled_per_trial=config.score.num_images,
    )


def show_estimate(resolved: Resolved, spec: str | None = None, *, as_json: bool) -> None:
    """Print it, for people or as JSON; with a `spec`, of its training by hand alone.

    Raises:
        UserError: one sentence with the remedy.
    """
    parsed = None if spec is None else UNetSpec.parse(spec)
    show(estimate(resolved, parsed, measured=True), as_json, print_estimate)


def print_estimate(console: Console, found: Estimate) -> None:
    """The settings as a table, then the costs."""
    print_settings(console, found.settings)
    costs = found.cost
    say(
        console,
        f"\nBaseline {found.baseline}: {format_size(costs.baseline_macs)} MACs an image, "
        f"{format_size(costs.baseline_trial_macs)} MACs for its training and score; the whole search at most "
        f"{format_size(costs.search_macs_at_most)} MACs, over {found.space_size:,} networks.\n"
        f"Scores: {found.metric}, protocol {found.protocol}. Nothing was written.",
    )
    if jobs := found.jobs:
        say(
            console,
            f"Trainings: {jobs.parallel} at once, each with {jobs.processes} process(es) of {jobs.threads} thread(s).",
        )
    say(console, f"Memory of the baseline's training: {found.memory_bytes / MIB:,.0f} MiB for each process.")
    print_reference(console, found.reference)
    print_use(console, found.use)
    for note in found.notes:
        say(console, f"Note: {note}.")


def print_use(console: Console, use: Use) -> None:
    """What the search may use, in a line for models and one for machines."""
    dollars = "an unknown price" if use.cost_usd is None else f"${use.cost_usd:.2f}"
    read, written = format_size(use.input_tokens), format_size(use.output_tokens)
    say(console, f"Language model: about {read} tokens read and {written} written, {dollars}.")
    if use.calibration is None:
        say(console, "Time: not estimated, since no step was measured here.")
        return
    hours, wall = ((seconds or 0.0) / 3600 for seconds in (use.device_seconds, use.wall_seconds))
    say(
        console,
        f"Time: at most about {hours:.2g} device-hours, {wall:.2g} hours of wall-clock without the model's answers "
        f"(two steps measured, {use.calibration.seconds_a_step:.3g} s each).",
    )
