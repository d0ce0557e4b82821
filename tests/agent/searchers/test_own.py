"""A searcher of the user's own: it plays like the others, and its file is imported only where a person typed it."""

import json
from pathlib import Path

import pytest
from typed import Typed, answering, found, seat

from agent.config.sources import resolve
from agent.searchers.own import own_searcher
from agent.searchers.registry import make_proposer
from diffusion.errors import UserError
from memory.connection import opened

EXAMPLE = Path(__file__).parents[3] / "examples" / "own_searcher.py"
MINE = f"{EXAMPLE}:Thrifty"
IMPORTED = "raise AssertionError('this file was imported')\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    seat(tmp_path, monkeypatch)
    return answering(monkeypatch, capsys)


def begun(run: Typed, searcher: str = MINE, rounds: int = 2) -> tuple[int, str, str]:
    return run("run", "--bench", "unetbench", "--rounds", str(rounds), "--searcher", searcher)


def specs(run: Typed) -> list[tuple[str, str]]:
    code, out, err = run("memory", "sql", "SELECT spec, proposer FROM results ORDER BY round", "--json")
    assert code == 0, err
    return [(row["spec"], row["proposer"]) for row in json.loads(out)]


def test_it_proposes_and_stands_beside_its_trials(run: Typed) -> None:
    assert begun(run)[0] == 0
    assert [proposer for _, proposer in specs(run)] == ["baseline", "thrifty", "thrifty"]


def test_a_search_goes_on_where_its_name_is_typed_again(run: Typed, tmp_path: Path) -> None:
    assert begun(run, rounds=1)[0] == 0
    code, _, err = run("resume", "--rounds", "3")
    again = f"diffnas-agent resume digits-1 --searcher {MINE}"
    assert code == 2
    assert err == (
        f"'{MINE}' is a searcher of your own, which is imported only where you type it: --searcher FILE.py:CLASS; "
        f"if it is yours: `{again}`\n"
    )
    assert run("resume", "--rounds", "3", "--searcher", MINE)[0] == 0
    in_one_piece = tmp_path / "elsewhere"
    in_one_piece.mkdir()
    interrupted = specs(run)
    assert run("run", "--bench", "unetbench", "--rounds", "3", "--searcher", MINE, "--db", "other.db")[0] == 0
    with opened(Path("other.db"), read_only=True) as db:
        whole = [row["spec"] for row in db.query("SELECT spec FROM results ORDER BY round")]
    assert [spec for spec, _ in interrupted] == whole


def test_a_memory_cannot_have_a_file_imported(run: Typed, tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text(IMPORTED)
    assert begun(run, "local", rounds=1)[0] == 0
    with opened(Path("diffnas.db")) as db:
        for search in db.query("SELECT id, config_json FROM searches"):
            told = json.dumps(json.loads(search["config_json"]) | {"searcher": f"{trap}:Trap"})
            with db.conn:
                db.conn.execute(
                    "UPDATE searches SET searcher = ?, config_json = ? WHERE id = ?",
                    [f"{trap}:Trap", told, search["id"]],
                )
    code, _, err = run("resume", "--rounds", "2")
    assert code == 2
    assert err.startswith(f"'{trap}:Trap' is a searcher of your own, which is imported only where you type it")
    assert run("resume", "--rounds", "2", "--searcher", MINE)[0] == 0  # what is typed is what is imported


@pytest.mark.parametrize("searcher", ["local", "llm"])
def test_a_search_of_a_built_in_searcher_takes_no_other(run: Typed, searcher: str) -> None:
    assert begun(run, searcher, rounds=1)[0] == 0
    code, _, err = run("resume", "--rounds", "2", "--searcher", MINE)
    assert (code, err) == (2, f"--searcher '{MINE}': 'digits-1' goes on with {searcher}; leave it out\n")


@pytest.mark.parametrize("where", ["environment", ".env", "diffnas.toml"])
def test_neither_a_file_nor_the_environment_has_one_imported(
    run: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / "trap.py").write_text(IMPORTED)
    if where == "environment":
        monkeypatch.setenv("DIFFNAS_SEARCHER", "trap.py:Trap")
    elif where == ".env":
        (tmp_path / ".env").write_text("DIFFNAS_SEARCHER=trap.py:Trap\n")
    else:
        (tmp_path / "diffnas.toml").write_text('searcher = "trap.py:Trap"\n')
    code, _, err = run("run", "--bench", "unetbench", "--rounds", "1")
    said = "searcher (settings file)" if where == "diffnas.toml" else "DIFFNAS_SEARCHER"
    assert code == 2
    assert err.startswith(f"{said} 'trap.py:Trap' is a searcher of your own, which is imported only where you type it")


def test_settings_alone_have_nothing_imported(tmp_path: Path) -> None:
    (tmp_path / "trap.py").write_text(IMPORTED)
    config = resolve({"bench": "unetbench", "searcher": f"{tmp_path}/trap.py:Trap"}).config
    with pytest.raises(UserError, match="imported only where you type it"):
        make_proposer(config)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (None, "there is no file 'mine.py'; write FILE.py:CLASS"),
        ("Mine = 3\n", "'mine.py' defines no class 'Mine'; write FILE.py:CLASS"),
        ("class Mine:\n    name = 'mine'\n    def tell(self): ...\n", "Mine has no ask; it needs name, tell and ask"),
        ("class Mine:\n    name = 'gp'\n    tell = ask = None\n", "its name is 'gp'; take lower-case letters,"),
        ("class Mine:\n    name = 'a\\x1b[2J'\n    tell = ask = None\n", "its name is 'a\\x1b[2J'; take lower-case"),
    ],
)
def test_what_is_no_searcher_is_one_sentence(run: Typed, tmp_path: Path, source: str | None, complaint: str) -> None:
    if source is not None:
        (tmp_path / "mine.py").write_text(source)
    code, _, err = begun(run, "mine.py:Mine")
    assert code == 2
    assert err.startswith(f"--searcher 'mine.py:Mine': {complaint}")


def test_what_its_file_raises_is_not_swallowed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import a_module_that_nobody_has\n")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
        own_searcher(f"{tmp_path}/mine.py:Mine")


def test_it_is_compared_with_the_others(run: Typed) -> None:
    searchers = f"random,{MINE}"
    asked = ("compare", "--bench", "unetbench", "--searchers", searchers, "--seeds", "2", "--rounds", "5", "--json")
    compared = found(run(*asked, "--parallel", "1"))
    assert {each["searcher"] for each in compared["searchers"]} == {"random", MINE}
    _, out, _ = run("list", "--json")
    assert {row["name"] for row in json.loads(out)} == {
        f"comparison-{n}-{s}" for n in ("random", "Thrifty") for s in (0, 1)
    }
