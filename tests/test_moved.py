"""A memory and what lies beside it, moved or copied elsewhere: everything goes on there."""

import shutil
from pathlib import Path

import pytest
from inprocess import InProcessExecutor
from searches import TinySearch
from typer.testing import CliRunner

from agent.cli.main import app
from agent.config.stored import stored_config
from agent.search.plan import reopened
from memory.connection import opened
from memory.queries.records import show_trial
from memory.searches import find_protocol, find_search
from memory.trials import find_trial


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of real trainings, moved since."""
    folder = tmp_path_factory.mktemp("before")
    search = TinySearch(folder, {"rounds": 1}, executor=InProcessExecutor())
    assert search.run() == "rounds"
    moved = folder.with_name(f"{folder.name} moved")
    folder.rename(moved)
    return moved


def test_run_folders_and_settings_are_found_where_they_lie_now(played: Path) -> None:
    db_path = played / "diffnas.db"
    with opened(db_path) as db:
        row = find_search(db)
        assert (find_trial(db, 1).run_folder / "result.json").exists()
        assert Path(show_trial(db, 1)["training"]["run_folder"]).is_dir()
        assert stored_config(row.config_json, {"db": db_path}).places.out == played / "runs"
        again = reopened(row.config_json, find_protocol(db, row.protocol), {"db": db_path})
        assert again.config.places.out == played / "runs"
        kept = [found["run_folder"] for found in db.conn.execute("SELECT run_folder FROM trainings")]
    assert all(each.startswith("runs/") for each in kept)


def test_an_export_and_a_copy_of_it_work(played: Path) -> None:
    copy = shutil.copytree(played, played.with_name("a copy"))
    shutil.rmtree(played / "runs" / "trainings")  # so that a copy that looked there would find nothing
    done = CliRunner().invoke(app, ["export", "1", str(copy / "exported"), "--db", str(copy / "diffnas.db")])
    assert done.exit_code == 0, done.output
    assert (copy / "exported" / "unet").is_dir()
    lost = CliRunner().invoke(app, ["export", "1", str(played / "exported"), "--db", str(played / "diffnas.db")])
    assert str(lost.exception).startswith(f"'1': its run folder {played / 'runs'}")
