"""Opens a search: settings become data, space, protocol and a row in memory; what the user can get wrong is said here.

Nothing is trained in this module, and no model is called.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from agent.backends.allowance import check_prices
from agent.backends.registry import check_backends
from agent.config.bench import objection, table_of
from agent.config.kinds import RUN, SearchKind
from agent.config.settings import RunConfig
from agent.config.sources import typed_name
from agent.config.stored import stored_config
from agent.search.protocol import protocol_of, sampling_of, settings_of
from agent.searchers.base import ProposerOf
from diffusion.cost.closed_form import cost
from diffusion.data.card import DataCard
from diffusion.data.images import prepare_images
from diffusion.errors import UserError
from diffusion.scores.networks import score_network
from diffusion.settings import Protocol, Settings
from diffusion.spec import UNetSpec
from diffusion.unetbench.table import Table
from diffusion.units import format_size
from memory.connection import check_memory
from memory.searches import check_name, create_search
from tools.executors.machine import Machine, Share, check_processes, share, this_machine

TABLE = "table"  # the key of a search's stored settings that says which version of a table it looks results up in


@dataclass(frozen=True)
class Plan:
    """A search that is possible: what it compares, where it starts, what the data are."""

    config: RunConfig
    protocol: Protocol
    baseline: UNetSpec
    card: DataCard | None
    notes: tuple[str, ...]
    proposer: ProposerOf | None = None  # who proposes, where that is a program of the user's own


def check(config: RunConfig) -> None:
    """What can be wrong before any data are read.

    Raises:
        UserError: one sentence with the remedy.
    """
    check_backends(config)
    check_prices(config)
    check_jobs(config)
    if config.search.name is not None:
        check_name(config.search.name)
    score_network(config.score.feature_network)
    sampling_of(config)
    if (weights := config.score.feature_weights) is not None and not weights.is_file():
        raise UserError(f"'{weights}' does not exist; name the weights file with --feature-weights")
    if late := [step for step in config.jobs.snapshot_steps or () if step > config.strategy.train_steps]:
        raise UserError(f"--snapshot-steps {late[0]}: the training ends at step {config.strategy.train_steps}")


def check_jobs(config: RunConfig) -> None:
    """Whether the trainings find room here; what a Ray cluster has is known when it answers.

    Raises:
        UserError: one sentence with the remedy.
    """
    jobs, images = config.jobs, config.strategy.batch_size
    if jobs.nproc > images:
        raise UserError(f"--nproc {jobs.nproc}: a batch has only {images} images; take fewer processes")
    if jobs.log_with is not None and find_spec(jobs.log_with) is None:
        raise UserError(f"--log-with {jobs.log_with} needs the package {jobs.log_with}; pip install it")
    if jobs.executor == "local":
        check_processes(this_machine(), jobs.nproc)
    elif find_spec("ray") is None:
        raise UserError("--executor ray needs the package ray; pip install 'diffnas-agent[ray]'")


def jobs_of(config: RunConfig, machine: Machine) -> Share:
    """How many trainings run at once, of how many processes and threads.

    Raises:
        UserError: one of them finds no room.
    """
    return share(machine, config.search.parallel, config.jobs.nproc, config.search.rounds)


def plan(config: RunConfig, spec: UNetSpec | None = None, kind: SearchKind = RUN) -> Plan:
    """Check everything, prepare the data and fix the protocol; on a table all of that is there.

    A `spec` that is given is trained as it is, whatever the space and the budget say: it was asked for by hand.

    Raises:
        UserError: one sentence with the remedy.
    """
    check(config)
    if table := table_of(config):
        return _on_table(config, table, kind)
    _check_out(config.places.out)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the hub's client is imported
    data, folder = config.data, config.places.out / "data"
    card = prepare_images(data.dataset, folder, data_dir=data.data_dir, resolution=data.resolution)
    return _planned(config, card, spec)


@contextmanager
def written_nowhere(config: RunConfig) -> Iterator[RunConfig]:
    """Settings to plan with where nothing is to be written: data and trainings lie in a folder that is thrown away.

    Raises:
        UserError: what is in the place of the memory is none, or one of an earlier version.
    """
    check_memory(config.places.db, read_only=True)
    with tempfile.TemporaryDirectory() as folder:
        yield config.changed(out=Path(folder))


def _on_table(config: RunConfig, table: Table, kind: SearchKind) -> Plan:
    if not kind.looks_up:
        raise UserError(f"'{table.name}' is a table of finished trainings, for `diffnas-agent run`; leave --bench out")
    if found := objection(config, table):
        raise UserError(f"{typed_name(found[0], {})} {found[1]}")
    protocol = table.protocol_at(config.strategy.train_steps)
    baseline, notes = affordable_baseline(config, protocol.settings)
    told = f"results are looked up in the table {table.name}, nothing is trained; device-seconds are those of the table"
    return Plan(config, protocol, baseline, table.contents.card, (*notes, told))


def _planned(config: RunConfig, card: DataCard, spec: UNetSpec | None) -> Plan:
    settings = settings_of(config, card)
    if (images := config.strategy.batch_size) > card.train_count:
        raise UserError(f"--batch-size {images}: the data set has only {card.train_count} training images")
    space = config.search_space
    what, stages = (f"'{spec}'", spec.stages) if spec else (f"--space {space.name}", space.stages)
    check_side(what, stages, settings.resolution)
    baseline, notes = (spec, ()) if spec else affordable_baseline(config, settings)
    protocol = protocol_of(config, card, settings)
    return Plan(config, protocol, baseline, card, notes)


def check_side(what: str, stages: int, side: int) -> None:
    """Whether images can be halved from stage to stage.

    Raises:
        UserError: their side leaves half pixels.
    """
    if side % (least := 2 ** (stages - 1)):
        fits = side + least - side % least
        raise UserError(
            f"{what}: its {stages} stages halve the images {stages - 1} times, so their side must be divisible by "
            f"{least}, and it is {side}; resize them with --resolution {fits}, or take fewer stages"
        )


def affordable_baseline(config: RunConfig, settings: Settings) -> tuple[UNetSpec, tuple[str, ...]]:
    """The default spec, or the widest of its shape that the budget allows.

    Raises:
        UserError: the baseline lies outside the space, or the budget is below the smallest spec.
    """
    space, asked = config.search_space, config.search
    baseline, budget, count = asked.baseline, asked.budget, asked.count
    if sentence := space.why_not(baseline):
        raise UserError(f"--baseline '{baseline}': {sentence}")
    size = (settings.family, settings.resolution, settings.channels)
    least = cost(space.smallest, *size).macs.by(count)
    if least > budget:
        raise UserError(
            f"--budget {format_size(budget)} is below the smallest spec of the space {space.name}: "
            f"{space.smallest} costs {format_size(least)} MACs ({count})"
        )
    if cost(baseline, *size).macs.by(count) <= budget:
        return baseline, ()
    widths = [width for width in reversed(space.base_channel) if width < baseline.base_channel]
    narrower = (baseline.model_copy(update={"base_channel": width}) for width in widths)
    found = next((spec for spec in narrower if cost(spec, *size).macs.by(count) <= budget), space.smallest)
    return found, (f"the default baseline {baseline} exceeds the budget; the baseline is {found}",)


def _check_out(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".write-test"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"'{out}' cannot be written ({error.strerror}); name another folder with --out") from None


def open_search(db: Database, planned: Plan, kind: SearchKind = RUN, *, told: Mapping[str, Any] | None = None) -> int:
    """Write the search into memory; its number.

    Args:
        db: the memory.
        planned: what is opened.
        kind: who proposes, where the settings do not say that.
        told: what is stored beside the settings.

    Raises:
        UserError: its name is taken.
    """
    config = planned.config
    return create_search(
        db,
        name=config.search.name,
        budget_macs=config.search.budget,
        count_convention=config.search.count,
        rounds=config.search.rounds,
        seed=config.search.seed,
        kind=kind.name,
        searcher=kind.proposer or config.search.searcher,
        backend=kind.proposer or config.backend.llm,
        protocol=planned.protocol,
        config={**stored(planned), **(told or {})},
    )


def stored(planned: Plan) -> dict[str, Any]:
    """All that a resume needs, as JSON-ready values; paths are absolute, so that it works from any folder."""
    flat = planned.config.flat()
    paths = {name: str(value.absolute()) for name, value in flat.items() if isinstance(value, Path)}
    table = table_of(planned.config)
    told = {"baseline": str(planned.baseline), "space_fingerprint": planned.config.search.space.fingerprint}
    looked_up = {TABLE: table.identity} if table else {}
    return planned.config.as_json() | paths | told | looked_up


def reopened(config_json: str, protocol: Protocol, overrides: dict[str, Any]) -> Plan:
    """The plan of a stored search; `overrides` are what the resume changes, such as the backend.

    Raises:
        UserError: one sentence with the remedy.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    paths = {name: value.absolute() for name, value in given.items() if isinstance(value, Path)}
    config = stored_config(config_json, given | paths)
    check_backends(config)
    check_prices(config)
    check_jobs(config)
    if (table := table_of(config)) and (before := json.loads(config_json)[TABLE]) != table.identity:
        raise UserError(f"'{table.name}' is {table.identity} here, and the search began with {before}; begin a new one")
    return Plan(config, protocol, config.search.baseline, None, ())
