"""``diffnas-agent strategy`` as it is typed, and without a language model: the local search, the limit, the best."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from model_server import Status, serve
from strategy_rows import make_tables
from strategy_searches import TinyStrategySearch, tau_of

from agent.cli.main import main
from agent.config.strategies import strategy_presets
from agent.strategy.local_search import LocalSearch, papers_step
from agent.strategy.loop import drive_strategy
from agent.strategy.plan import cost_limit, parse_cost
from agent.strategy.views import best_strategy
from diffusion.errors import UserError
from diffusion.neighbourhood import strategy_neighbours
from diffusion.settings import Strategy
from memory.connection import opened
from memory.strategies import Measured, StoredStrategy
from tools.errors import Interrupted
from tools.propose_strategy import propose

PAPERS = {"learning_rate": 2e-3, "dropout": 0.1, "diffusion_steps": 100}
TAU = tau_of(lambda strategy: 0.9 - strategy.dropout)


class TestOffline:
    def test_the_first_proposal_is_the_papers_step(self, tmp_path: Path) -> None:
        search = TinyStrategySearch(tmp_path)
        assert search.run() == "rounds"
        _, found = search.strategies()
        assert (found.strategy.learning_rate, found.strategy.dropout, found.strategy.diffusion_steps) == (
            2e-3, 0.1, 100,
        )  # fmt: skip
        assert found.strategy.train_steps == 50
        assert found.proposer == "offline"
        assert search.rows("SELECT * FROM model_calls") == []

    def test_the_papers_own_strategies_are_one_step_apart(self) -> None:
        standard = Strategy(learning_rate=1e-4, dropout=0.3, diffusion_steps=4000)
        assert papers_step(standard) == pytest.approx({"learning_rate": 2e-4, "dropout": 0.1, "diffusion_steps": 400})

    def test_later_ones_are_one_step_from_the_best_measured(self, tmp_path: Path) -> None:
        search = TinyStrategySearch(tmp_path, {"rounds": 8}, measure=TAU)
        search.run()
        known = search.strategies()
        assert len(known) == 9
        for index, row in enumerate(known[2:], 2):
            best = max(
                known[:index], key=lambda found: (found.measured.tau or 0, -found.id) if found.measured else (0, 0)
            )
            assert (row.reason or "").startswith(f"One step from strategy {best.id} (τ ")
            moved = [name for name in PAPERS if getattr(row.strategy, name) != getattr(best.strategy, name)]
            assert len(moved) <= 1
            assert row.cost <= 0.5
        assert len({row.strategy for row in known}) == 9

    def test_a_search_that_was_stopped_in_its_second_round_goes_on_with_what_it_has(self, tmp_path: Path) -> None:
        measured: list[Strategy] = []

        def stopped_at_the_third(strategy: Strategy) -> Measured:
            if len(measured) == 2:
                raise Interrupted
            measured.append(strategy)
            return TAU(strategy)

        search = TinyStrategySearch(tmp_path, {"rounds": 3}, measure=stopped_at_the_third)
        assert search.run() == "interrupted"
        proposed = [row.strategy for row in search.strategies()]
        search.measure = TAU
        assert search.run() == "rounds"
        known = search.strategies()
        assert [row.strategy for row in known][:3] == proposed
        assert len(known) == 4
        assert all(row.measured for row in known)

    def test_an_accuracy_that_rewards_little_dropout_leads_to_none(self, tmp_path: Path) -> None:
        search = TinyStrategySearch(tmp_path, {"rounds": 14}, measure=TAU)
        search.run()
        found = best_strategy(search.strategies(), 0.5)
        assert found is not None
        assert found.strategy.dropout == 0.0

    def test_the_same_seed_gives_the_same_search_and_another_seed_another(self, tmp_path: Path) -> None:
        def found(name: str, seed: int) -> list[Strategy]:
            (tmp_path / name).mkdir()
            search = TinyStrategySearch(tmp_path / name, {"rounds": 5, "seed": seed})
            search.run()
            return [row.strategy for row in search.strategies()]

        first = found("one", 0)
        assert first == found("again", 0)
        assert first != found("other", 1)
        steps = [dict(each.model_dump().items() - first[1].model_dump().items()) for each in first[2:]]
        assert steps == [  # recorded when each proposer had a walk of its own
            {"diffusion_steps": 200}, {"diffusion_steps": 50}, {"learning_rate": 1e-3}, {"learning_rate": 4e-3},
        ]  # fmt: skip

    def test_it_asks_for_nothing_that_a_gate_objects_to(self, tmp_path: Path) -> None:
        search = TinyStrategySearch(tmp_path, {"rounds": 12}, cost="0.02")
        search.run()
        assert search.rows("SELECT * FROM proposals") == []
        assert all(row.cost <= 0.02 for row in search.strategies()[1:])

    def test_it_ends_when_every_neighbour_was_tried(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agent.strategy.local_search.strategy_neighbours", lambda strategy: [])
        search = TinyStrategySearch(tmp_path, {"rounds": 3})
        assert search.run() == "space_exhausted"
        assert len(search.strategies()) == 2

    def test_every_field_is_moved(self) -> None:
        strategy = Strategy(dropout=0.2, warmup_steps=100)
        assert {name for name, _ in strategy_neighbours(strategy)} == set(Strategy.model_fields) - {
            "gradient_clip",
            "weight_decay",
        }


class TestTheBest:
    def row(self, number: int, cost: float, tau: float | None) -> StoredStrategy:
        measured = Measured(tau, tau and tau - 0.1, tau and tau + 0.05, 1.0, 9)
        return StoredStrategy(number, number - 1, "x", None, Strategy(), cost, measured, None)

    def test_it_ranks_best_within_the_limit(self) -> None:
        known = [self.row(1, 1.0, 0.95), self.row(2, 0.5, 0.6), self.row(3, 0.5, 0.8), self.row(4, 0.4, None)]
        assert best_strategy(known, 0.5) == known[2]
        assert best_strategy(known, 1.0) == known[0]

    def test_of_equal_ones_the_cheaper(self) -> None:
        known = [self.row(1, 0.5, 0.8), self.row(2, 0.4, 0.8)]
        assert best_strategy(known, 0.5) == known[1]

    def test_there_is_none_without_a_measurement(self) -> None:
        unmeasured = [replace(self.row(1, 0.5, 0.8), measured=None), self.row(2, 0.5, None)]
        assert best_strategy(unmeasured, 0.5) is None


class TestTheLimit:
    @pytest.mark.parametrize(
        ("text", "found"),
        [("0.5", (0.5, False)), ("50%", (0.5, False)), ("1", (1.0, False)), (" .25 ", (0.25, False)),
         ("30s", (30.0, True)), ("0.5 s", (0.5, True))],
    )  # fmt: skip
    def test_shares_and_seconds(self, text: str, found: tuple[float, bool]) -> None:
        assert parse_cost(text) == found

    @pytest.mark.parametrize("text", ["0", "1.5", "150%", "0s", "half", "", "-0.5", "0,5", "nan", "1e-3", "٣"])
    def test_anything_else_is_one_sentence(self, text: str) -> None:
        with pytest.raises(UserError, match=rf"^--cost '{re.escape(text)}' .*write 0\.5"):
            parse_cost(text)

    def test_seconds_are_a_share_of_what_was_measured_here(self, tmp_path: Path) -> None:
        search = TinyStrategySearch(tmp_path)
        values = {"key": "k", "spec": "b8-n1-m1.1.1.1-a0000", "seed": 0, "state": "done", "steps_done": 40}
        values |= {"network": "n"}
        strategy = Strategy(batch_size=10, train_steps=40)  # 400 images in 20 seconds
        protocol = search.plan.protocol
        values |= {"family": "ddpm", "dataset": "digits", "device_seconds": 20.0, "run_folder": "", "created": ""}
        values |= {"strategy_json": strategy.model_dump_json(), "settings_json": protocol.settings.model_dump_json()}
        values |= {"data_fingerprint": protocol.data_fingerprint, "macs_paper": 1, "macs_total": 1, "params": 1}
        values |= dict.fromkeys(
            ("base_channel", "num_blocks", *(f"{k}_{i}" for k in ("mult", "attn") for i in range(4))), 1
        )
        with opened(search.db) as db:
            with pytest.raises(UserError, match="holds no finished training on these data"):
                cost_limit(db, search.plan, "10s")
            db["trainings"].insert(values)
            found = cost_limit(db, search.plan, "10s")  # a standard training: 800 images, so 40 seconds
            assert found.share == 0.25
            assert found.note == "a standard training takes about 40 device-seconds, by 1 trainings here"
            with pytest.raises(UserError, match=r"^--cost '41s' is more than the standard strategy's"):
                cost_limit(db, search.plan, "41s")


Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a command in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["diffnas-agent", "strategy", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, out, err

    return run


def tables_in(folder: Path) -> None:
    with opened(folder / "diffnas.db") as db:
        make_tables(db)


class TestTheCommand:
    def test_it_prints_the_table_and_how_to_use_what_it_found(self, typed: Typed, tmp_path: Path) -> None:
        tables_in(tmp_path)
        code, out, err = typed("--standard", "paper-standard,train_steps=100", "--rounds", "2")
        assert code == 0, err
        assert "No language model is in charge: a local search proposes" in out
        assert "learning_rate=0.0001 dropout=0.3 diffusion_steps=4000 batch_size=128 train_steps=100" in out
        assert "No strategy within 0.5 of the standard strategy's cost was measured" in out
        assert re.search(r"^  --set learning_rate=0\.0002 --set dropout=0\.1 .*--set train_steps=", out, re.MULTILINE)
        assert "  --rapid learning_rate=0.0002,dropout=0.1," in out
        assert "0 proposals refused." in out

    def test_json_is_one_event_a_line_and_the_last_has_everything(self, typed: Typed, tmp_path: Path) -> None:
        tables_in(tmp_path)
        code, out, _ = typed("--json", "--cost", "25%")
        assert code == 0
        events = [json.loads(line) for line in out.splitlines()]
        assert [event["event"] for event in events] == [
            "search.started", "round.started", "strategy.proposed", "round.finished", "strategy.finished",
        ]  # fmt: skip
        last = events[-1]
        assert (last["reason"], last["cost_limit"], last["best"], last["use"]) == ("rounds", 0.25, None, None)
        standard, found = last["strategies"]
        assert (standard["cost"], found["cost"], found["tau"], found["ci95"]) == (1.0, 0.25, None, None)
        assert found["values"]["train_steps"] == 150
        assert "--set train_steps=150" in found["use"]

    def test_what_is_printed_to_use_a_strategy_is_the_strategy(self, typed: Typed, tmp_path: Path) -> None:
        from agent.config.sources import parse_pairs, resolve

        tables_in(tmp_path)
        _, out, _ = typed("--json", "--rounds", "3")
        for row in json.loads(out.splitlines()[-1])["strategies"]:
            config = resolve(parse_pairs(row["use"].replace("--set ", "").split())).config
            assert {name: getattr(config.strategy, name) for name in row["values"]} == row["values"]

    def test_a_dry_run_says_the_limit_and_the_bounds_and_writes_nothing(self, typed: Typed, tmp_path: Path) -> None:
        code, out, _ = typed("--dry-run", "--json")
        found = json.loads(out)
        assert code == 0
        assert (found["cost_limit"], found["images_at_most"], found["rounds"]) == (0.5, 38_400, 1)
        assert found["bounds"]["diffusion_steps"] == [50, 4000]
        assert found["standard"] == {
            **strategy_presets()["digits-standard"],
            "gradient_clip": 1.0,
            "weight_decay": None,
        }
        code, out, _ = typed("--dry-run")
        assert "38,400 images for each training. Nothing was written." in out
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--cost", "half"], "--cost 'half' is no cost; "),
            (["--cost", "30s"], "--cost '30s': this memory holds no finished training on these data"),
            (["--standard", "fast"], "--standard 'fast' is no strategy; "),
            (["--standard", "dropout=2"], "--standard dropout=2: "),
            (["--llm", "gpt-4"], "'gpt-4' is not a backend; "),
            (["--rounds", "0"], "--rounds: "),
        ],
    )
    def test_a_mistake_is_one_sentence(self, typed: Typed, tmp_path: Path, arguments: list[str], sentence: str) -> None:
        tables_in(tmp_path)
        code, out, err = typed(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith(sentence)
        assert len(err.splitlines()) == 1

    def test_a_backend_that_refuses_every_call_is_one_sentence(self, typed: Typed, tmp_path: Path) -> None:
        tables_in(tmp_path)
        with serve(lambda messages: Status(401, "wrong key")) as server:
            code, _, err = typed("--llm", "openai:scripted", "--base-url", server.url)
        assert code == 2
        assert "'openai:scripted' refuses every call" in err


def test_whoever_drives_it_brings_what_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = TinyStrategySearch(tmp_path, {"rounds": 3})
    assert drive_strategy(search.search, search.plan, as_json=False, measure=TAU) == 0
    out = " ".join(capsys.readouterr().out.split())
    best = best_strategy(search.strategies(), 0.5)
    assert best is not None
    assert f"Best within 0.5 of the standard strategy's cost: strategy {best.id}. Add to `diffnas-agent run`:" in out
    assert "they are not told apart by this." in out
    assert search.rows("SELECT state, reason, kind, searcher FROM searches") == [
        {"state": "finished", "reason": "rounds", "kind": "strategy", "searcher": "llm"}
    ]


def test_a_drive_that_is_stopped_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = TinyStrategySearch(tmp_path)

    def stop(strategy: Strategy) -> Measured:
        raise Interrupted

    assert drive_strategy(search.search, search.plan, as_json=False, measure=stop) == 130
    assert f"interrupted; go on with: diffnas-agent resume digits-1 --db {search.db}" in capsys.readouterr().out


def test_the_local_search_goes_on_where_a_person_has_proposed(tmp_path: Path) -> None:
    search = TinyStrategySearch(tmp_path)
    propose(search.context(1, "hand"), PAPERS, "Asked for by hand.")
    LocalSearch(0).propose(search.context(2, "offline"))
    assert [row.proposer for row in search.strategies()] == ["hand", "offline"]
