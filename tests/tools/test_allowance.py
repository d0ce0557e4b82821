"""The allowance: no call and no job begins that might pass a limit, whatever was used before and at the same time."""

from pathlib import Path
from threading import Event
from typing import Any

import pytest
from searches import TinySearch

from memory.connection import Memory, opened
from memory.ledger import charge, seconds_per_mac
from memory.transcript import record_call
from tools import allowance as module
from tools.allowance import Allowance, Limits, estimated_tokens
from tools.errors import AllowanceSpent, Interrupted
from tools.jobs.limited import WithinAllowance

CALL: dict[str, Any] = {
    "purpose": "propose", "model": "openai:some", "request": {"messages": ["x" * 300]}, "response": {}, "error": None,
    "seconds": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> TinySearch:
    return TinySearch(tmp_path_factory.mktemp("allowance"))


def dollars(llm: str, base_url: str | None, read: int | None, written: int | None) -> float | None:
    """A dollar a thousand tokens, for one model alone."""
    return None if llm != "openai:some" or read is None or written is None else (read + written) / 1000


class TestCalls:
    @pytest.fixture
    def search(self, tmp_path: Path) -> TinySearch:
        return TinySearch(tmp_path)

    def allowance(self, search: TinySearch, limits: Limits, **changes: Any) -> Allowance:
        given = {"price_of": dollars, "llm": "openai:some", "answer_tokens": 100}
        return Allowance(Memory(search.db), search.search, limits, **{**given, **changes})

    def called(self, search: TinySearch, read: int | None, written: int | None, **changes: Any) -> None:
        cost = dollars("openai:some", None, read, written)
        given = {**CALL, "input_tokens": read, "output_tokens": written, "cost_usd": cost, **changes}
        with opened(search.db) as db:
            record_call(db, search.search, 1, **given)

    def test_a_call_that_may_take_the_last_token_is_made_and_the_next_is_not(self, search: TinySearch) -> None:
        self.called(search, 500, 100)
        allowance = self.allowance(search, Limits(max_tokens=1000))
        allowance.settle(allowance.check_before_call(300))  # 600 + 300 + 100
        with pytest.raises(AllowanceSpent, match=r"^the next call may take 401 tokens, and 600 of 1000 are used$"):
            allowance.check_before_call(301)

    def test_money_is_counted_the_same_way(self, search: TinySearch) -> None:
        self.called(search, 500, 100)
        allowance = self.allowance(search, Limits(max_cost=1.0))
        allowance.settle(allowance.check_before_call(300))
        with pytest.raises(AllowanceSpent, match=r"^the next call may cost \$0.401, and \$0.6 of \$1 are used$"):
            allowance.check_before_call(301)
        assert allowance.why == "the next call may cost $0.401, and $0.6 of $1 are used"

    def test_a_call_under_way_is_reserved(self, search: TinySearch) -> None:
        allowance = self.allowance(search, Limits(max_tokens=1000))
        ticket = allowance.check_before_call(500)
        with pytest.raises(AllowanceSpent):
            allowance.check_before_call(500)
        allowance.settle(ticket)
        allowance.check_before_call(500)

    def test_an_answer_that_never_came_counts_as_what_it_may_have_taken(self, search: TinySearch) -> None:
        self.called(search, None, None, response=None, error="Timeout: …", extra={"base_url": None, "billed": True})
        allowance = self.allowance(search, Limits(max_tokens=1000))
        with pytest.raises(AllowanceSpent, match=r"and 2[0-9][0-9] of 1000 are used"):
            allowance.check_before_call(800)

    def test_a_call_that_was_turned_away_took_nothing(self, search: TinySearch) -> None:
        turned_away = {"response": None, "error": "HTTP 429", "extra": {"base_url": None, "billed": False}}
        self.called(search, None, None, **turned_away)
        self.allowance(search, Limits(max_tokens=1000)).check_before_call(900)

    def test_without_a_limit_on_answers_the_longest_so_far_is_expected(self, search: TinySearch) -> None:
        allowance = self.allowance(search, Limits(max_tokens=5000), answer_tokens=None)
        with pytest.raises(AllowanceSpent, match=f"may take {4001 + module.ANSWER_TOKENS} tokens"):
            allowance.check_before_call(4001)
        self.called(search, 10, 2000)
        with pytest.raises(AllowanceSpent, match="may take 3001 tokens, and 2010 of 5000"):
            allowance.check_before_call(1001)

    def test_money_is_not_spent_on_a_model_of_unknown_price(self, search: TinySearch) -> None:
        allowance = self.allowance(search, Limits(max_cost=1.0))
        with pytest.raises(AllowanceSpent, match=r"^the price of openai:other is unknown, so the limit of \$1 cannot"):
            allowance.check_before_call(1, llm="openai:other")
        self.allowance(search, Limits(max_tokens=1000)).check_before_call(1, llm="openai:other")

    def test_another_limit_counts_from_then_on(self, search: TinySearch) -> None:
        allowance = self.allowance(search, Limits(max_tokens=100))
        with pytest.raises(AllowanceSpent):
            allowance.check_before_call(300)
        allowance.change(max_tokens=1000)
        assert allowance.why is None
        allowance.check_before_call(300)

    def test_no_limit_is_no_limit(self, search: TinySearch) -> None:
        self.allowance(search, Limits()).check_before_call(10**9)


def test_text_is_rather_too_many_tokens_than_too_few() -> None:
    assert estimated_tokens("b128-n2-m1.2.2.2-a0100") >= 8
    assert estimated_tokens() > 0


class Recorded:
    """An executor that notes what it was asked, says one line of progress, and heeds a stop."""

    def __init__(self, stop: Event) -> None:
        self.stop, self.jobs = stop, list[Any]()

    def train(self, job: Any, on_progress: Any) -> dict[str, Any]:
        self.jobs.append(job)
        on_progress({"event": "progress"})
        if self.stop.is_set():
            raise Interrupted
        return {}

    evaluate = train

    def kill(self) -> None:
        pass


class TestHours:
    def within(self, search: TinySearch, hours: float, processes: int = 1) -> tuple[WithinAllowance, Recorded]:
        stop = Event()
        allowance = Allowance(
            Memory(search.db), search.search, Limits(max_hours=hours), price_of=dollars, llm="x", processes=processes
        )
        inner = Recorded(stop)
        return WithinAllowance(inner, allowance, stop), inner

    def job(self, search: TinySearch) -> Any:
        return search.context().train_job(search.plan.baseline)

    def test_a_job_that_would_not_end_in_time_is_not_begun(
        self, search: TinySearch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        macs = search.context().limits.cost(search.plan.baseline).macs.total * 8 * 2
        monkeypatch.setattr("tools.jobs.limited.seconds_per_mac", lambda db, number, kind: 7200 / macs)
        executor, inner = self.within(search, 1.0)
        with pytest.raises(AllowanceSpent, match=r"^the next job takes about 2 hours, and .* of 1 hours are used$"):
            executor.train(self.job(search), lambda event: None)
        assert inner.jobs == []
        executor, inner = self.within(search, 3.0)
        assert executor.train(self.job(search), lambda event: None) == {}

    def test_several_processes_share_the_seconds(self, search: TinySearch) -> None:
        executor, _ = self.within(search, 1.0, processes=2)
        executor.allowance.check_before_training(7000.0)
        with pytest.raises(AllowanceSpent):
            executor.allowance.check_before_training(7300.0)

    def test_a_job_that_runs_over_is_stopped_and_says_why(
        self, search: TinySearch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        executor, inner = self.within(search, 1.0)

        def later(event: dict[str, Any]) -> None:
            executor.allowance.seconds_before += 4000

        with pytest.raises(AllowanceSpent, match=r"1\.11 of 1 hours are used"):
            executor.train(self.job(search), later)
        assert inner.stop.is_set()

    def test_a_stop_by_the_user_stays_one(self, search: TinySearch) -> None:
        executor, inner = self.within(search, 1.0)
        inner.stop.set()
        with pytest.raises(Interrupted):
            executor.train(self.job(search), lambda event: None)

    def test_hours_count_over_all_drives_and_a_pause_does_not(self, search: TinySearch) -> None:
        with opened(search.db) as db:
            charge(db, search.search, "wall", wall_seconds=3500.0)
        executor, _ = self.within(search, 1.0)
        executor.allowance.check_before_training(50.0)
        with pytest.raises(AllowanceSpent):
            executor.allowance.check_before_training(150.0)
        executor.allowance.idle(100.0)
        executor.allowance.check_before_training(150.0)

    def test_the_pace_is_the_slowest_of_the_search(self, tmp_path: Path) -> None:
        search = TinySearch(tmp_path, {"rounds": 0})
        with opened(search.db) as db:
            assert seconds_per_mac(db, search.search, "train") == 0.0
        from tools.jobs.scoring import score_trial
        from tools.jobs.training import train_candidate

        score_trial(search.context(0), train_candidate(search.context(0), search.plan.baseline, "baseline").trial)
        macs = search.context().limits.cost(search.plan.baseline).macs.total
        row = search.rows("SELECT device_seconds, score_seconds FROM results")[0]
        with opened(search.db) as db:
            assert seconds_per_mac(db, search.search, "train") == pytest.approx(row["device_seconds"] / (macs * 8 * 2))
            assert seconds_per_mac(db, search.search, "score") == pytest.approx(row["score_seconds"] / (macs * 16 * 2))
