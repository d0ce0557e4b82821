"""Replay and fork of a search that a scripted server proposed for: what was changed is found once, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import DictLoader
from model_server import Answer, Call, ModelServer, serve, well_behaved
from pretended import PretendedExecutor
from searches import TinySearch

from agent.cli.replay import DIFFERS
from agent.replay import answers as replay_answers
from agent.replay import replay as module
from agent.replay.fork import Forked, Parent, fork
from agent.replay.replay import replay
from agent.search.plan import reopened
from agent.searchers.model.proposer import TOOLS
from diffusion.errors import UserError
from memory.connection import opened
from memory.searches import find_protocol, find_search
from prompts.render import environment, template_sha
from tools.context import SearchContext
from tools.errors import Refused
from tools.gates import specs as gates

SPECS = ["b8-n1-m1.1.1.2-a0000", "b8-n1-m1.1.2.2-a0000", "b8-n1-m2.1.1.1-a0000", "b8-n1-m1.2.1.1-a0000"]
TOO_DEAR = "b32-n3-m4.4.4.4-a1111"
PRICES = '"openai:scripted" = [2.0, 8.0]\n'


def brain() -> Any:
    """Plays four rounds well, but proposes something too dear in the second, and once says nothing usable."""
    usual, asked = well_behaved(SPECS), [0]

    def answers(messages: list[dict[str, Any]]) -> Answer:
        asked[0] += 1
        if asked[0] == 2:
            return Call("buy_gpu")
        if asked[0] == 4:
            return Call("train_ract", {"spec": TOO_DEAR, "reason": "Why not?"})
        refused = messages[-1]["role"] == "tool" and "over the budget" in messages[-1]["content"]
        return usual(messages[:2] if refused else messages)

    return answers


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TinySearch, ModelServer]]:
    folder = tmp_path_factory.mktemp("replay")
    (folder / "prices.toml").write_text(PRICES)
    with serve(brain()) as server:
        options = {"llm": "openai:scripted", "base_url": server.url, "rounds": 4, "replicas": 3, "name": "first"}
        search = TinySearch(folder, {**options, "prices": folder / "prices.toml"}, executor=PretendedExecutor())
        assert search.run() == "rounds"
        yield search, server


def differences(search: TinySearch) -> list[tuple[str, str, str]]:
    return [(found.kind, found.name, found.why) for found in replay(search.db).differences]


class TestReplay:
    def test_a_recorded_search_differs_in_nothing(self, played: tuple[TinySearch, ModelServer]) -> None:
        search, server = played
        found = replay(search.db, "first")
        assert found.differences == []
        assert found.checked == {
            "prompts": 9,
            "answers": len(server.requests),
            "gates": 6,
            "prices": len(server.requests),
            "tools": len(server.requests),
        }
        assert found.unchecked == {"prompts": 0, "gates": 0}

    def test_it_needs_no_server_no_key_and_leaves_the_memory_alone(
        self, played: tuple[TinySearch, ModelServer]
    ) -> None:
        search, server = played
        before, asked = search.db.read_bytes(), len(server.requests)
        replay(search.db)
        assert search.db.read_bytes() == before
        assert len(server.requests) == asked

    @pytest.mark.parametrize("name", ["system", "round", "repair"])
    def test_a_changed_template_is_one_difference(
        self, name: str, played: tuple[TinySearch, ModelServer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loader = environment().loader
        texts = {
            f"{each}.md.j2": loader.get_source(environment(), f"{each}.md.j2")[0]
            for each in ("system", "round", "repair")
        }
        texts[f"{name}.md.j2"] += "\nBe bold."
        environment().cache.clear()
        monkeypatch.setattr(environment(), "loader", DictLoader(texts))
        try:
            assert differences(played[0]) == [("prompt", name, "the template has changed")]
        finally:
            environment().cache.clear()

    def test_a_changed_price_is_one_difference(
        self, played: tuple[TinySearch, ModelServer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from agent.backends.pricing import PriceTable

        monkeypatch.setattr(module, "price_table", lambda path: PriceTable({}, {"openai:scripted": (2.0, 9.0)}))
        assert differences(played[0]) == [("price", "openai:scripted", "its price has changed")]

    def test_a_changed_gate_is_one_difference(
        self, played: tuple[TinySearch, ModelServer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def milder(context: SearchContext, spec: Any) -> Refused | None:
            return None

        monkeypatch.setattr(gates, "GATES", (gates.outside_space, milder, *gates.GATES[2:]))
        assert differences(played[0]) == [("gate", "over_budget", "it passes now")]

    def test_a_gate_that_is_new_is_one_difference(
        self, played: tuple[TinySearch, ModelServer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gates, "GATES", (*gates.GATES, lambda context, spec: Refused("moody", "Not today.")))
        found = replay(played[0].db).differences
        assert [(each.kind, each.name, each.count) for each in found] == [("gate", "moody", 5)]

    def test_a_reader_that_takes_what_was_refused_is_one_difference(
        self, played: tuple[TinySearch, ModelServer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replay_answers, "problems_of", lambda message, tools: [])
        assert differences(played[0]) == [("answer", "unknown_tool", "it is taken now")]

    def test_a_stricter_reader_is_one_difference(
        self, played: tuple[TinySearch, ModelServer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def strict(tool: Any, arguments: dict[str, Any]) -> str | None:
            return "Too short a reason." if arguments.get("reason") == "Why not?" else None

        monkeypatch.setattr(replay_answers, "wrong_arguments", strict)
        assert differences(played[0]) == [("answer", "arguments", "it was taken")]

    def test_an_answer_that_a_killed_process_lost_is_no_difference(
        self, played: tuple[TinySearch, ModelServer], tmp_path: Path
    ) -> None:
        copy = tmp_path / "diffnas.db"
        with opened(played[0].db, read_only=True) as source, opened(copy) as db:
            source.conn.backup(db.conn)
        with opened(copy) as db:
            lost = {"type": "ai", "data": {"content": "Hm.", "type": "ai", "id": "lost"}}
            db.conn.execute(
                "INSERT INTO model_calls"
                " (id, search, round, purpose, model, request_json, response_json, seconds, created)"
                " SELECT -1, search, 1, purpose, model, request_json, ?, seconds, created"
                " FROM model_calls WHERE id = 1",
                [json.dumps(lost)],
            )
        assert [each for each in replay(copy).differences if each.kind == "answer"] == []

    def test_a_changed_tool_schema_is_one_difference(
        self, played: tuple[TinySearch, ModelServer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(TOOLS[0], "description", "Counts.")
        assert differences(played[0]) == [("tool", "count_flops", "it has changed")]

    def test_another_memory_than_the_recorded_one_is_seen(
        self, played: tuple[TinySearch, ModelServer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def one_more(db: Any, context: SearchContext) -> dict[str, Any]:
            return {**values(db, context), "round": 77}

        values = module.round_values
        monkeypatch.setattr(module, "round_values", one_more)
        (found,) = replay(played[0].db).differences
        assert (found.name, found.why, found.count) == ("round", "the memory gives other values", 4)
        assert found.first.now == "# Round 77 of 4"

    def test_what_a_template_is_has_a_name(self) -> None:
        assert template_sha("round") != template_sha("system")


def test_the_exit_code_says_whether_anything_differs(
    played: tuple[TinySearch, ModelServer], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from agent.cli.main import main

    def typed(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["diffnas-agent", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), capsys.readouterr().out

    place = str(played[0].db)
    code, out = typed("replay", "first", "--db", place)
    assert (code, out.splitlines()[-1]) == (0, "No difference.")
    monkeypatch.setattr(TOOLS[0], "description", "Counts.")
    code, out = typed("replay", "first", "--db", place, "--json")
    assert (code, len(json.loads(out)["differences"])) == (DIFFERS, 1)


@pytest.fixture(scope="module")
def forked(played: tuple[TinySearch, ModelServer]) -> Forked:
    return fork(played[0].db, "first", 3, llm="offline", base_url=None, new_name="second")


class TestFork:
    def rows(self, search: TinySearch, number: int) -> list[tuple[Any, ...]]:
        statement = "SELECT round, spec, rfid, training FROM results WHERE search = ? ORDER BY round"
        return [tuple(row.values()) for row in search.rows(statement, number)]

    def test_a_fork_at_round_3_shares_the_first_three_rounds_and_nothing_after(
        self, played: tuple[TinySearch, ModelServer], forked: Forked
    ) -> None:
        search = played[0]
        assert self.rows(search, forked.search) == self.rows(search, search.search)[:4]
        assert forked.forked_from == Parent(search=search.search, name="first", round=3)
        assert search.rows("SELECT count(*) AS n FROM model_calls WHERE search = ?", forked.search)[0]["n"] == 0

    def test_it_goes_on_with_the_other_model_and_trains_nothing_again(
        self, played: tuple[TinySearch, ModelServer], forked: Forked
    ) -> None:
        search = played[0]
        with opened(search.db, read_only=True) as db:
            found = find_search(db, "second")
            protocol = find_protocol(db, found.protocol)
        search.plan = reopened(found.config_json, protocol, {})
        from agent.search.wiring import context_maker

        trained = len(search.executor.trained)
        search.search = forked.search
        search.make_context = context_maker(search.search, search.plan, search.executor, search.stop, search.report)
        assert search.run() == "rounds"
        rows = search.rows("SELECT round, proposer FROM results WHERE search = ? ORDER BY round", forked.search)
        assert [row["proposer"] for row in rows] == ["baseline"] + ["openai:scripted"] * 3 + ["offline"]
        assert len(search.executor.trained) <= trained + 1
        assert replay(search.db, "second").differences == []

    def test_a_model_that_is_none_is_refused_before_anything_is_copied(
        self, played: tuple[TinySearch, ModelServer]
    ) -> None:
        before = played[0].rows("SELECT count(*) AS n FROM searches")
        with pytest.raises(UserError, match="'gpt' is not a backend"):
            fork(played[0].db, "first", 1, llm="gpt")
        assert played[0].rows("SELECT count(*) AS n FROM searches") == before


def test_parallel_rounds_replay_exactly_too(tmp_path: Path) -> None:
    with serve(well_behaved(SPECS)) as server:
        options = {"llm": "openai:scripted", "base_url": server.url, "rounds": 4, "parallel": 2, "replicas": 3}
        search = TinySearch(tmp_path, options, executor=PretendedExecutor())
        search.run()
    found = replay(search.db)
    assert found.differences == []
    assert found.checked["gates"] >= 5


def test_a_model_without_tool_calling_is_replayed_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(well_behaved(SPECS), tools="rejected") as server:
        search = TinySearch(
            tmp_path, {"llm": "openai:scripted", "base_url": server.url, "rounds": 1}, executor=PretendedExecutor()
        )
        search.run()
    assert differences(search) == []
    monkeypatch.setattr(module, "in_words", lambda system, tools: system)
    assert differences(search) == [("prompt", "tools", "the words for a model without tool calling have changed")]
