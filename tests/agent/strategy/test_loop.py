"""Searches for a training strategy: over real HTTP with a scripted model; measurements are functions."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from model_server import READ, WRITTEN, Answer, Broken, Call, ModelServer, Say, Status, serve
from rich.console import Console
from strategy_searches import TinyStrategySearch, tau_of

from agent.report.status import all_searches, print_status
from diffusion.settings import Strategy
from memory.connection import opened
from memory.ledger import totals
from memory.strategies import Measured
from tools.errors import Interrupted, JobFailed

PAPERS = {"learning_rate": 2e-3, "dropout": 0.1, "diffusion_steps": 100}
TAU = tau_of(lambda strategy: 0.9 - strategy.dropout)


def proposes(**values: Any) -> Call:
    return Call("propose_strategy", {**PAPERS, "reason": "It is the paper's step.", **values})


class Script:
    """Answers in order; the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.left = list(answers)

    def __call__(self, messages: list[dict[str, Any]]) -> Answer:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


def played(folder: Path, *answers: Answer, **changes: Any) -> tuple[TinyStrategySearch, ModelServer]:
    """A search whose model is a scripted server, from its start to its end."""
    with serve(Script(*answers)) as server:
        options = {"llm": "openai:scripted", "base_url": server.url, **changes.pop("options", {})}
        search = TinyStrategySearch(folder, options, **changes)
        search.reason = search.run()  # type: ignore[attr-defined]
    return search, server


def refusals(search: TinyStrategySearch) -> list[tuple[str, str]]:
    rows = search.rows("SELECT refusal_kind, refusal FROM proposals WHERE accepted = 0 ORDER BY id")
    return [(row["refusal_kind"], row["refusal"]) for row in rows]


def prompt(server: ModelServer, request: int) -> str:
    """The first message of a request."""
    return str(server.requests[request]["messages"][0]["content"])


@pytest.fixture(scope="module")
def zero_shot(tmp_path_factory: pytest.TempPathFactory) -> tuple[TinyStrategySearch, ModelServer]:
    return played(tmp_path_factory.mktemp("zero"), proposes(), measure=TAU)


class TestAZeroShotProposal:
    def test_one_call_gives_one_strategy(self, zero_shot: tuple[TinyStrategySearch, ModelServer]) -> None:
        search, server = zero_shot
        assert len(server.requests) == 1
        standard, found = search.strategies()
        assert (standard.round, standard.proposer, standard.cost) == (0, "standard", 1.0)
        assert (found.round, found.proposer, found.reason) == (1, "openai:scripted", "It is the paper's step.")
        assert found.strategy.model_dump() == {
            **standard.strategy.model_dump(), **PAPERS, "train_steps": 50, "warmup_steps": 5,
        }  # fmt: skip
        assert found.cost == 0.5

    def test_its_progress_is_that_of_strategies(self, zero_shot: tuple[TinyStrategySearch, ModelServer]) -> None:
        search, _ = zero_shot
        with opened(search.db, read_only=True) as db:
            (found,) = all_searches(db)
            assert (found.round, found.rounds) == (1, 1)
            assert found.strategies == {"proposed": 1, "measured": 1, "failed": 0}
            console = Console(file=io.StringIO(), width=200)
            print_status(console, found, search.db)
        said = console.file.getvalue()  # type: ignore[attr-defined]
        assert "1 of 1 rounds done" in said and "strategies: 1 proposed, 1 measured, 0 failed" in said
        assert "trials" not in said

    def test_the_model_was_told_the_limit_and_no_measurement(
        self, zero_shot: tuple[TinyStrategySearch, ModelServer]
    ) -> None:
        _, server = zero_shot
        assert [message["role"] for message in server.requests[0]["messages"]] == ["user"]
        assert [tool["function"]["name"] for tool in server.requests[0]["tools"]] == ["propose_strategy"]
        text = prompt(server, 0)
        assert "at most 0.5 of the standard strategy, 400 images" in text
        assert "- diffusion_steps: 50 to 4000" in text
        assert "τ 0." not in text
        assert text.count("not measured") == 1  # the standard strategy

    def test_it_is_measured_afterwards_and_so_is_the_standard_strategy(
        self, zero_shot: tuple[TinyStrategySearch, ModelServer]
    ) -> None:
        search, _ = zero_shot
        assert [round(row.measured.tau or 0, 3) for row in search.strategies() if row.measured] == [0.6, 0.8]
        assert [event["tau"] for event in search.of("strategy.measured")] == pytest.approx([0.6, 0.8])

    def test_the_call_is_in_the_ledger(self, zero_shot: tuple[TinyStrategySearch, ModelServer]) -> None:
        search, _ = zero_shot
        with opened(search.db, read_only=True) as db:
            ledger = totals(db, search.search)
        assert (ledger.input_tokens, ledger.output_tokens, ledger.cost_usd) == (READ, WRITTEN, None)
        assert ledger.wall_seconds > 0
        (call,) = search.rows("SELECT model, purpose, error FROM model_calls")
        assert call == {"model": "openai:scripted", "purpose": "propose", "error": None}


class TestABadModel:
    def test_over_the_limit_is_sent_back_with_what_would_fit(self, tmp_path: Path) -> None:
        search, server = played(tmp_path, proposes(train_steps=80), proposes(train_steps=50))
        sentence = (
            "80 train_steps of batch_size 8 cost 0.8 of the standard strategy, 0.3 over the limit of 0.5; "
            "with batch_size 8 at most 50 train_steps fit."
        )
        assert refusals(search) == [("over_limit", sentence)]
        assert server.requests[1]["messages"][-1]["content"] == sentence
        (_, second) = search.rows("SELECT request_json FROM model_calls ORDER BY id")
        last = json.loads(second["request_json"])["messages"][-1]["data"]
        assert (last["content"], last["status"]) == (sentence, "error")
        assert search.strategies()[1].strategy.train_steps == 50

    def test_a_repeat_is_sent_back_with_what_was_measured(self, tmp_path: Path) -> None:
        search, _ = played(tmp_path, proposes(), proposes(), proposes(dropout=0.2), options={"rounds": 2}, measure=TAU)
        told = "τ 0.80 [0.60, 1.00] over 10 specs, 5 device-seconds per training"
        sentence = f"These values are strategy 2 of round 1 already ({told}). Propose other values."
        assert refusals(search) == [("repeated", sentence)]
        assert [row.strategy.dropout for row in search.strategies()] == [0.3, 0.1, 0.2]

    def test_the_standard_strategy_itself_is_a_repeat(self, tmp_path: Path) -> None:
        standard = {"learning_rate": 1e-3, "dropout": 0.3, "diffusion_steps": 1000, "train_steps": 100}
        search, _ = played(tmp_path, proposes(**standard), proposes(), cost="100%")
        assert [kind for kind, _ in refusals(search)] == ["repeated"]
        assert "the standard strategy already (not measured)" in refusals(search)[0][1]

    def test_words_alone_broken_json_and_an_unknown_tool_are_repaired(self, tmp_path: Path) -> None:
        broken = Broken("propose_strategy", '{"learning_rate": ')
        search, server = played(
            tmp_path, Say("I would take a larger learning rate."), broken, Call("train_ract"), proposes()
        )
        assert [kind for kind, _ in refusals(search)] == ["no_tool_call", "malformed", "unknown_tool"]
        assert "the tools are propose_strategy" in server.requests[1]["messages"][-1]["content"]
        assert search.strategies()[1].proposer == "openai:scripted"

    def test_arguments_that_do_not_fit_are_refused_in_words(self, tmp_path: Path) -> None:
        search, _ = played(
            tmp_path, proposes(loss="min-snr"), proposes(dropout="a little"), proposes(learning_rate=1), proposes()
        )
        kinds, sentences = zip(*refusals(search), strict=True)
        assert kinds == ("arguments", "arguments", "outside_bounds")
        assert "loss: Extra inputs are not permitted" in sentences[0]
        assert "dropout: Input should be a valid number" in sentences[1]
        assert "learning_rate 1 is above 0.01" in sentences[2]
        assert len(search.strategies()) == 2

    def test_a_model_that_only_talks_is_replaced_by_the_local_search(self, tmp_path: Path) -> None:
        search, server = played(tmp_path, Say("Let me think."))
        assert len(server.requests) == 4  # three repairs in a row
        assert search.strategies()[1].proposer == "fallback"
        assert search.of("fallback") == [
            {"event": "fallback", "round": 1, "reason": "the model gave no valid proposal"}
        ]

    def test_ten_refusals_end_the_round(self, tmp_path: Path) -> None:
        search, server = played(tmp_path, proposes(train_steps=100))
        assert len(server.requests) == 10
        assert [kind for kind, _ in refusals(search)] == ["over_limit"] * 10
        assert search.strategies()[1].proposer == "fallback"

    def test_a_busy_server_is_asked_again_and_each_attempt_is_a_row(self, tmp_path: Path) -> None:
        search, _ = played(tmp_path, Status(429), Status(500), proposes())
        assert [row["error"] is None for row in search.rows("SELECT error FROM model_calls ORDER BY id")] == [
            False, False, True,
        ]  # fmt: skip
        assert search.strategies()[1].proposer == "openai:scripted"

    def test_a_server_that_is_down_ends_the_search_after_three_rounds(self, tmp_path: Path) -> None:
        search, _ = played(tmp_path, Status(503), options={"rounds": 5, "llm_retries": 0})
        assert [row.proposer for row in search.strategies()] == ["standard", *["fallback"] * 3]
        assert search.rows("SELECT state, reason FROM searches") == [{"state": "interrupted", "reason": "backend"}]

    def test_a_server_that_answers_in_between_does_not_end_it(self, tmp_path: Path) -> None:
        down = Status(503)
        search, _ = played(tmp_path, down, down, proposes(dropout=0.2), down, options={"rounds": 4, "llm_retries": 0})
        proposers = [row.proposer for row in search.strategies()]
        assert proposers == ["standard", "fallback", "fallback", "openai:scripted", "fallback"]
        assert search.rows("SELECT state, reason FROM searches") == [{"state": "finished", "reason": "rounds"}]


class TestSeveralRounds:
    def test_each_round_is_shown_what_was_measured_before(self, tmp_path: Path) -> None:
        search, server = played(
            tmp_path, proposes(), proposes(train_steps=80), proposes(dropout=0.0), proposes(dropout=0.05),
            options={"rounds": 3}, measure=TAU,
        )  # fmt: skip
        second, third = prompt(server, 1), prompt(server, 3)
        assert "| 2 | 0.002 | 0.1 | 100 | 8 | 50 | 5 | 0.9999 | 0.5 | τ 0.80 [0.60, 1.00] over 10 specs, 5 " in second
        assert "| 1 | 0.001 | 0.3 | 1000 | 8 | 100 | 10 | 0.9999 | 1 | τ 0.60 [0.40, 0.80] over 10 specs" in second
        assert "Refused" not in second
        assert "- «round 2: 80 train_steps of batch_size 8 cost 0.8" in third
        assert "τ 0.90 [0.70, 1.00]" in third
        assert [row.strategy.dropout for row in search.strategies()] == [0.3, 0.1, 0.0, 0.05]

    def test_without_a_way_to_measure_it_shows_not_measured(self, tmp_path: Path) -> None:
        search, server = played(tmp_path, proposes(), proposes(dropout=0.2), options={"rounds": 2})
        assert prompt(server, 1).count("| not measured |") == 2
        assert search.of("strategy.measured") == []

    def test_a_measurement_without_a_result_is_a_row_and_the_search_goes_on(self, tmp_path: Path) -> None:
        def measure(strategy: Strategy) -> Measured:
            if strategy.dropout == 0.1:
                raise JobFailed("the loss is nan at step 3")
            return TAU(strategy)

        search, server = played(tmp_path, proposes(), proposes(dropout=0.2), options={"rounds": 2}, measure=measure)
        assert "could not be measured: the loss is nan at step 3" in prompt(server, 1)
        assert [row.error for row in search.strategies()] == [None, "the loss is nan at step 3", None]

    def test_a_stopped_search_goes_on_without_asking_or_measuring_again(self, tmp_path: Path) -> None:
        measured: list[float] = []

        def stopped_at_once(strategy: Strategy) -> Measured:
            if len(measured) == 1:
                raise Interrupted
            measured.append(strategy.dropout)
            return TAU(strategy)

        search, server = played(tmp_path, proposes(), measure=stopped_at_once)
        assert search.rows("SELECT state FROM searches") == [{"state": "interrupted"}]
        search.measure = lambda strategy: measured.append(strategy.dropout) or TAU(strategy)  # type: ignore[func-returns-value]
        assert search.run() == "rounds"
        assert measured == [0.3, 0.1]
        assert len(server.requests) == 1
        assert len(search.strategies()) == 2
