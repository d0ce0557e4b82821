"""What a search trains besides its rounds: the baseline with further seeds, and the race at its end.

None of these waits for another, so they share the machine. Beside the baseline itself its replicas run only where all
find room at once; every later proposal sees them all, since no round begins before they are over.
"""

from agent.search.session import Session
from memory.replicas import replicas_of
from memory.trials import OVER, trial_in_round
from tools.context import SearchContext
from tools.executors.machine import Share
from tools.jobs.race import run_race
from tools.jobs.replicate import replicate_all


class Replicas:
    """The trainings of one drive that repeat a spec with another seed."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.are_known = False  # those of the baseline, in this drive
        self.share: Share | None = None  # of the baseline and each of them, where they all run at once

    def beside(self, baseline: SearchContext) -> SearchContext:
        """The baseline's round, which leaves room for its replicas where that is more than it would use."""
        asked = self.session.plan.config.search
        specs = [self.session.plan.baseline] * (1 + len(self._seeds()))
        share = self.session.side_by_side(specs)
        self.share = share if asked.parallel == "auto" and 1 < len(specs) == share.parallel else None
        return baseline.sharing(self.share) if self.share else baseline

    def replicate(self, *, is_baseline_under_way: bool) -> None:
        """Train the baseline with further seeds, once in a drive, and as soon as may be: the noise of the search.

        Raises:
            Interrupted: the user stops the search; they go on at the next resume.
        """
        session = self.session
        baseline = trial_in_round(session.db, session.search, 0)
        share = self.share if is_baseline_under_way else None
        if self.are_known or baseline is None or not (share or baseline.state in OVER):
            return
        self.are_known = True
        if baseline.state not in ("failed", "pruned"):
            seeds = self._seeds()
            share = share or session.side_by_side([baseline.spec] * len(seeds))
            with session.clock("round 0"):
                replicate_all(session.make_context(0, "baseline"), [(baseline, seed) for seed in seeds], share)

    def race(self) -> None:
        """Train the best and the baseline with more seeds, before one is called best.

        Raises:
            Interrupted: the user stops the search; the race goes on at the next resume.
        """
        session, asked = self.session, self.session.plan.config.search
        if trainings := asked.rounds if asked.race_trainings is None else asked.race_trainings:
            context = session.make_context(0, "race")
            with session.clock("round 0"):
                run_race(context, replicas=asked.replicas, allowance=trainings, share_of=session.side_by_side)

    def _seeds(self) -> list[int]:
        """The training seeds of the replicas that have no score yet."""
        asked = self.session.plan.config.search
        scored = {each.seed for each in replicas_of(self.session.db, self.session.search) if each.state == "scored"}
        return [seed for seed in range(asked.seed + 1, asked.seed + asked.replicas) if seed not in scored]
