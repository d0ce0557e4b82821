"""One round of a search, from wherever it stands: its trial is found or brought about, trained and scored."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Lock

from agent.backends.errors import BackendError
from agent.search.ending import SpaceExhausted
from agent.searchers.base import Proposer
from agent.searchers.model.fallback import fallback_spec
from diffusion.spec import UNetSpec
from memory.trials import trial_in_round
from tools.context import SearchContext
from tools.errors import Refused
from tools.jobs.scoring import score_trial
from tools.jobs.training import continue_training, report_started, train_candidate

FALLBACKS_IN_A_ROUND = 10  # after as many refusals, by a person or a directive of this moment, nothing is left to try

Wish = Callable[[SearchContext], int | None]  # a person's: its trial, or None where it is refused


@dataclass
class Tally:
    """What went wrong in a row, over the rounds of one drive; a resume may try again."""

    silent_rounds: int = 0
    failed_trials: int = 0
    lock: Lock = field(default_factory=Lock)

    def heard(self, *, silent: bool) -> None:
        """A backend answered, or was `silent`."""
        with self.lock:
            self.silent_rounds = self.silent_rounds + 1 if silent else 0

    def ended(self, *, failed: bool) -> None:
        """A trial is over."""
        with self.lock:
            self.failed_trials = self.failed_trials + 1 if failed else 0


@dataclass
class Baseline:
    """Who proposes in round 0."""

    spec: UNetSpec
    rounds: int = 0

    def propose(self, context: SearchContext) -> None:
        """Train the baseline, which every other trial is compared with."""
        train_candidate(context, self.spec, "The baseline: the data set's default spec.")


@dataclass(frozen=True)
class Round:
    """One round: who proposes in it, and where it is counted what came of it."""

    context: SearchContext
    searcher: Proposer
    tally: Tally
    wish: Wish | None = None  # goes before the searcher

    def play(self) -> bool:
        """See it through; False if nobody wants a trial in it, since the search is to end.

        Raises:
            SpaceExhausted: nothing is left to try.
            BackendError: the backend refuses every call.
        """
        trial = self._trial()
        if trial is not None:
            report_started(self.context, trial)  # an earlier process was stopped in the middle of it
        if trial is None and self.wish is not None:
            trial = self.wish(self.context)
        if trial is None:
            trial = self._proposed()
        if trial is not None:
            status = continue_training(self.context, trial).status
            scored = status in ("trained", "cached") and score_trial(self.context, trial).rfid is not None
            self.tally.ended(failed=not scored and status != "pruned")
        return trial is not None

    def _trial(self) -> int | None:
        found = trial_in_round(self.context.db, self.context.search, self.context.round_number)
        return found.id if found else None

    def _proposed(self) -> int | None:
        """The trial that the searcher brought about, or the fallback's; None when the search is to end here."""
        try:
            self.searcher.propose(self.context)
            self.tally.heard(silent=False)
            why = "the model gave no valid proposal"
        except BackendError as error:
            if error.refused:
                raise
            self.tally.heard(silent=True)
            why = f"the backend gave no answer ({error})"
        trial = self._trial()
        if trial is not None or self.context.services.finish_reasons:
            return trial
        return self._fall_back(why)

    def _fall_back(self, why: str) -> int:
        context = replace(self.context, proposer="fallback")
        for number in range(FALLBACKS_IN_A_ROUND):
            found = fallback_spec(context)
            if found is None:
                break
            if not number:
                context.report("fallback", round=context.round_number, reason=why)
            spec, reason = found
            with suppress(Refused):  # by a person, or by a directive of this moment; it is not chosen again
                return train_candidate(context, spec, f"{reason} Because {why}.").trial
        raise SpaceExhausted
