"""The searcher `centaur`: safe whatever the model does, and the state of the search is the surrogate's."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import bench
import pytest
from bench import planted_in, run_killed, search_on
from langchain_core.messages import AIMessage, BaseMessage
from searches import TinySearch

from agent.backends.offline import SUGGEST, OfflineModel, Thread, call
from agent.backends.registry import Address, Backend
from agent.replay.replay import replay
from agent.search.ending import Reason
from agent.search.loop import Loop
from agent.searchers.ask_tell import AskTell
from agent.searchers.centaur import Centaur, SuggestedProposer, is_models
from agent.searchers.gp import GP
from diffusion.spec import UNetSpec
from diffusion.streams import stream_seed
from diffusion.unetbench.table import Table
from tools.suggest_architectures import suggested

ROUNDS = 10
ENDED = "round.finished"
SPECS = "SELECT round, spec, rfid FROM results ORDER BY round"
PROPOSERS = "SELECT round, proposer FROM results WHERE round > 0 ORDER BY round"
REFUSALS = "SELECT round, refusal_kind AS kind, refusal, spec, proposer FROM proposals WHERE accepted = 0 ORDER BY id"
CALLS = "SELECT round, request_json FROM model_calls ORDER BY id"

Brain = Callable[[list[BaseMessage], Thread], AIMessage]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    (tmp_path / "tables").mkdir()
    return planted_in(tmp_path / "tables", monkeypatch)


def on(folder: Path, table: Table, searcher: str = "centaur", **options: Any) -> TinySearch:
    return search_on(folder, table, **{"searcher": searcher, "rounds": ROUNDS, **options})


class Scripted(OfflineModel):
    """A model whose answers are a function of the round's conversation."""

    brain: Any

    def _answer(self, messages: list[BaseMessage]) -> AIMessage:
        answer: AIMessage = self.brain(messages, Thread(messages))
        return answer


def run_with(search: TinySearch, brain: Brain, share: float) -> Reason:
    """Play a search in which this model decides in a share of the rounds."""
    rounds, model = search.plan.config.search.rounds, Scripted(brain=brain)
    proposer = SuggestedProposer([Backend(Address("offline"), model)], rounds, 0, 0.0)
    with search.session() as session:
        return Loop(session, Centaur(proposer, AskTell(GP, "gp", rounds), share)).run()


def trains(messages: list[BaseMessage], spec: UNetSpec, reason: str) -> AIMessage:
    return call(messages, "train_ract", spec=str(spec), reason=reason)


class TestDrivenByOffline:
    @pytest.mark.parametrize("seed", range(4))
    def test_it_proposes_what_gp_does_round_by_round(self, table: Table, tmp_path: Path, seed: int) -> None:
        alone, centaur = (on(tmp_path / name, table, name, seed=seed) for name in ("gp", "centaur"))
        assert alone.run() == centaur.run() == "rounds"
        assert centaur.rows(SPECS) == alone.rows(SPECS)
        assert not centaur.rows(REFUSALS)
        assert {row["proposer"] for row in centaur.rows(PROPOSERS)} == {"gp", "offline"}

    @pytest.mark.parametrize("at", ["round.started", "trial.started", "trial.trained", "trial.scored", ENDED])
    def test_also_when_it_is_killed_in_or_after_each_round(self, table: Table, tmp_path: Path, at: str) -> None:
        alone, killed = on(tmp_path / "alone", table, "gp"), on(tmp_path / "killed", table)
        alone.run()
        assert run_killed(killed, at) == "rounds"
        assert killed.rows(SPECS) == alone.rows(SPECS)

    def test_until_the_space_is_used_up(self, table: Table, tmp_path: Path) -> None:
        alone, centaur = (on(tmp_path / name, table, name, rounds=30) for name in ("gp", "centaur"))
        assert alone.run() == centaur.run() == "space_exhausted"
        assert centaur.rows(SPECS) == alone.rows(SPECS)
        assert len(centaur.rows(SPECS)) == bench.SPACE.size

    @pytest.mark.parametrize(("share", "proposer"), [(0.0, "gp"), (1.0, "offline")])
    def test_with_a_share_of_0_no_model_is_asked_and_with_1_in_every_round(
        self, table: Table, tmp_path: Path, share: float, proposer: str
    ) -> None:
        alone, centaur = on(tmp_path / "gp", table, "gp"), on(tmp_path / "centaur", table, centaur_share=share)
        assert alone.run() == centaur.run() == "rounds"
        assert {row["proposer"] for row in centaur.rows(PROPOSERS)} == {proposer}
        asked = {row["round"] for row in centaur.rows(CALLS)}
        assert asked == (set(range(1, ROUNDS + 1)) if share else set())
        assert centaur.rows(SPECS) == alone.rows(SPECS)

    def test_beside_each_forecast_it_says_how_well_the_surrogate_did(self, table: Table, tmp_path: Path) -> None:
        search = on(tmp_path / "a", table, centaur_share=1)
        search.run()
        rows = search.rows("SELECT round, reason FROM results WHERE round > 0 ORDER BY round")
        for number, row in enumerate(rows, 1):
            covered = f" of {number} scores lie in the 90 % interval that the others predict: "
            assert (covered in row["reason"]) == (number >= 5), row["reason"]
            assert ("predicted" in row["reason"]) == (number >= 5)

    @pytest.mark.parametrize("memory", ["none", "all"])
    def test_what_is_suggested_knows_what_gp_is_told(self, table: Table, tmp_path: Path, memory: str) -> None:
        """Two searches in each memory, the later of which may learn from the one before."""
        found = []
        for name in ("gp", "centaur"):
            for seed in range(2):
                search = on(tmp_path / name, table, name, seed=seed, memory=memory, centaur_share=1, rounds=6)
                assert search.run() == "rounds"
                found.append(search.rows(f"SELECT round, spec FROM results WHERE search = {search.search}"))
        assert found[:2] == found[2:]
        known = suggested(search.context(7)).surrogate
        assert (known.scores if known else 0) == {"none": 0, "all": 2 * 7}[memory]


def test_seed_and_round_alone_say_who_decides() -> None:
    assert [is_models(3, number, 0.3) for number in range(50)] == [is_models(3, number, 0.3) for number in range(50)]
    for share in (0.0, 0.1, 0.3, 0.7, 1.0):
        decided = mean(is_models(seed, number, share) for seed in range(40) for number in range(1, 101))
        assert decided == pytest.approx(share, abs=0.02)


class TestModelThatDeparts:
    def test_without_a_reason_is_refused_and_with_one_it_is_trained(self, table: Table, tmp_path: Path) -> None:
        def brain(messages: list[BaseMessage], seen: Thread) -> AIMessage:
            """Asks for one suggestion, and trains another network."""
            if not seen.answers(SUGGEST):
                return call(messages, SUGGEST, count=1)
            first = UNetSpec.parse(seen.answers(SUGGEST)[0]["suggestions"][0]["spec"])
            other = first.model_copy(update={"base_channel": 24 - first.base_channel})
            reason = "I depart from it: wider." if seen.was_refused_since(SUGGEST) else "It looks better."
            return trains(messages, other, reason)

        search = on(tmp_path / "a", table, rounds=1)
        assert run_with(search, brain, share=1) == "rounds"
        (refused,) = search.rows(REFUSALS)
        trained = search.rows("SELECT spec, reason, proposer FROM results WHERE round = 1")
        assert (refused["round"], refused["kind"], refused["proposer"]) == (1, "unexplained", "offline")
        assert refused["refusal"] == (
            f"{refused['spec']} is not among the suggestions. Train one of them, or give a reason that says why you "
            'depart from them, such as "departs from the suggestions: …".'
        )
        assert trained == [{"spec": refused["spec"], "reason": "I depart from it: wider.", "proposer": "offline"}]

    def test_one_that_trains_before_it_asks_is_told_to_ask_and_may_train_it_then(
        self, table: Table, tmp_path: Path
    ) -> None:
        alone = on(tmp_path / "gp", table, "gp", rounds=1)
        alone.run()
        (first,) = (row["spec"] for row in alone.rows(SPECS) if row["round"])

        def brain(messages: list[BaseMessage], seen: Thread) -> AIMessage:
            """Trains what it will be suggested, before and after it asked."""
            if len(messages) > 2 and not seen.answers(SUGGEST):
                return call(messages, SUGGEST, count=1)
            return trains(messages, UNetSpec.parse(first), "I know it already.")

        search = on(tmp_path / "a", table, rounds=1)
        assert run_with(search, brain, share=1) == "rounds"
        (refused,) = search.rows(REFUSALS)
        assert (refused["kind"], refused["spec"]) == ("unexplained", first)
        assert refused["refusal"].startswith("Ask suggest_architectures first, which costs nothing; then train ")
        assert search.rows("SELECT spec FROM results WHERE round = 1") == [{"spec": first}]

    def test_one_that_never_explains_itself_leaves_rounds_to_the_fallback(self, table: Table, tmp_path: Path) -> None:
        def brain(messages: list[BaseMessage], seen: Thread) -> AIMessage:
            return trains(messages, UNetSpec.parse("b8-n1-m1.1.2.1-a0100"), "Because.")

        search = on(tmp_path / "a", table, rounds=2)
        assert run_with(search, brain, share=1) == "rounds"
        assert {row["kind"] for row in search.rows(REFUSALS)} == {"unexplained"}
        assert [row["proposer"] for row in search.rows(PROPOSERS)] == ["fallback"] * 2


def at_random(seed: int) -> Brain:
    """A model that proposes any network of the space, and says that it departs."""

    def brain(messages: list[BaseMessage], seen: Thread) -> AIMessage:
        if not seen.answers(SUGGEST):
            return call(messages, SUGGEST)
        rng = random.Random(stream_seed(seed, messages[1].text, len(messages)))
        return trains(messages, rng.choice(list(bench.SPACE)), "I depart from the suggestions: a draw.")

    return brain


@pytest.mark.slow
def test_with_a_model_that_draws_it_is_no_worse_than_gp_without_the_rounds_of_the_model(
    table: Table, tmp_path: Path
) -> None:
    """By the truth of the table, over 24 seeds, after three rounds and after each more."""
    truth = {str(spec): math.log(mean(table.scores(spec, bench.STEPS[-1]))) for spec in bench.SPACE}
    centaur, alone = dict[int, list[float]](), dict[int, list[float]]()
    for seed in range(24):
        both = [on(tmp_path / f"{name}{seed}", table, "gp", seed=seed) for name in ("centaur", "gp")]
        assert run_with(both[0], at_random(seed), share=0.3) == both[1].run() == "rounds"
        mixed, surrogate = ([truth[row["spec"]] for row in search.rows(SPECS)] for search in both)
        for rounds in range(3, ROUNDS + 1):
            own = sum(not is_models(seed, number, 0.3) for number in range(1, rounds + 1))
            centaur.setdefault(rounds, []).append(min(mixed[: 1 + rounds]))
            alone.setdefault(rounds, []).append(min(surrogate[: 1 + own]))
    assert mean(map(mean, centaur.values())) <= mean(map(mean, alone.values()))
    for rounds, found in centaur.items():
        assert mean(found) <= mean(alone[rounds]) + 0.02


class TestPrompts:
    def test_the_system_prompt_tells_of_the_suggestions_and_replay_makes_it_again(
        self, table: Table, tmp_path: Path
    ) -> None:
        search = on(tmp_path / "a", table, rounds=8)
        search.run()
        prompts = [json.loads(row["request_json"])["messages"][0]["data"]["content"] for row in search.rows(CALLS)]
        assert prompts and all("suggest_architectures gives its best candidates" in text for text in prompts)
        found = replay(search.db)
        assert not found.differences
        assert found.checked["prompts"] and found.checked["tools"] and found.checked["answers"]

    def test_of_llm_it_does_not(self, table: Table, tmp_path: Path) -> None:
        search = on(tmp_path / "a", table, "llm", rounds=2)
        search.run()
        assert not [row for row in search.rows(CALLS) if SUGGEST in row["request_json"]]
        assert not replay(search.db).differences

    def test_a_replay_takes_a_refused_departure_as_it_was(self, table: Table, tmp_path: Path) -> None:
        def brain(messages: list[BaseMessage], seen: Thread) -> AIMessage:
            return trains(messages, UNetSpec.parse("b8-n1-m1.1.2.1-a0100"), "Because.")

        search = on(tmp_path / "a", table, rounds=2)
        run_with(search, brain, share=1)
        found = replay(search.db)
        assert not found.differences and found.checked["gates"] >= 20
