"""Runs a rank study, arm by arm, the specs of an arm side by side; started again it does what is left.

Nothing is proposed and nobody is stopped early. Three trials in a row without a score end the run, since something is
wrong then; those trials stay failed, and the report counts them.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from threading import Event, Lock
from typing import Any

from agent.config.kinds import STUDY
from agent.config.settings import HOW_JOBS_RUN
from agent.report.results import plain
from agent.report.tables import how_scored, say
from agent.search.ending import FAILURES_IN_A_ROW, Reason, closing_summary
from agent.search.plan import Plan
from agent.search.session import Session, driving
from agent.study.arms import Arm, Study
from agent.study.store import stored_study
from diffusion.errors import UserError
from diffusion.frozen import MOST
from diffusion.settings import Protocol, ScoreProtocol, choose_sampling
from diffusion.units import shortened, whole_number
from memory.connection import opened
from memory.scores import add_score, score_of
from memory.searches import find_search, set_state
from memory.trials import OVER, Trial, find_trial, trial_in_round
from tools.context import SearchContext
from tools.errors import JobFailed
from tools.jobs.measure import run_and_remember
from tools.jobs.scoring import score_trial
from tools.jobs.training import train_as_asked

REASON = "Chosen for the rank study from its stratum of MACs."
OTHER_IMAGES = (
    1_000_003  # added to the seed for cheaper scores: a score of some of the same images would flatter itself
)

Work = Callable[[Session], bool]  # whether it has a score


def run_study(study: Study, *, as_json: bool, also: Sequence[ScoreProtocol] = (), also_on: str = "rapid") -> int:
    """Train and score what is left of a study that stands in memory; the exit code.

    Args:
        study: with its rows.
        as_json: events on standard output.
        also: further ways to score the last weights of an arm.
        also_on: which arm.

    Raises:
        UserError: another process drives one of its arms, or weights that are to be scored are gone.
    """
    for arm in study.arms:
        if code := _play(study, arm, _left(study, arm), as_json):
            return code
        _close(arm)
    arm = study.arm(also_on)
    protocols = [arm.protocol.model_copy(update={"score": score}) for score in also]
    scored = [trial for trial in _trials(study, arm) if trial is not None and trial.state == "scored"]
    return _play(study, arm, _unscored(arm, scored, protocols), as_json)


def resume_arm(search: int, planned: Plan, *, as_json: bool) -> int:
    """``resume NAME-ARM``: go on with the whole study that an arm belongs to; the exit code.

    Raises:
        UserError: as `run_study`.
    """
    config = planned.config
    overrides = {name: config.flat()[name] for name in ("db", *HOW_JOBS_RUN)}
    with opened(config.places.db, read_only=True) as db:
        study = stored_study(db, json.loads(find_search(db, search).config_json)["study"], overrides)
    return run_study(study, as_json=as_json)


def changed_score(arm: Arm, text: str) -> ScoreProtocol:
    """A cheaper way to score, from ``num_images=360,sampling_steps=10``.

    Raises:
        UserError: no such field, a value that cannot be, or nothing is changed.
    """
    old = arm.protocol.score
    values: dict[str, Any] = {"num_images": old.num_images, "sampling_steps": old.sampling_steps}
    values |= {"sampler": old.sampler}
    for pair in text.split(","):
        name, _, value = (part.strip() for part in pair.partition("="))
        if name not in values or not value:
            raise UserError(
                f"--also-score '{pair}' is no change of a score; write {', '.join(values)} with = and a value"
            )
        number, old_value = whole_number(value), values[name]
        if name != "sampler" and (number is None or number > MOST):
            raise UserError(f"--also-score '{shortened(pair)}' is not a number; write --also-score {name}={old_value}")
        values[name] = value if name == "sampler" else number
    if values["num_images"] < 2:
        raise UserError(f"--also-score '{text}': a score needs at least 2 images")
    family, diffusion_steps = arm.protocol.settings.family, arm.strategy.diffusion_steps
    sampling = choose_sampling(values["sampler"], values["sampling_steps"], family, diffusion_steps)
    changes = {"num_images": values["num_images"], "sampler": sampling.sampler, "sampling_steps": sampling.steps}
    new = old.model_copy(update={**changes, "variance": sampling.variance})
    if new == old:
        raise UserError(f"--also-score '{text}' is how the study scores anyway; change something")
    return new


def _close(arm: Arm) -> None:
    """An arm that is done is finished, also if the process was killed before it could say so."""
    with opened(arm.planned.config.places.db) as db:
        if find_search(db, str(arm.search)).state != "finished":
            set_state(db, arm.search, "finished", "rounds")


def _left(study: Study, arm: Arm) -> list[Work]:
    """What an arm has still to train and score."""
    over = [trial is not None and trial.state in OVER for trial in _trials(study, arm)]
    return [partial(_train_and_score, study, arm, number) for number, is_over in enumerate(over) if not is_over]


def _trials(study: Study, arm: Arm) -> list[Trial | None]:
    with opened(arm.planned.config.places.db, read_only=True) as db:
        return [trial_in_round(db, arm.search, number) for number in range(len(study.specs))]


def _unscored(arm: Arm, trials: Sequence[Trial], protocols: Sequence[Protocol]) -> list[Work]:
    """The last weights of trials, under each protocol that has no score of them yet."""
    with opened(arm.planned.config.places.db, read_only=True) as db:
        return [
            partial(_score_otherwise, arm, trial, protocol)
            for protocol in protocols
            for trial in trials
            if score_of(db, trial.training, protocol.fingerprint) is None
        ]


def _play(study: Study, arm: Arm, works: Sequence[Work], as_json: bool) -> int:
    """Drive one arm through pieces of work; the exit code."""
    if not works:
        return 0
    end, session = _played(study, arm, works, as_json)
    return session.leave(end)


def play_arm(study: Study, arm: Arm, *, as_json: bool, stop: Event | None = None) -> str:
    """Train and score what is left of one arm; why it ended, which is ``rounds`` when all is done.

    Raises:
        UserError: another process drives it, or weights that are to be scored are gone.
    """
    works = _left(study, arm)
    end = _played(study, arm, works, as_json, stop)[0] if works else "rounds"
    if end == "rounds":
        _close(arm)
    return end


def _played(
    study: Study, arm: Arm, works: Sequence[Work], as_json: bool, stop: Event | None = None
) -> tuple[str, Session]:
    """Drive one arm through pieces of work; why it ended, and the session, whose console and names outlive it."""
    again = ("rank-study", study.name, "--resume")
    with driving(arm.search, arm.planned, as_json=as_json, backend=STUDY.proposer, again=again, stop=stop) as session:
        strategy = arm.strategy
        say(
            session.console,
            f"{study.name}, {arm.name}: {len(works)} left of {len(study.specs)} specs; seed {arm.seed}, "
            f"{strategy.train_steps} steps at {strategy.learning_rate:g}; {how_scored(arm.protocol)}",
        )
        session.begin(STUDY.proposer)
        end = session.play(STUDY.proposer, lambda: _together(session, works))
        session.report("search.finished", **plain(closing_summary(_context(session, 0), end)))
    return end, session


def _together(session: Session, works: Iterable[Work]) -> Reason:
    """Do the works side by side; why it ended. What one of them raises ends all, and what is trained is saved."""
    row = FailuresInARow()
    with ThreadPoolExecutor(session.jobs.parallel, STUDY.proposer) as pool:
        futures = [pool.submit(row.unless_too_many, work, session) for work in works]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            session.stop.set()
            raise
        finally:
            for future in futures:
                future.cancel()
    return "failures" if row.is_too_long else "rounds"


class FailuresInARow:
    """How many works in a row had no score; after too many of them none is begun any more."""

    def __init__(self) -> None:
        self.count, self.lock = 0, Lock()

    @property
    def is_too_long(self) -> bool:
        """Whether something is wrong."""
        return self.count >= FAILURES_IN_A_ROW

    def unless_too_many(self, work: Work, session: Session) -> None:
        """Do a work and count it."""
        if self.is_too_long:
            return
        has_score = work(session)
        with self.lock:
            if not self.is_too_long:
                self.count = 0 if has_score else self.count + 1


def _context(session: Session, number: int) -> SearchContext:
    return session.make_context(number, STUDY.proposer).sharing(session.jobs)


def _train_and_score(study: Study, arm: Arm, number: int, session: Session) -> bool:
    """One spec of one arm, from wherever it stands: scored at each step, at the end last."""
    context = _context(session, number)
    done = train_as_asked(context, study.specs[number], REASON)
    if done.status == "failed":
        return False
    trial = find_trial(context.db, done.trial)
    for step in arm.score_steps[:-1]:
        _measure(context, trial, arm.protocol_at(step), context.jobs.seed)
    return score_trial(context, trial.id).rfid is not None


def _score_otherwise(arm: Arm, trial: Trial, protocol: Protocol, session: Session) -> bool:
    """The last weights of a trial under another score protocol, with images of another seed."""
    return _measure(_context(session, trial.round), trial, protocol, arm.seed + OTHER_IMAGES)


def _measure(context: SearchContext, trial: Trial, protocol: Protocol, seed: int) -> bool:
    """One score, once; one that fails is remembered as none. Whether there is one.

    Raises:
        UserError: the weights are not there.
    """
    known = score_of(context.db, trial.training, protocol.fingerprint)
    if known is not None:
        return known.value is not None
    step = protocol.strategy.train_steps
    changes = {"protocol": protocol, "sampling_seed": seed}
    job = context.score_job(trial.run_folder, trial.spec).model_copy(update=changes)
    try:
        run_and_remember(context, trial, job)
    except JobFailed as failure:
        _check_kept(trial, step)
        _remember_failure(context, trial, protocol, seed, str(failure))
        return False
    return True


def _remember_failure(context: SearchContext, trial: Trial, protocol: Protocol, seed: int, why: str) -> None:
    add_score(
        context.db,
        trial.training,
        step=protocol.strategy.train_steps,
        protocol=protocol,
        sampling_seed=seed,
        metric=protocol.score.metric,
        value=None,
        num_images=protocol.score.num_images,
        device_seconds=0.0,
        extra={"error": why},
    )


def _check_kept(trial: Trial, step: int) -> None:
    """A score that fails for want of weights is no failure of the spec.

    Raises:
        UserError: the weights were deleted, or another search trained it and kept none of this step.
    """
    from diffusion.training.checkpoint import kept_steps

    if step not in kept_steps(trial.run_folder):
        raise UserError(
            f"'{trial.id}' ({trial.spec}): the weights of step {step} are not in {trial.run_folder}; start a study "
            "of another name, with another --seed or without that step in --score-steps"
        )
