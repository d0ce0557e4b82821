"""A trained trial, found by its number, and ``diffnas-agent evaluate``: its score under any protocol, kept in memory.

Nothing is trained here. Drawing images and exporting stand in `agent.trials.sample` and `agent.trials.export`.
"""

from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from rich.console import Console

from agent.config.settings import RunConfig
from agent.config.stored import stored_config
from agent.report.console import people
from agent.report.progress import Lines
from agent.report.results import Result
from agent.report.tables import how_scored, print_table, say, score
from agent.search.plan import Plan
from agent.search.protocol import score_protocol
from agent.search.session import interruptible
from agent.search.wiring import context_maker
from diffusion.data.card import DataCard
from diffusion.data.images import open_images
from diffusion.errors import UserError, command
from diffusion.settings import Protocol, ScoreJob, choose_sampling
from diffusion.spec import widths
from diffusion.training.checkpoint import Checkpoint, kept_steps, step_checkpoint
from memory.connection import opened
from memory.queries.records import show_trial
from memory.searches import find_protocol, find_search
from memory.trials import Trial, find_trial
from tools.errors import Interrupted, JobFailed
from tools.executors.local import LocalExecutor
from tools.jobs.measure import EXTRA, run_and_remember

SHOWN = ("rfid", "kid", "kid_std", "precision", "recall")


class Evaluated(Result):
    """``evaluate --json``."""

    trial: int
    """id of the trial"""
    spec: str
    """its spec"""
    step: int
    """the step whose averaged weights were scored"""
    rfid: float | None
    """the score"""
    metric: str
    """name of the score; plain `fid` for the Inception of 2015 alone"""
    ci95: None
    """`null`"""
    grid: str | None
    """path of a grid of the first hundred images"""
    kid: float | None
    """kernel distance with the same features, the mean squared MMD over subsets, not times 1,000; at most 10,000 images
    of each side"""
    kid_std: float | None
    """its standard deviation over the subsets"""
    precision: float | None
    """share of the sampled images that lie in the manifold of the real ones"""
    recall: float | None
    """share of the real images that lie in the manifold of the sampled ones"""
    num_images: int
    """images sampled"""
    sampling_seed: int
    """seed of the images"""
    protocol: str
    """fingerprint of the protocol"""
    scored: str
    """the protocol in words"""
    device_seconds: float
    """seconds of sampling and scoring"""


@dataclass(frozen=True)
class Known:
    """A trained trial with what its search compares."""

    trial: Trial
    protocol: Protocol
    config: RunConfig

    @property
    def data_folder(self) -> Path:
        """Where the prepared images lie."""
        return self.config.places.out / "data"

    @property
    def card(self) -> DataCard:
        """What the data set is."""
        return open_images(self.data_folder, self.protocol.data_fingerprint).card

    def checkpoint(self, step: int | None) -> Checkpoint:
        """The averaged weights of a step, by default of the last.

        Raises:
            UserError: they were not kept, or are damaged.
        """
        asked = step or self.protocol.strategy.train_steps
        found = step_checkpoint(self.trial.run_folder, asked)
        if found is not None and found.job.spec != self.trial.spec:
            raise UserError(f"'{self.trial.id}': its weights are of another spec, {found.job.spec}; train again")
        if found is not None:
            return found
        folder = self.trial.run_folder
        if not folder.is_dir():
            raise UserError(f"'{self.trial.id}': its run folder {folder} is not there; put it back, or train again")
        kept = kept_steps(folder)
        if asked in kept:
            raise UserError(f"'{self.trial.id}': the weights of step {asked} are damaged; delete {folder}, train again")
        listed = ", ".join(map(str, kept)) or "none"
        raise UserError(f"'{self.trial.id}': the weights of step {asked} were not kept; there are those of {listed}")


def known_trial(db_path: Path, trial: int) -> Known:
    """A trained trial of a memory.

    Raises:
        UserError: there is none of this number, or it has no weights.
    """
    with opened(db_path, read_only=True) as db:
        found = find_trial(db, trial)
        search = find_search(db, found.search)
        protocol = find_protocol(db, search.protocol)
    if found.training_state != "done":
        ended = {"failed": f"failed ({found.error})", "pruned": f"was stopped early ({found.error})"}
        why = ended.get(found.state, "is not trained yet")
        look = command("status", search.name, db=db_path)
        raise UserError(f"'{trial}' {why}; `{look}` says how its search stands")
    config = stored_config(search.config_json, {"db": db_path})
    if table := config.search.bench:
        raise UserError(
            f"'{trial}' was looked up in the table {table}, which has no weights; "
            f"`{command('train', found.spec, db=db_path)}` makes some"
        )
    return Known(found, protocol, config)


def evaluate_by_hand(
    db_path: Path,
    trial: int,
    changes: dict[str, Any],
    sampling_seed: int | None = None,
    step: int | None = None,
) -> Evaluated:
    """Score a trial under its search's protocol with some `changes`.

    Raises:
        UserError: one sentence with the remedy.
        KeyboardInterrupt: the user stopped it.
    """
    known, weights = known_trial(db_path, trial), changes.get("feature_weights")
    protocol = changed_protocol(known, {name: changes[name] for name in changes if name != "feature_weights"}, step)
    seed = known.config.search.seed if sampling_seed is None else sampling_seed
    stored = _stored(db_path, known, protocol, seed)
    if stored is None:
        known.checkpoint(protocol.strategy.train_steps)  # said before any work
        _measure(db_path, known, protocol, seed, weights, people(stderr=True))
        stored = _stored(db_path, known, protocol, seed)
    assert stored is not None, "a measurement that did not fail is in memory"
    return stored


def changed_protocol(known: Known, changes: dict[str, Any], step: int | None) -> Protocol:
    """The protocol of the trial's search with another way to score, and at another step.

    A checkpoint at a step equals a training of so many steps, so that is what the protocol says.
    """
    old, strategy = known.protocol.score, known.protocol.strategy
    asked = {name: getattr(old, name) for name in ("sampler", "sampling_steps", "feature_network", "num_images")}
    asked |= {"reference_split": old.reference_split, **changes}
    sampler, steps = asked.pop("sampler"), asked.pop("sampling_steps")
    sampling = choose_sampling(sampler, steps, known.protocol.settings.family, strategy.diffusion_steps)
    return known.protocol.model_copy(
        update={
            "strategy": strategy.model_copy(update={"train_steps": step or strategy.train_steps}),
            "score": score_protocol(known.card, sampling=sampling, **asked),
        }
    )


def _stored(db_path: Path, known: Known, protocol: Protocol, seed: int) -> Evaluated | None:
    """The score in memory, if it was taken before."""
    with opened(db_path, read_only=True) as db:
        rows = show_trial(db, known.trial.id)["scores"]
    found = next(
        (row for row in rows if row["protocol"] == protocol.fingerprint and row["sampling_seed"] == seed), None
    )
    if found is None:
        return None
    return Evaluated(
        trial=known.trial.id,
        spec=str(known.trial.spec),
        step=found["step"],
        rfid=found["value"],
        metric=found["metric"],
        ci95=None,
        **{name: found["extra"].get(name) for name in EXTRA},
        num_images=found["num_images"],
        sampling_seed=seed,
        protocol=protocol.fingerprint,
        scored=how_scored(protocol),
        device_seconds=found["device_seconds"],
    )


def _measure(
    db_path: Path, known: Known, protocol: Protocol, seed: int, feature_weights: Path | None, console: Console
) -> None:
    """Run the job in a process of its own and remember what it measured."""
    stop = Event()
    executor, lines = LocalExecutor(stop), Lines(console)
    alone = known.config.changed(parallel=1, nproc=1)  # one job on this machine, with all its cores
    planned = Plan(alone, known.protocol, known.trial.spec, None, ())
    context = context_maker(known.trial.search, planned, executor, stop, lines)(known.trial.round, "hand")
    weights = feature_weights or known.config.score.feature_weights
    job = context.score_job(known.trial.run_folder, known.trial.spec).model_copy(
        update={"protocol": protocol, "sampling_seed": seed, "feature_weights": weights and weights.absolute()}
    )
    say(console, f"trial {known.trial.id}  {known.trial.spec}: {how_scored(protocol)}")
    try:
        with interruptible(stop, executor, console, "the same command"):
            run_and_remember(context, known.trial, ScoreJob.model_validate(job.model_dump()))
    except JobFailed as failure:
        raise UserError(f"'{known.trial.id}' has no score: {failure}") from None
    except Interrupted:
        say(console, "interrupted; nothing was stored")
        raise KeyboardInterrupt from None
    finally:
        lines.close()


def print_score(console: Console, found: Evaluated) -> None:
    """One score with what stands beside it, and how it was taken."""
    columns = [found.metric if name == "rfid" else name for name in SHOWN]
    print_table(
        console,
        ("trial", "spec", "widths", "step", *columns),
        [(found.trial, found.spec, widths(found.spec), found.step, *(score(getattr(found, name)) for name in SHOWN))],
        right=",".join(("trial", "step", *columns)),
    )
    say(console, f"{found.scored}. One sampling of one training: no interval.")
    if found.grid:
        say(console, f"Images: {found.grid}", whole=True)
