"""Searches over real HTTP: a server on loopback is the language model, and one search trains its networks for real."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from inprocess import InProcessExecutor
from model_server import (
    READ,
    WRITTEN,
    Answer,
    Brain,
    Broken,
    Call,
    ModelServer,
    Say,
    Stall,
    Status,
    serve,
    tool_answers,
    well_behaved,
)
from near import near
from pretended import PretendedExecutor
from searches import TinySearch

from agent.searchers.model.middleware import KeepGoing
from diffusion.space import built_in
from diffusion.spec import UNetSpec
from memory.connection import opened
from memory.queries.progress import failures
from prompts.render import render
from tools.errors import Interrupted, JobFailed

A, B, C = "b8-n1-m1.1.1.2-a0000", "b8-n1-m1.1.2.2-a0000", "b8-n1-m2.1.1.1-a0000"
TOO_DEAR = "b32-n3-m4.4.4.4-a1111"


def over(server: ModelServer, folder: Path, executor: Any = None, **options: Any) -> TinySearch:
    """A search whose model is the server; nothing is computed unless an executor is given that does."""
    given = {"llm": "openai:scripted", "base_url": server.url, **options}
    return TinySearch(folder, given, executor=executor or PretendedExecutor())


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TinySearch, ModelServer]]:
    with serve(well_behaved([A, B, C])) as server:
        search = over(server, tmp_path_factory.mktemp("http"), InProcessExecutor())
        assert search.run() == "rounds"
        yield search, server


class TestAWholeSearch:
    def test_every_proposal_is_trained_scored_and_remembered(self, played: tuple[TinySearch, ModelServer]) -> None:
        search, _ = played
        rows = search.rows("SELECT spec, state, proposer, rfid, reason FROM results ORDER BY trial")
        assert [row["spec"] for row in rows] == ["b8-n1-m1.1.1.1-a0000", A, B, C]
        assert {row["state"] for row in rows} == {"scored"}
        assert [row["proposer"] for row in rows] == ["baseline"] + ["openai:scripted"] * 3
        assert rows[1]["reason"] == f"{A} is next on the list."
        assert all(row["rfid"] > 0 for row in rows)
        assert search.executor.trained == [row["spec"] for row in rows]

    def test_the_agent_sends_the_system_prompt_the_digest_and_the_tools(
        self, played: tuple[TinySearch, ModelServer]
    ) -> None:
        _, server = played
        first = server.requests[0]
        assert first["model"] == "scripted"
        assert [message["role"] for message in first["messages"]] == ["system", "user"]
        assert "at most 2M MACs per image" in first["messages"][0]["content"]
        assert "# Round 1 of 3" in first["messages"][1]["content"]
        assert "Baseline: b8-n1-m1.1.1.1-a0000, widths 8.8.8.8, fid-digits-cnn" in first["messages"][1]["content"]
        names = {tool["function"]["name"] for tool in first["tools"]}
        assert names == {"count_flops", "train_ract", "evaluate_fid", "query_memory", "finish_search"}

    def test_each_round_starts_from_the_digest_and_not_from_the_chat(
        self, played: tuple[TinySearch, ModelServer]
    ) -> None:
        _, server = played
        starts = [request["messages"] for request in server.requests if len(request["messages"]) == 2]
        assert len(starts) == 3
        assert A in starts[1][1]["content"]
        assert B in starts[2][1]["content"]

    def test_every_tool_call_that_is_sent_back_has_its_answer(self, played: tuple[TinySearch, ModelServer]) -> None:
        _, server = played
        for request in server.requests:
            messages = request["messages"]
            for index, message in enumerate(messages):
                for offset, call in enumerate(message.get("tool_calls") or [], 1):
                    assert messages[index + offset]["tool_call_id"] == call["id"]

    def test_a_scored_trial_ends_its_round_without_another_call(self, played: tuple[TinySearch, ModelServer]) -> None:
        _, server = played
        assert len(server.requests) == 6  # count and train in each of three rounds

    def test_tokens_in_the_ledger_are_those_the_server_told(self, played: tuple[TinySearch, ModelServer]) -> None:
        search, server = played
        ledger = search.of("search.finished")[0]["ledger"]
        assert (ledger["input_tokens"], ledger["output_tokens"]) == (READ * 6, WRITTEN * 6)
        assert ledger["cost_usd"] is None  # a server of one's own has no known price
        assert len(server.requests) == search.rows("SELECT count(*) AS n FROM model_calls")[0]["n"]


def led_by_numbers(messages: list[dict[str, Any]]) -> Answer:
    """The next spec is a function of the best score in the answer of its own query_memory call."""
    answers = tool_answers(messages)
    if not answers:
        sql = "SELECT spec, rfid FROM results WHERE rfid IS NOT NULL ORDER BY rfid LIMIT 1"  # in all its digits
        return Call("query_memory", {"question": "sql", "sql": sql})
    best = json.loads(next(text for name, text in answers if name == "query_memory"))[0]
    tries = sum(name == "train_ract" for name, _ in answers)
    neighbours = near(built_in("digits-8"), UNetSpec.parse(best["spec"]))
    chosen = neighbours[(int(best["rfid"] * 1e6) + tries) % len(neighbours)]
    return Call("train_ract", {"spec": str(chosen), "reason": f"The best score is {best['rfid']}."})


def test_another_memory_leads_to_another_search(tmp_path: Path) -> None:
    def specs(name: str, seed: int) -> list[str]:
        (tmp_path / name).mkdir()
        with serve(led_by_numbers) as server:
            search = over(server, tmp_path / name, seed=seed, rounds=4)
            search.run()
        return search.executor.trained

    first = specs("first", 0)
    assert first == specs("again", 0)
    assert first[1:] != specs("other", 1)[1:]


class Script:
    """Answers in order, whatever was asked; `then` answers when they are used up."""

    def __init__(self, answers: list[Answer], then: Brain) -> None:
        self.left, self.then = list(answers), then

    def __call__(self, messages: list[dict[str, Any]]) -> Answer:
        return self.left.pop(0) if self.left else self.then(messages)


def trains(spec: str) -> Call:
    return Call("train_ract", {"spec": spec, "reason": "Because."})


class TestABadModel:
    def played(self, folder: Path, answers: list[Answer], then: Brain | None = None, **options: Any) -> TinySearch:
        with serve(Script(answers, then or well_behaved([A, B, C]))) as server:
            search = over(server, folder, **options)
            self.reason = search.run()
        return search

    def refused(self, search: TinySearch) -> list[str]:
        return [row["refusal_kind"] for row in search.rows("SELECT * FROM proposals WHERE accepted = 0 ORDER BY id")]

    def test_malformed_json_an_unknown_tool_and_an_empty_answer_are_sent_back(self, tmp_path: Path) -> None:
        search = self.played(tmp_path, [Broken("train_ract"), Call("buy_gpu"), Say(""), trains(A)], rounds=1)
        assert self.refused(search) == ["malformed", "unknown_tool", "empty_answer"]
        assert search.executor.trained[1:] == [A]
        assert search.rows("SELECT proposer FROM results WHERE round = 1")[0]["proposer"] == "openai:scripted"

    def test_the_repair_says_what_was_wrong(self, tmp_path: Path) -> None:
        with serve(Script([Call("buy_gpu"), trains(A)], well_behaved([]))) as server:
            over(server, tmp_path, rounds=1).run()
        tools = ["count_flops", "train_ract", "evaluate_fid", "query_memory", "finish_search"]
        expected = render("repair", problem="There is no tool 'buy_gpu'.", tools=tools)
        assert server.requests[1]["messages"][-1] == {"role": "user", "content": expected, "name": "repair"}

    def test_a_model_that_only_talks_is_answered_three_times_and_then_replaced(self, tmp_path: Path) -> None:
        search = self.played(tmp_path, [Say("I would train a larger network.")] * 4, rounds=1)
        assert self.refused(search) == ["no_tool_call"] * 4
        assert search.rows("SELECT proposer FROM results WHERE round = 1")[0]["proposer"] == "fallback"
        assert search.of("fallback")[0]["reason"] == "the model gave no valid proposal"

    def test_ten_specs_over_the_budget_are_ten_rows_and_then_the_fallback_proposes(self, tmp_path: Path) -> None:
        search = self.played(tmp_path, [trains(TOO_DEAR)] * 10, rounds=1)
        assert self.refused(search) == ["over_budget"] * 10
        assert TOO_DEAR not in search.executor.trained
        row = search.rows("SELECT * FROM results WHERE round = 1")[0]
        assert row["proposer"] == "fallback"
        assert row["macs_paper"] <= 2_000_000
        assert UNetSpec.parse(row["spec"]) in near(built_in("digits-8"), UNetSpec.parse("b8-n1-m1.1.1.1-a0000"))

    def test_a_repeated_spec_is_refused_with_its_score(self, tmp_path: Path) -> None:
        search = self.played(tmp_path, [trains(A), trains(A), trains(B)], rounds=2)
        assert self.refused(search) == ["repeated"]
        score = search.rows("SELECT rfid FROM results WHERE trial = 2")[0]["rfid"]
        refusal = search.rows("SELECT refusal FROM proposals WHERE accepted = 0")[0]["refusal"]
        assert refusal == f"{A} was tried already as trial 2: it scored {score:.4g}. Propose a new spec."
        assert search.executor.trained[1:] == [A, B]

    def test_arguments_that_do_not_fit_are_refused_in_words(self, tmp_path: Path) -> None:
        wrong = Call("train_ract", {"spec": {"base_channel": 7, "num_blocks": 1}, "reason": "x"})
        search = self.played(tmp_path, [wrong, Call("train_ract", {"spec": A}), trains(A)], rounds=1)
        assert self.refused(search) == ["arguments", "arguments"]
        first, second = (row["why"] for row in reversed(self.why(search)))
        assert "multiple of 4" in first
        assert "reason: Field required" in second

    def why(self, search: TinySearch) -> list[dict[str, Any]]:
        with opened(search.db, read_only=True) as db:
            return failures(db, search.search)

    def test_429_then_500_then_success_costs_nothing_but_two_rows(self, tmp_path: Path) -> None:
        search = self.played(tmp_path, [Status(429), Status(500), trains(A)], rounds=1)
        calls = search.rows("SELECT error FROM model_calls ORDER BY id")
        assert [bool(call["error"]) for call in calls[:3]] == [True, True, False]
        assert search.executor.trained[1:] == [A]
        assert self.refused(search) == []

    def test_a_stalled_answer_is_given_up_and_asked_again(self, tmp_path: Path) -> None:
        search = self.played(tmp_path, [Stall(5), trains(A)], rounds=1, llm_timeout_seconds=0.5)
        assert "imeout" in search.rows("SELECT error FROM model_calls ORDER BY id")[0]["error"]
        assert search.executor.trained[1:] == [A]

    def test_one_call_trains_and_scores_and_ends_the_round(self, tmp_path: Path) -> None:
        search = self.played(tmp_path, [trains(A), trains(B)], rounds=2)
        assert [row["state"] for row in search.rows("SELECT state FROM results")] == ["scored"] * 3
        assert search.rows("SELECT count(*) AS n FROM model_calls")[0]["n"] == 2

    def test_a_model_that_counts_for_ever_is_stopped(self, tmp_path: Path) -> None:
        search = self.played(tmp_path, [], lambda messages: Call("count_flops", {"specs": [A]}), rounds=1)
        assert search.rows("SELECT proposer FROM results WHERE round = 1")[0]["proposer"] == "fallback"

    def test_a_server_that_is_down_ends_the_search_after_three_silent_rounds(self, tmp_path: Path) -> None:
        search = self.played(tmp_path, [], lambda messages: Status(503), rounds=5, llm_retries=0)
        assert self.reason == "backend"
        proposers = [row["proposer"] for row in search.rows("SELECT proposer FROM results ORDER BY round")]
        assert proposers == ["baseline", "fallback", "fallback", "fallback"]
        assert "503" in search.of("fallback")[0]["reason"]

    def test_the_search_ends_early_when_the_model_says_so_but_not_before_a_first_try(self, tmp_path: Path) -> None:
        finish = Call("finish_search", {"reason": "Nothing helps."})
        search = self.played(tmp_path, [finish, trains(A), finish], rounds=9)
        assert self.reason == "finished_by_model"
        assert search.rows("SELECT reason, state FROM searches")[0] == {
            "reason": "finished_by_model: Nothing helps.",
            "state": "finished",
        }
        assert search.executor.trained[1:] == [A]


def test_a_training_that_fails_is_a_row_and_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train: Callable[..., dict[str, Any]] = PretendedExecutor.train

    def fails_for_a(self: PretendedExecutor, job: Any, on_progress: Any) -> dict[str, Any]:
        if str(job.spec) == A:
            raise JobFailed("the loss is nan at step 1")
        return train(self, job, on_progress)

    monkeypatch.setattr(PretendedExecutor, "train", fails_for_a)
    with serve(well_behaved([A, B])) as server:
        search = over(server, tmp_path, rounds=2)
        assert search.run() == "rounds"
    rows = search.rows("SELECT spec, state, error, rfid FROM results WHERE round > 0 ORDER BY round")
    assert rows[0] == {"spec": A, "state": "failed", "error": "the loss is nan at step 1", "rfid": None}
    assert rows[1]["state"] == "scored"
    assert search.of("trial.failed")[0]["reason"] == "the loss is nan at step 1"


def test_three_failures_in_a_row_stop_the_search_and_a_resume_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = PretendedExecutor.train

    def fails(*arguments: Any) -> None:
        raise JobFailed("no space left on device")

    search = TinySearch(tmp_path, {"rounds": 3})
    monkeypatch.setattr(PretendedExecutor, "train", fails)
    assert search.run() == "failures"
    assert [row["state"] for row in search.rows("SELECT state FROM results")] == ["failed"] * 3
    monkeypatch.setattr(PretendedExecutor, "train", train)
    assert search.run() == "rounds"
    states = [row["state"] for row in search.rows("SELECT state FROM results ORDER BY round")]
    assert states == ["failed"] * 3 + ["scored"]


def test_a_stop_is_heard_between_two_attempts_of_a_call(tmp_path: Path) -> None:
    stopped: list[TinySearch] = []

    def brain(messages: list[dict[str, Any]]) -> Answer:
        stopped[0].stop.set()
        return Status(503)

    with serve(brain) as server:
        stopped.append(over(server, tmp_path, rounds=1))
        assert stopped[0].run() == "interrupted"
    assert len(server.requests) == 1


def test_a_stop_is_heard_between_the_calls_of_an_answer(tmp_path: Path) -> None:
    with serve(well_behaved([A])) as server:
        search = over(server, tmp_path)
    request: Any = SimpleNamespace(runtime=SimpleNamespace(context=search.context()))
    search.stop.set()
    with pytest.raises(Interrupted):
        KeepGoing([]).wrap_tool_call(request, lambda request: pytest.fail("carried out"))


def test_a_limit_on_an_answer_is_sent_along(tmp_path: Path) -> None:
    with serve(well_behaved([A])) as server:
        over(server, tmp_path, rounds=1, llm_max_tokens=77).run()
    request = server.requests[0]
    assert request.get("max_completion_tokens", request.get("max_tokens")) == 77
