"""A comparison on a made-up table: played, stopped and gone on with, and told; what it refuses."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import bench
import pytest

from agent.cli.main import app
from agent.compare import play as module
from agent.compare.begin import Wanted, begin
from agent.compare.plan import Comparison, planned
from agent.compare.play import left, play
from agent.compare.report import Compared, compared
from agent.config.sources import Resolved, resolve
from diffusion.errors import UserError
from diffusion.spec import UNetSpec
from diffusion.unetbench.table import Table
from memory.connection import opened
from tools.executors.tabular import TabularExecutor

TRIALS = "SELECT searches.name, round, spec, rfid FROM all_results JOIN searches ON searches.id = search"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    folder = tmp_path / "tables"
    folder.mkdir()
    return bench.planted_in(folder, monkeypatch)


def settings(folder: Path, **options: Any) -> Resolved:
    places = {"db": folder / "diffnas.db", "out": folder / "runs"}
    return resolve({"bench": bench.NAME, "budget": "1G", "rounds": 3, "parallel": 1, **places, **options})


def comparison(folder: Path, searchers: str = "random,local", seeds: int = 2, **options: Any) -> Comparison:
    folder.mkdir(exist_ok=True)
    return planned(settings(folder, **options).config, "cmp", searchers, seeds)


def trials(asked: Comparison) -> list[tuple[Any, ...]]:
    with opened(asked.config.places.db, read_only=True) as db:
        return sorted(map(tuple, db.conn.execute(TRIALS)))


def found(asked: Comparison) -> Compared:
    with opened(asked.config.places.db, read_only=True) as db:
        return compared(db, asked)


def test_every_search_is_played_seed_after_seed_and_says_nothing(
    table: Table, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = comparison(tmp_path / "a")
    assert [entry.name for entry in play(asked, 1)] == ["cmp-random-0", "cmp-local-0", "cmp-random-1", "cmp-local-1"]
    assert capfd.readouterr() == ("", "")
    assert "Search cmp-local-1" in (tmp_path / "a" / "runs" / "compare.log").read_text()
    assert len(trials(asked)) == 4 * (1 + 3)
    assert left(asked) == [] and list(play(asked, 1)) == []


def test_one_that_was_stopped_between_two_searches_does_what_is_left(table: Table, tmp_path: Path) -> None:
    whole, stopped = comparison(tmp_path / "a"), comparison(tmp_path / "b")
    list(play(whole, 1))
    playing = play(stopped, 1)
    next(playing)
    playing.close()
    assert [entry.name for entry in left(stopped)] == ["cmp-local-0", "cmp-random-1", "cmp-local-1"]
    with pytest.raises(UserError, match=r"^'cmp': no seed has a finished search of every searcher yet$"):
        found(stopped)
    playing = play(stopped, 1)
    next(playing)
    playing.close()
    so_far = found(stopped)
    assert (so_far.seeds, so_far.waiting) == ([0], 2)
    assert so_far.searchers[0].regret[3].low is None  # a single seed has no interval
    assert len(list(play(stopped, 1))) == 2
    assert trials(stopped) == trials(whole)


def test_one_that_was_killed_within_a_search_goes_on_with_it(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = comparison(tmp_path / "a"), comparison(tmp_path / "b")
    list(play(whole, 1))
    train, trained = TabularExecutor.train, list[object]()

    def killing(self: TabularExecutor, job: Any, on_progress: Any) -> Any:
        trained.append(job)
        if len(trained) == 8:  # of the second search: the first has three of the baseline and one a round
            raise KeyboardInterrupt
        return train(self, job, on_progress)

    monkeypatch.setattr(TabularExecutor, "train", killing)
    with pytest.raises(KeyboardInterrupt):
        list(play(killed, 1))
    assert 4 < len(trials(killed)) < 8
    assert len(list(play(killed, 1))) == 3
    assert trials(killed) == trials(whole)


def test_several_at_once_find_what_one_after_the_other_finds(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, beside = comparison(tmp_path / "a"), comparison(tmp_path / "b")
    list(play(alone, 1))
    monkeypatch.setattr(module, "_quiet", partial(bench.quiet_with_tables, tmp_path / "tables"))
    assert sorted(entry.name for entry in play(beside, 2)) == sorted(entry.name for entry in beside)
    assert trials(beside) == trials(alone)


def test_a_search_that_fails_stops_the_comparison_with_its_name(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "drive", lambda search, plan, as_json: 3)
    with pytest.raises(UserError, match=r"^'cmp-random-0' stopped with code 3; look at `diffnas-agent status"):
        list(play(comparison(tmp_path / "a"), 1))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rounds": 4}, "--rounds 4: 'cmp-random-0' was begun with 3"),
        ({"memory": "none"}, "--memory none: 'cmp-random-0' was begun with search"),
        ({"train_steps": 4}, "--train-steps 4: 'cmp-random-0' was begun with 8"),
    ],
    ids=str,
)
def test_other_settings_under_the_same_name_are_refused(
    table: Table, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    list(play(comparison(tmp_path / "a"), 1))
    with pytest.raises(UserError) as refused:
        left(comparison(tmp_path / "a", **options))
    assert str(refused.value) == f"{said}; take it so, or give the comparison another name"
    assert len(left(comparison(tmp_path / "a", searchers="random,gp", seeds=3))) == 4  # more of it may be asked for


@pytest.mark.parametrize(
    ("searchers", "seeds", "said"),
    [
        ("random", 1, "--seeds 1: a single seed has no interval; take at least 2, better 30"),
        ("random,best", 2, "--searchers 'best' does not exist; there are llm, centaur, "),
        ("", 2, "--searchers '' does not exist; there are llm, centaur, "),
    ],
)
def test_what_cannot_be_compared_is_refused(
    table: Table, tmp_path: Path, searchers: str, seeds: int, said: str
) -> None:
    with pytest.raises(UserError) as refused:
        comparison(tmp_path, searchers, seeds)
    assert str(refused.value).startswith(said)


def test_a_searcher_that_is_named_twice_plays_once(table: Table, tmp_path: Path) -> None:
    assert comparison(tmp_path, "random, local,random").searchers == ("random", "local")


def test_the_command_plays_reports_and_draws(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--bench", "planted", "--rounds", "2", "--budget", "1G", "--parallel", "1", "--seeds", "2", "--json"]
    typed = ["compare", "cmp", "--searchers", "random,gp", *options]
    assert app([*typed, "--plot", "regret.png"], standalone_mode=False) == 0
    played = capsys.readouterr()
    assert "cmp: 4 searches to play, 1 at once." in played.err and "Drawn: regret.png" in played.err
    assert (tmp_path / "regret.png").read_bytes().startswith(b"\x89PNG")
    assert app([*typed, "--report"], standalone_mode=False) == 0
    reported = capsys.readouterr()
    told = json.loads(reported.out)
    assert told == json.loads(played.out) and reported.err == ""
    assert told["searchers"][0]["regret"].keys() == {"2"} and told["waiting"] == 0


def test_a_table_for_people_names_every_searcher_and_what_chance_would_find(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    asked = settings(tmp_path)
    assert begin(asked, Wanted("cmp", "random,local", 2)) == 0
    said = capsys.readouterr().out
    assert "trained for real" not in said
    assert "cmp: 2 seeds, 3 evaluations after the baseline's, on planted; memory: search." in said
    for word in (
        "random",
        "local",
        "chance (expected)",
        "regret after 3",
        "1 of 1 pairs cannot be told apart after 3.",
    ):
        assert word in said
    assert begin(asked, Wanted("cmp", "random,local", 3, report=True)) == 0
    assert "2 searches are not over; go on by the same command." in capsys.readouterr().out


def test_without_a_table_it_says_that_networks_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agent.compare.begin.play", lambda comparison, processes: (entry for entry in ()))
    monkeypatch.setattr("agent.compare.begin.check_begun", lambda db, comparison: None)
    monkeypatch.setattr("agent.compare.begin.compared", lambda db, comparison: None)
    monkeypatch.setattr("agent.compare.begin.show", lambda found, as_json, table: None)
    asked = resolve({"preset": "digits", "db": tmp_path / "diffnas.db", "out": tmp_path / "runs"})
    assert begin(asked, Wanted("cmp", "random,local", 2)) == 0
    assert "Every network is trained for real; --bench unetbench looks results up" in capsys.readouterr().out


def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_is_played(table: Table, tmp_path: Path) -> None:
    for name in ("regret.txt", "nowhere/regret.png"):
        with pytest.raises(UserError, match=r"^--plot .* cannot be drawn; name a .png, .svg or .pdf"):
            begin(settings(tmp_path), Wanted("cmp", "random", 2, plot=tmp_path / name))
    assert not (tmp_path / "diffnas.db").exists()


@pytest.mark.parametrize("memory", ["none", "search", "all"])
def test_each_ablation_of_the_memory_can_be_compared(table: Table, tmp_path: Path, memory: str) -> None:
    asked = comparison(tmp_path / "a", "llm,gp", memory=memory)
    list(play(asked, 1))
    told = found(asked)
    assert told.memory == memory and told.waiting == 0
    assert {UNetSpec.parse(spec).stages for _, _, spec, _ in trials(asked)} == {4}
