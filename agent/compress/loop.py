"""The search for a student, from whatever is done already: the teacher's score, what is left of it, its students.

Round 0 is the teacher as it came. The next ones are one student each, of the same choices, retrained with a seed of its
own; these run side by side, with shares of the machine that do not depend on how many are left. What happened stands
in memory and in the folders of the jobs alone, so that a search which was killed goes on where it was, to the bit.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from agent.compress.plan import Compression, stored_compression
from agent.compress.report import announce, compressed, print_compressed
from agent.config.kinds import COMPRESS
from agent.report.results import plain
from agent.report.tables import print_card
from agent.search.ending import FAILED, Reason, in_time
from agent.search.listener import Listener
from agent.search.plan import Plan
from agent.search.session import Session, driving
from diffusion.distill.plan import SUPERNETS, DistillJob, Evolution, SupernetTraining
from diffusion.distill.retraining import Student
from diffusion.distill.units import Choice, short
from diffusion.spec import UNetSpec
from diffusion.under_way import under_way
from memory.connection import opened
from memory.ledger import charge
from memory.scores import score_of
from memory.trials import Trial, find_trial, trial_failed, trial_in_round, trial_scored
from tools.context import SearchContext
from tools.errors import Interrupted, JobFailed
from tools.executors.base import Distiller
from tools.executors.machine import side_by_side
from tools.jobs.adopt import adopt
from tools.jobs.faster import latencies
from tools.jobs.measure import run_and_remember
from tools.jobs.training import continue_training, trial_as_asked

Done = TypeVar("Done")

TEACHER = "teacher"  # who proposes round 0
NOISE = (
    "none of the teacher's images lies among the real ones, and none of those among its own (precision and recall are "
    "0): what it draws is noise, and so will be what its students draw"
)


def drive_compression(search: int, planned: Plan, *, as_json: bool) -> int:
    """Go on to the last student, or to where it is stopped; the exit code.

    Raises:
        UserError: another process drives the search.
    """
    with opened(planned.config.places.db) as db:
        asked = stored_compression(db, search)
    several = planned.config.search.rounds > 1
    with driving(search, planned, as_json=as_json, backend=COMPRESS.proposer, several=several) as session:
        print_card(session.console, planned.card)
        announce(session.console, planned, asked)
        session.begin(asked.method)
        loop = CompressLoop(session, asked)
        reason = loop.run()
        found = compressed(session.db, search, asked, reason, loop.latency() if reason == "rounds" else None)
        session.report("compress.finished", **plain(found))
    print_compressed(session.console, found)
    return session.leave(reason)


class CompressLoop:
    """The rounds of one search for a student, as one session plays them."""

    def __init__(self, session: Session, asked: Compression) -> None:
        self.session, self.asked = session, asked
        self.rounds = session.plan.config.search.rounds
        self.spec = UNetSpec.parse(asked.spec)
        config = session.plan.config
        self.alone = side_by_side(session.machine, 1, config.jobs.nproc, 1)
        self.beside = session.side_by_side([self.spec] * config.search.rounds)
        self.listener, self.begun = Listener(self._context(0, TEACHER), None), 0
        self.failed, self.to_begin = False, Lock()

    def run(self) -> Reason | str:
        """Play the rounds that are left; why it ended."""
        reason = in_time(self._played)
        self.session.end(reason, round_number=self.rounds)
        return reason

    def _played(self) -> str:
        """The teacher, then its students side by side; why it ended."""
        if (reason := self._one_more()) is not None:
            return reason
        with ThreadPoolExecutor(self.beside.parallel, COMPRESS.name) as pool:
            players = [pool.submit(self._one_after_the_other) for _ in range(self.beside.parallel)]
            reasons = [player.result() for player in players]
        return next((reason for reason in reasons if reason != "rounds"), "rounds")

    def _one_after_the_other(self) -> str:
        """Rounds until none is left for this thread."""
        try:
            while True:
                if (reason := self._one_more()) is not None:
                    return reason
        except BaseException:
            self.session.stop.set()  # what else is trained is saved
            raise

    def _one_more(self) -> str | None:
        """One round more; why none comes after it. Trials are numbered as rounds are."""
        with self.to_begin:
            if self.failed:
                return FAILED
            begins, self.rounds = self.listener.begins(self.begun, self.rounds)
            if not begins:
                return "stopped_by_user" if self.begun <= self.rounds else "rounds"
            number, self.begun = self.begun, self.begun + 1
            begun = self._begun(number)
        is_scored = begun is not None and self._ended(number, *begun)
        self.session.keep()
        self.session.report("round.finished", round=number)
        self.failed = self.failed or not is_scored
        return None if is_scored else FAILED

    def _begun(self, number: int) -> tuple[SearchContext, int] | None:
        """A round and its trial; None where there is no student."""
        if self.session.stop.is_set():
            raise Interrupted
        self.session.report("round.started", round=number)
        return self._clocked(number, self._teacher if number == 0 else partial(self._student, number))

    def _ended(self, number: int, context: SearchContext, trial: int) -> bool:
        """Train what is to be trained and score it; whether there is a score."""

        def to_the_score() -> bool:
            is_trained = number == 0 or continue_training(context, trial).status != "failed"
            return is_trained and self._scored(number, trial)

        return bool(self._clocked(number, to_the_score))

    def _clocked(self, number: int, work: Callable[[], Done]) -> Done | None:
        """Do a part of a round by the clock; None, which is said, where a job has no result."""
        try:
            with self.session.clock(f"round {number}"):
                return work()
        except JobFailed as failure:
            self.session.report("compress.failed", round=number, reason=str(failure))
        return None

    def _context(self, number: int, proposer: str, student: Student | None = None) -> SearchContext:
        """Of a round, whose training has a seed and a share of the machine of its own."""
        context = self.session.make_context(number, proposer).sharing(self.beside if number else self.alone)
        seed = context.jobs.seed + max(0, number - 1)
        return replace(context, jobs=replace(context.jobs, student=student, seed=seed))

    @property
    def _folder(self) -> Path:
        """Where the teacher is kept."""
        return self.session.plan.config.places.out.absolute() / "teachers" / self.asked.sha256[:12]

    def _teacher(self) -> tuple[SearchContext, int]:
        """The trial of the teacher as it came."""
        from diffusion.training.network import whole_of

        whole = whole_of(Student(teacher=self._folder, teacher_sha256=self.asked.sha256, choices={}))
        context = self._context(0, TEACHER, whole)
        return context, adopt(context, self.spec, f"The teacher: {self.asked.teacher}.")

    def _student(self, number: int) -> tuple[SearchContext, int]:
        """The trial of a round's student."""
        from diffusion.distill.teacher import weights_file
        from diffusion.scores.networks import file_sha256

        asked, (found, folder) = self.asked, self._search()
        choices = {name: Choice.model_validate(choice) for name, choice in found["choices"].items()}
        start = {"supernet": folder / SUPERNETS, "teacher": weights_file(self._folder), "random": None}[asked.start]
        student = Student(
            teacher=self._folder,
            teacher_sha256=asked.sha256,
            choices=choices,
            start=start,
            start_sha256=None if start is None else file_sha256(start),
            loss=asked.loss,
        )
        context = self._context(number, asked.method, student)
        reason = f"{asked.method} at {asked.target:g} of {asked.teacher}: {short(choices)}"
        return context, trial_as_asked(context, self.spec, reason)

    def _search(self) -> tuple[dict[str, Any], Path]:
        """What is left of the teacher, by the method, and the folder in which it was found.

        Raises:
            JobFailed: the target is out of reach, or the job ended otherwise.
            Interrupted: the user stops it; it goes on at the next resume.
        """
        context, job = self._context(0, self.asked.method), self._distill_job()
        if not job.found.exists():
            executor = context.services.executor
            assert isinstance(executor, Distiller), "a compression looks nothing up in a table"
            done = executor.distill(job, self._tell)
            charge(
                context.db,
                context.search,
                "train",
                device_seconds=done["device_seconds"],
                note=f"search by {job.method}",
            )
            self.session.report("compress.searched", **{name: done[name] for name in done if name != "event"})
        found: dict[str, Any] = json.loads(job.found.read_bytes())
        return found, job.run_folder

    def latency(self) -> dict[str, float] | None:
        """How long teacher and student take side by side, where both are there and it can be measured."""
        db, search = self.session.db, self.session.search
        teacher, student = trial_in_round(db, search, 0), trial_in_round(db, search, 1)
        if teacher is None or student is None:
            return None
        try:
            with under_way("measuring how fast both are"):
                return latencies(self._context(0, self.asked.method), teacher, student)
        except JobFailed as failure:
            self.session.report("compress.failed", round=1, reason=str(failure))
            return None

    def _tell(self, event: dict[str, Any]) -> None:
        if event.get("event") == "progress":
            said = {name: value for name, value in event.items() if name != "event"}
            self.session.report("compress.progress", trial=0, seed=None, **said)

    def _distill_job(self) -> DistillJob:
        """The search, which lies where its key says."""
        asked, plan = self.asked, self.session.plan
        context = self._context(0, asked.method)
        protocol = plan.protocol
        job = DistillJob(
            teacher=self._folder,
            teacher_sha256=asked.sha256,
            settings=protocol.settings,
            diffusion_steps=protocol.strategy.diffusion_steps,
            data_folder=context.jobs.data_folder,
            data_fingerprint=protocol.data_fingerprint,
            run_folder=plan.config.places.out.absolute(),
            method=asked.method,
            target=asked.target,
            convention=plan.config.search.count,
            training=SupernetTraining(steps=asked.supernet_steps, seed=plan.config.search.seed),
            candidates=asked.candidates,
            evolution=Evolution(evaluations=asked.candidates, seed=plan.config.search.seed),
            threads=context.jobs.share.threads,
            seed=plan.config.search.seed,
        )
        return job.model_copy(update={"run_folder": job.run_folder / "distillations" / job.pool_key})

    def _scored(self, number: int, trial: int) -> bool:
        """Score a trial: the teacher with as many sampling seeds as there are students; whether all of it is there."""
        context = self._context(number, self.asked.method)
        known, seeds = find_trial(context.db, trial), range(self.rounds if number == 0 else 1)
        if known.state == "failed":
            return False
        there = _scores_there(context, known)
        if there and known.state != "scored":  # another search has measured the same
            trial_scored(context.db, trial)
        for seed in seeds[there:]:
            job = context.score_job(known.run_folder, known.spec)
            job = job.model_copy(update={"sampling_seed": job.sampling_seed + seed})
            try:
                done = run_and_remember(context, known, job)
            except JobFailed as failure:
                trial_failed(context.db, trial, str(failure))
                context.report("trial.failed", trial=trial, spec=str(known.spec), reason=str(failure))
                return False
            context.report("compress.scored", trial=trial, seed=seed, metric=done["metric"], rfid=done["value"])
            if number == 0 and seed == 0 and not (done["precision"] or done["recall"]):
                context.report("train.note", trial=trial, text=NOISE)
        return True


def _scores_there(context: SearchContext, trial: Trial) -> int:
    """How many of a trial's scores a drive before this one has taken."""
    found = score_of(context.db, trial.training, context.limits.protocol.fingerprint)
    return found.sampling_seeds if found else 0
