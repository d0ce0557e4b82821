"""``--dry-run`` of every command that has one writes nothing: neither where it says so nor in the home folder."""

import hashlib
from pathlib import Path

import pytest
from commands import all_commands
from ended_search import ended_search
from teachers import teacher
from typed import answering, found

TINY = ["--dataset", "digits", "--train-steps", "2", "--batch-size", "8", "--num-images", "16", "--sampling-steps", "2"]
SPEC = "b8-n1-m1.1.1.1-a0000"
COMMANDS = {
    "run": ["run", *TINY],
    "train": ["train", SPEC, *TINY],
    "compress": ["compress", "teacher", *TINY, "--feature-network", "digits-cnn"],
    "confirm": ["confirm"],
    "strategy": ["strategy"],
    "rank-study": ["rank-study", "--specs", "5"],
}
"""What is typed before ``--dry-run``."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a teacher, beside a home and a folder for what is thrown away."""
    for name in ("work", "home", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path / "work")
    teacher("b8-n1-m1.1.1.2-a0000", side=8).save_pretrained(tmp_path / "work" / "teacher")
    return tmp_path


def listing(folder: Path) -> dict[str, str | None]:
    """Everything below a folder by its path, with the digest of what a file holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_every_command_that_has_a_dry_run_is_looked_at() -> None:
    has = {typed for typed, command in all_commands().items() if "dry_run" in {param.name for param in command.params}}
    assert has == set(COMMANDS)


@pytest.mark.parametrize("has_memory", [False, True], ids=["new", "with a memory"])
@pytest.mark.parametrize("typed", COMMANDS)
def test_nothing_is_written(
    typed: str, has_memory: bool, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if has_memory:
        ended_search(Path.cwd())
    before = listing(folder)
    answer = answering(monkeypatch, capsys)(*COMMANDS[typed], "--dry-run", "--json")
    if typed == "confirm" and not has_memory:
        assert answer[0] == 2
    else:
        assert found(answer)
    assert listing(folder) == before
