"""Opens a search: settings become data, space, protocol and a row in memory; what the user can get wrong is said here.

Nothing is trained in this module, and no model is called.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any, Literal

from sqlite_utils import Database

from agent.backends.allowance import check_prices
from agent.backends.registry import check_backends
from agent.config.settings import RunConfig, strategy_of
from agent.config.stored import stored_config
from diffusion.cost.closed_form import cost, costs
from diffusion.data.card import DataCard
from diffusion.data.images import prepare_images
from diffusion.errors import UserError
from diffusion.scores.networks import score_network
from diffusion.settings import Protocol, Sampling, ScoreProtocol, Settings, choose_sampling
from diffusion.spec import UNetSpec
from diffusion.units import format_size
from memory.searches import check_name, create_search
from tools.executors.machine import Machine, Share, check_processes, share, this_machine


@dataclass(frozen=True)
class Plan:
    """A search that is possible: what it compares, where it starts, what the data are."""

    config: RunConfig
    protocol: Protocol
    baseline: UNetSpec
    card: DataCard | None
    notes: tuple[str, ...]


def check(config: RunConfig) -> None:
    """What can be wrong before any data are read.

    Raises:
        UserError: one sentence with the remedy.
    """
    check_backends(config)
    check_prices(config)
    check_jobs(config)
    if config.name is not None:
        check_name(config.name)
    score_network(config.feature_network)
    choose_sampling(config.sampler, config.sampling_steps, config.family, config.diffusion_steps)
    if config.feature_weights is not None and not config.feature_weights.is_file():
        raise UserError(f"'{config.feature_weights}' does not exist; name the weights file with --feature-weights")
    if late := [step for step in config.snapshot_steps or () if step > config.train_steps]:
        raise UserError(f"--snapshot-steps {late[0]}: the training ends at step {config.train_steps}")


def check_jobs(config: RunConfig) -> None:
    """Whether the trainings find room here; what a Ray cluster has is known when it answers.

    Raises:
        UserError: one sentence with the remedy.
    """
    if config.nproc > config.batch_size:
        raise UserError(f"--nproc {config.nproc}: a batch has only {config.batch_size} images; take fewer processes")
    if config.log_with is not None and find_spec(config.log_with) is None:
        raise UserError(f"--log-with {config.log_with} needs the package {config.log_with}; pip install it")
    if config.executor == "local":
        check_processes(this_machine(), config.nproc)
    elif find_spec("ray") is None:
        raise UserError("--executor ray needs the package ray; pip install 'diffnas-agent[ray]'")


def jobs_of(config: RunConfig, machine: Machine) -> Share:
    """How many trainings run at once, of how many processes and threads.

    Raises:
        UserError: one of them finds no room.
    """
    return share(machine, config.parallel, config.nproc, config.rounds)


def plan(config: RunConfig, spec: UNetSpec | None = None) -> Plan:
    """Check everything, prepare the data and fix the protocol.

    A `spec` that is given is trained as it is, whatever the space and the budget say: it was asked for by hand.

    Raises:
        UserError: one sentence with the remedy.
    """
    check(config)
    _check_out(config.out)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the hub's client is imported
    card = prepare_images(config.dataset, config.out / "data", data_dir=config.data_dir, resolution=config.resolution)
    return _planned(config, card, spec)


def _planned(config: RunConfig, card: DataCard, spec: UNetSpec | None) -> Plan:
    settings = Settings(
        dataset=PurePath(card.name).name if is_path(card.name) else card.name,  # a card names no folder of a machine
        resolution=card.resolution,
        channels=card.channels,
        family=config.family,
        schedule=config.schedule,
        horizontal_flips=config.horizontal_flips,
    )
    if config.batch_size > card.train_count:
        raise UserError(f"--batch-size {config.batch_size}: the data set has only {card.train_count} training images")
    baseline, notes = (spec, ()) if spec else affordable_baseline(config, settings)
    protocol = Protocol(
        data_fingerprint=card.fingerprint,
        settings=settings,
        strategy=strategy_of(config),
        score=score_protocol(
            card,
            feature_network=config.feature_network,
            reference_split=config.reference_split,
            sampling=choose_sampling(config.sampler, config.sampling_steps, config.family, config.diffusion_steps),
            num_images=config.num_images,
        ),
    )
    return Plan(config, protocol, baseline, card, notes)


def is_path(dataset: str) -> bool:
    """Whether a data set was named by where it lies; a Hugging Face id has a slash too, but nothing lies there."""
    return PurePath(dataset).suffix == ".npz" or Path(dataset).expanduser().exists()


def score_protocol(
    card: DataCard,
    *,
    feature_network: str,
    reference_split: Literal["train", "test"],
    sampling: Sampling,
    num_images: int,
) -> ScoreProtocol:
    """How a score on this data set is taken.

    Raises:
        UserError: no such network, or the data set has no test images.
    """
    network = score_network(feature_network)
    count = card.train_count if reference_split == "train" else card.test_count
    if count < 2:
        raise UserError(f"--reference-split {reference_split}: '{card.name}' has {count} such images; take the other")
    return ScoreProtocol(
        feature_network=network.name,
        feature_sha256=network.sha256,
        feature_input_size=network.input_size,
        resize_filter=network.resize_filter,
        reference_split=reference_split,
        reference_count=count,
        sampler=sampling.sampler,
        sampling_steps=sampling.steps,
        variance=sampling.variance,
        num_images=num_images,
    )


def affordable_baseline(config: RunConfig, settings: Settings) -> tuple[UNetSpec, tuple[str, ...]]:
    """The default spec, or the widest of its shape that the budget allows.

    Raises:
        UserError: the baseline lies outside the space, or the budget is below the smallest spec.
    """
    space, baseline = config.search_space, config.baseline
    if sentence := space.why_not(baseline):
        raise UserError(f"--baseline '{baseline}': {sentence}")
    size = (settings.family, settings.resolution, settings.channels)
    rows = space.rows()
    every = costs(rows, *size).macs(config.count)
    smallest = int(every.argmin())
    if int(every[smallest]) > config.budget:
        raise UserError(
            f"--budget {format_size(config.budget)} is below the smallest spec of the space {space.name}: "
            f"{UNetSpec.from_row(rows[smallest])} costs {format_size(int(every[smallest]))} MACs ({config.count})"
        )
    if cost(baseline, *size).macs.by(config.count) <= config.budget:
        return baseline, ()
    narrower = [
        spec
        for width in sorted(space.base_channel, reverse=True)
        if (spec := baseline.model_copy(update={"base_channel": width})) and width < baseline.base_channel
    ]
    fitting = [spec for spec in narrower if cost(spec, *size).macs.by(config.count) <= config.budget]
    found = fitting[0] if fitting else UNetSpec.from_row(rows[smallest])
    return found, (f"the default baseline {baseline} exceeds the budget; the baseline is {found}",)


def _check_out(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"'{out}' cannot be written ({error.strerror}); name another folder with --out") from None


def open_search(
    db: Database, planned: Plan, *, backend: str | None = None, told: Mapping[str, Any] | None = None
) -> int:
    """Write the search into memory; its number.

    Args:
        db: the memory.
        planned: what is opened; its settings name the searcher.
        backend: who proposes, where that is not the language model of the settings.
        told: what is stored beside the settings.

    Raises:
        UserError: its name is taken.
    """
    config = planned.config
    return create_search(
        db,
        name=config.name,
        budget_macs=config.budget,
        count_convention=config.count,
        rounds=config.rounds,
        seed=config.seed,
        searcher=config.searcher,
        backend=backend or config.llm,
        protocol=planned.protocol,
        config={**stored(planned), **(told or {})},
    )


def stored(planned: Plan) -> dict[str, Any]:
    """All that a resume needs, as JSON-ready values; paths are absolute, so that it works from any folder."""
    config = planned.config.model_dump(mode="json")
    config |= {name: str(getattr(planned.config, name).absolute()) for name in ("out", "data_dir", "db")}
    for name in ("feature_weights", "prices"):
        if (path := getattr(planned.config, name)) is not None:
            config[name] = str(path.absolute())
    return {**config, "baseline": str(planned.baseline)}


def reopened(config_json: str, protocol: Protocol, overrides: dict[str, Any]) -> Plan:
    """The plan of a stored search; `overrides` are what the resume changes, such as the backend.

    Raises:
        UserError: one sentence with the remedy.
    """
    config = stored_config(config_json, {name: value for name, value in overrides.items() if value is not None})
    check_backends(config)
    check_prices(config)
    check_jobs(config)
    return Plan(config, protocol, config.baseline, None, ())
