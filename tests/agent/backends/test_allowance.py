"""The ledger equals what the server served, and the allowance ends a search before a limit is passed."""

import json
from pathlib import Path
from typing import Any

import pytest
from model_server import READ, WRITTEN, Answer, Brain, Broken, Call, ModelServer, Say, Status, serve, well_behaved
from pretended import PretendedExecutor
from searches import TinySearch

from agent.exit_codes import BY_LIMIT
from agent.search.plan import reopened
from diffusion.errors import UserError
from memory.connection import opened
from memory.ledger import Ledger, totals
from memory.searches import find_protocol, find_search
from tools import allowance

SPECS = ["b8-n1-m1.1.1.2-a0000", "b8-n1-m1.1.2.2-a0000", "b8-n1-m2.1.1.1-a0000"]
A_CALL_USD = (READ * 2.0 + WRITTEN * 8.0) / 1e6


def prices(folder: Path) -> Path:
    path = folder / "prices.toml"
    path.write_text('"openai:scripted" = [2.0, 8.0]\n')
    return path


def over(server: ModelServer, folder: Path, **options: Any) -> TinySearch:
    given = {"llm": "openai:scripted", "base_url": server.url, "llm_max_tokens": 100, "llm_retries": 1}
    return TinySearch(folder, {**given, "prices": prices(folder), **options}, executor=PretendedExecutor())


def with_faults(answers: list[Answer], then: Brain) -> Brain:
    left = list(answers)
    return lambda messages: left.pop(0) if left else then(messages)


def ledger(search: TinySearch) -> Ledger:
    with opened(search.db, read_only=True) as db:
        return totals(db, search.search)


def test_everything_in_the_ledger_is_the_sum_that_the_server_served(tmp_path: Path) -> None:
    faults = [Status(429), Broken("train_ract"), Call("buy_gpu"), Say("Hm."), Status(500)]
    with serve(with_faults(faults, well_behaved(SPECS))) as server:
        search = over(server, tmp_path, rounds=2)
        assert search.run() == "rounds"
    served = [answer for answer in server.answers if not isinstance(answer, Status)]
    found = ledger(search)
    assert (found.input_tokens, found.output_tokens) == (READ * len(served), WRITTEN * len(served))
    assert found.cost_usd == pytest.approx(A_CALL_USD * len(served))
    calls = search.rows("SELECT count(*) AS n, count(error) AS failed FROM model_calls")[0]
    assert (calls["n"], calls["failed"]) == (len(server.requests), 2)
    trained = search.rows("SELECT sum(device_seconds) AS s FROM trainings")[0]["s"]
    scored = search.rows("SELECT sum(device_seconds) AS s FROM scores")[0]["s"]
    assert found.device_seconds == pytest.approx(trained + scored)


def test_a_server_of_unknown_price_costs_null_and_not_nothing(tmp_path: Path) -> None:
    with serve(well_behaved(SPECS)) as server:
        search = over(server, tmp_path, rounds=1, prices=None)
        search.run()
    assert ledger(search).cost_usd is None


class TestEnd:
    def test_a_limit_in_tokens_ends_it_before_the_call_that_might_pass_it(self, tmp_path: Path) -> None:
        with serve(well_behaved(SPECS)) as server:
            search = over(server, tmp_path, rounds=3, max_tokens=1)
            assert search.run() == "allowance"
            allowance = search.make_context(0, "").services.allowance
            assert allowance is not None
            first = int(str(allowance.why).removeprefix("the next call may take ").split()[0])
            search.make_context = again(search, max_tokens=first + 10)
            assert search.run() == "allowance"
        assert len(server.requests) == 1  # the second one has more to read, and eighteen tokens are used
        used = ledger(search)
        assert used.input_tokens + used.output_tokens == READ + WRITTEN
        assert search.rows("SELECT state FROM searches")[0]["state"] == "interrupted"

    def test_nothing_is_asked_when_not_even_one_call_fits(self, tmp_path: Path) -> None:
        with serve(well_behaved(SPECS)) as server:
            search = over(server, tmp_path, rounds=3, max_cost=1e-6)
            assert search.run() == "allowance"
        assert server.requests == []
        assert ledger(search).cost_usd == 0.0

    def test_totals_and_limits_survive_a_resume(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(allowance, "estimated_tokens", lambda *texts: READ)
        monkeypatch.setattr("agent.backends.recorder.estimated_tokens", lambda *texts: READ)
        limit = 4 * (READ + WRITTEN) + READ + 100 - 1  # after four calls a fifth might pass it by one token
        with serve(well_behaved(SPECS)) as server:
            search = over(server, tmp_path, rounds=3, max_tokens=limit)
            assert search.run() == "allowance"
            assert len(server.requests) == 4
            search.make_context = again(search)
            assert search.run() == "allowance"
            assert len(server.requests) == 4
            search.make_context = again(search, max_tokens=limit + 1)
            assert search.run() == "allowance"
            assert len(server.requests) == 5
        assert ledger(search).input_tokens == 5 * READ

    def test_hours_end_it_before_the_next_training(self, tmp_path: Path) -> None:
        search = TinySearch(tmp_path, {"rounds": 3, "max_hours": 1e-9}, executor=PretendedExecutor())
        assert search.run() == "allowance"
        assert search.executor.trained == []

    def test_rounds_that_a_limit_stopped_are_not_the_users_wish(self, tmp_path: Path) -> None:
        search = TinySearch(tmp_path, {"rounds": 3, "max_hours": 1.0}, executor=PretendedExecutor())
        limits = search.make_context(0, "").services.allowance
        assert limits is not None
        limits.why = "1.01 of 1 hours are used"  # met by the round beside this one
        search.stop.set()
        assert search.run() == "allowance"


def again(search: TinySearch, **changes: Any) -> Any:
    """What a resume in a new process would make."""
    from agent.search.wiring import context_maker

    with opened(search.db, read_only=True) as db:
        found = find_search(db, search.search)
        search.plan = reopened(found.config_json, find_protocol(db, found.protocol), changes)
    return context_maker(search.search, search.plan, search.executor, search.stop, search.report)


class TestRefusal:
    def test_money_and_a_model_of_unknown_price_is_refused_up_front(self, tmp_path: Path) -> None:
        options = {"llm": "openai:scripted", "base_url": "http://127.0.0.1:1/v1", "max_cost": 2.0}
        with pytest.raises(
            UserError, match=r"^--max-cost 2 cannot be kept: the price of openai:scripted at http"
        ) as told:
            TinySearch(tmp_path, options)
        assert "--prices FILE" in str(told.value)
        assert not (tmp_path / "diffnas.db").exists()

    def test_a_fallback_of_unknown_price_is_refused_too(self, tmp_path: Path) -> None:
        options = {"llm_fallbacks": "openai:scripted@http://127.0.0.1:1/v1", "max_cost": 2.0}
        with pytest.raises(UserError, match="the price of openai:scripted"):
            TinySearch(tmp_path, options)

    def test_offline_costs_nothing_and_may_be_limited(self, tmp_path: Path) -> None:
        assert plan_of(tmp_path, max_cost=0.01).config.backend.max_cost == 0.01

    def test_a_resume_after_calls_of_unknown_price_is_refused(self, tmp_path: Path) -> None:
        with serve(well_behaved(SPECS)) as server:
            search = over(server, tmp_path, rounds=1, prices=None)
            search.run()
        with pytest.raises(UserError, match="what openai:scripted has cost before is unknown"):
            again(search, llm="offline", base_url="", max_cost=2.0)


def plan_of(folder: Path, **options: Any) -> Any:
    return TinySearch(folder, options).plan


@pytest.mark.slow
def test_the_program_ends_with_exit_code_3_and_a_resume_keeps_the_new_limit(tmp_path: Path) -> None:
    from processes import ARGUMENTS, finish, start

    started = start(tmp_path, "run", *ARGUMENTS, "--searcher", "llm", "--max-tokens", "10", "--json")
    events, said = finish(started)
    assert started.returncode == BY_LIMIT
    assert events[-1]["reason"] == "allowance"
    assert "0 of 10 are used" in said
    resumed = start(tmp_path, "resume", "--max-tokens", "1000000", "--json")
    assert finish(resumed)[0][-1]["reason"] == "rounds"
    with opened(tmp_path / "diffnas.db", read_only=True) as db:
        assert json.loads(find_search(db).config_json)["max_tokens"] == 1_000_000
