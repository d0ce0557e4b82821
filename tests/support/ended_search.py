"""A search that is over, written into a memory row by row: a baseline and two trials, and nothing was trained."""

from pathlib import Path

from sqlite_utils import Database

from agent.config.settings import RunConfig
from diffusion.cost.closed_form import cost
from diffusion.settings import Protocol, ScoreProtocol, Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from memory.connection import opened
from memory.scores import add_score
from memory.searches import create_search, set_state
from memory.trainings import training_finished, training_started
from memory.trials import AcceptedTrial, accept_proposal, trial_scored, trial_trained

TRIALS = (
    ("b8-n1-m1.1.1.1-a0000", 156.3, "baseline", "The baseline: the data set's default spec."),
    ("b8-n1-m1.1.1.2-a0000", 150.0, "offline", "One step from trial 1 (156.3): mult_3 1 → 2."),
    ("b8-n2-m1.1.1.2-a0000", 160.5, "offline", "One step from trial 2 (150): num_blocks 1 → 2."),
)
STEPS = 2


def digits_protocol() -> Protocol:
    """What the scores of a tiny search on the digits are comparable under."""
    return Protocol(
        data_fingerprint="d" * 12,
        settings=Settings(dataset="digits", resolution=8, channels=1),
        strategy=Strategy(train_steps=STEPS),
        score=ScoreProtocol(
            feature_network="digits-cnn",
            feature_sha256="f" * 64,
            feature_input_size=8,
            resize_filter="none",
            reference_count=1437,
            sampling_steps=2,
            num_images=16,
        ),
    )


def begun(
    db: Database,
    search: int,
    number: int,
    spec: UNetSpec,
    protocol: Protocol,
    folder: Path,
    proposer: str,
    reason: str,
) -> AcceptedTrial:
    """The trial of a round, whose training has begun."""
    found = cost(spec, "ddpm", 8, 1)
    accepted = accept_proposal(
        db,
        search,
        number,
        proposer=proposer,
        raw_text=str(spec),
        reason=reason,
        job=TrainJob(
            spec=spec,
            settings=protocol.settings,
            strategy=protocol.strategy,
            seed=0,
            data_fingerprint=protocol.data_fingerprint,
            data_folder=folder / "data",
            run_folder=folder / str(spec),
        ),
        costs={"macs_paper": found.macs.paper, "macs_total": found.macs.total, "params": found.params},
    )
    training_started(db, accepted.training)
    return accepted


def ended_search(folder: Path, **settings: object) -> Path:
    """The memory, in `diffnas.db` of a folder, with the search ``first``."""
    protocol = digits_protocol()
    values = {"preset": "digits", "space": "digits-8", "budget": "2M", "rounds": 2, "train_steps": STEPS, **settings}
    config = RunConfig.from_flat({**values, "baseline": TRIALS[0][0], "db": folder / "diffnas.db"})
    with opened(folder / "diffnas.db") as db:
        search = create_search(
            db,
            name="first",
            budget_macs=config.search.budget,
            count_convention=config.search.count,
            rounds=config.search.rounds,
            seed=0,
            searcher="llm",
            backend=config.backend.llm,
            protocol=protocol,
            config=config.as_json() | {"baseline": TRIALS[0][0]},
        )
        for number, (text, value, proposer, reason) in enumerate(TRIALS):
            accepted = begun(db, search, number, UNetSpec.parse(text), protocol, folder, proposer, reason)
            training_finished(db, accepted.training, steps_done=STEPS, loss=0.1, device_seconds=30.0)
            trial_trained(db, accepted.trial)
            add_score(
                db,
                accepted.training,
                step=STEPS,
                protocol=protocol,
                sampling_seed=0,
                metric=protocol.score.metric,
                value=value,
                num_images=16,
                device_seconds=2.0,
            )
            trial_scored(db, accepted.trial)
        set_state(db, search, "finished", "rounds")
    return folder / "diffnas.db"
