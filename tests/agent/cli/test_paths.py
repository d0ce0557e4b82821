"""``~`` is the home folder in whatever names a file: all options and arguments, TOML, environment, words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import all_commands, annotations, received, with_value
from typed import answering, found

from agent.config.settings import FIELDS, PREFIX
from agent.config.sources import parse_pairs, resolve
from agent.report.optuna_study import storage_place
from diffusion.files.paths import user_path
from diffusion.space import find_space

COMMANDS = all_commands()
PATHS = [
    (typed, name)
    for typed, command in COMMANDS.items()
    for name, kind in annotations(command).items()
    if "Path" in kind
]  # fmt: skip
PATH_SETTINGS = [name for name, field in FIELDS.items() if "Path" in str(field.annotation)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own, elsewhere than the folder in which commands are typed."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    return home


def test_the_paths_of_all_commands_are_looked_at() -> None:
    assert len(PATHS) > 40
    assert {"db", "out", "folder", "to", "config", "plots", "network", "feature_weights"} <= {name for _, name in PATHS}
    assert set(PATH_SETTINGS) == {"db", "out", "data_dir", "feature_weights", "prices"}


@pytest.mark.parametrize(("typed", "name"), PATHS, ids=lambda value: value)
def test_every_option_and_argument_knows_the_home_folder(typed: str, name: str, home: Path) -> None:
    command = COMMANDS[typed]
    got = received(command, *with_value(command, name, "~/there"))
    assert got[name] == home / "there"


@pytest.mark.parametrize("name", PATH_SETTINGS)
@pytest.mark.parametrize("where", ["file", "--set", ".env", "environment"])
def test_every_setting_knows_the_home_folder(
    name: str, where: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = parse_pairs([f"{name}=~/there"]) if where == "--set" else {}
    if where == "file":
        Path("diffnas.toml").write_text(f'{name} = "~/there"\n')
    elif where == ".env":
        Path(".env").write_text(f"{PREFIX}{name.upper()}=~/there\n")
    elif where == "environment":
        monkeypatch.setenv(PREFIX + name.upper(), "~/there")
    assert resolve(options).config.flat()[name] == home / "there"


def test_a_folder_that_is_named_like_the_home_folder_is_reached_as_in_a_shell() -> None:
    command = COMMANDS["status"]
    db = received(command, "--db", "./~/diffnas.db")["db"]
    assert db.absolute() == Path.cwd() / "~" / "diffnas.db"
    assert resolve({"db": db}).config.places.db == db


@pytest.mark.parametrize("text", ["~nobody-has-this-name/x", "plain/x", "a~b", ""])
def test_what_names_no_home_stays(text: str) -> None:
    assert user_path(text) == Path(text)


def test_words_that_may_be_paths_know_the_home_folder(home: Path) -> None:
    (home / "space.toml").write_text('name = "mine"\nbase_channel = [8]\nnum_blocks = [1]\nchannel_mult = [1]\n')
    assert find_space("~/space.toml").base_channel == (8,)
    assert storage_place("sqlite:///~/study.db", Path("diffnas.db")).database == str(home / "study.db")


def test_the_home_folder_is_looked_up_in_one_place() -> None:
    root = Path(__file__).parents[3]
    files = (file for folder in ("agent", "diffusion", "memory", "tools") for file in (root / folder).rglob("*.py"))
    assert [file.name for file in files if "expanduser" in file.read_text()] == ["paths.py"]


@pytest.mark.slow
def test_a_data_set_and_the_memory_below_the_home_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(home / "images.npz", x_train=np.zeros((8, 32, 32, 3), np.uint8))
    typed = answering(monkeypatch, capsys)
    plan = ["--dataset=~/images.npz", "--budget=20G", "--batch-size=4", "--feature-network=efficientnet-lite0"]
    shown = found(typed("run", *plan, "--num-images=4", "--out=~/runs", "--db=~/memory.db", "--dry-run", "--json"))
    assert shown["settings"]["out"]["value"] == str(home / "runs")
    code, _, err = typed("sample", "~/exported", "--db=~/memory.db")
    assert (code, str(home / "exported") in err) == (2, True)
    assert list(Path.cwd().iterdir()) == []
