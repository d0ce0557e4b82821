"""What a search trains besides its rounds: the baseline with further seeds, and the race at its end."""

from concurrent.futures import ThreadPoolExecutor

from agent.search.session import Session
from memory.connection import opened
from memory.trials import OVER, trial_in_round
from tools.jobs.race import run_race
from tools.jobs.replicate import replicate


class Replicas:
    """The trainings of one drive that repeat a spec with another seed."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.are_known = False  # those of the baseline, in this drive

    def replicate(self) -> None:
        """Train the baseline, once it is over, with further seeds, as many at once as rounds: the noise of the search.

        Raises:
            Interrupted: the user stops the search; they go on at the next resume.
        """
        session = self.session
        with opened(session.db_path) as db:
            baseline = trial_in_round(db, session.search, 0)
        if self.are_known or baseline is None or baseline.state not in OVER:
            return
        self.are_known = True
        if baseline.state != "scored":
            return
        context = session.make_context(0, "baseline")
        seeds = range(context.jobs.seed + 1, context.jobs.seed + session.plan.config.search.replicas)
        with session.clock("round 0"), ThreadPoolExecutor(session.jobs.parallel, "replica") as pool:
            for done in [pool.submit(replicate, context, baseline, seed) for seed in seeds]:
                done.result()

    def race(self) -> None:
        """Train the best and the baseline with more seeds, before one is called best.

        Raises:
            Interrupted: the user stops the search; the race goes on at the next resume.
        """
        config = self.session.plan.config
        trainings = config.search.rounds if config.search.race_trainings is None else config.search.race_trainings
        if trainings:
            with self.session.clock("round 0"):
                run_race(
                    self.session.make_context(0, "race"),
                    replicas=config.search.replicas,
                    allowance=trainings,
                    parallel=self.session.jobs.parallel,
                )
