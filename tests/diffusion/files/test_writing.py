"""Files of ours appear whole, and are for whom the umask says: whatever wrote them, and whatever it makes by itself."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from teachers import teacher
from typed import seat, typed_in

from agent.compress.teachers import _kept
from diffusion.cost import throughput
from diffusion.distill.folder import save_student
from diffusion.distill.units import units_of
from diffusion.files.writing import as_new, whole
from diffusion.scores import inception
from diffusion.scores.grids import save_grid
from diffusion.training.checkpoint import save_tensors, write_json

ROOT = Path(__file__).parents[3]
UMASKS = (0o022, 0o002, 0o077, 0o027)
OWN_MODE = re.compile(r"mkstemp|mkdtemp|NamedTemporaryFile")
TRAIN = ["--dataset=digits", "--train-steps=2", "--batch-size=8", "--num-images=16", "--sampling-steps=2"]


@pytest.fixture(params=UMASKS, ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """What new files are not to be."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """The modes of all files below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in files}


def _student(path: Path) -> None:
    network = teacher("b8-n1-m1.1.1.1-a0000", side=8)
    save_student(path, network, {unit.name: unit.whole for unit in units_of(network)})


WRITERS: dict[str, Any] = {
    "weights": lambda path: save_tensors(path, {"a": torch.zeros(2)}, {}, "step 1"),
    "values": lambda path: write_json(path, {}),
    "Inception": lambda path: inception._write(path, {"a": torch.zeros(2)}),
    "the peak": lambda path: throughput._write(path, {}),
    "a grid": lambda path: save_grid(np.zeros((1, 1, 8, 8), np.uint8), path),
    "a teacher": lambda path: _kept(path, teacher("b8-n1-m1.1.1.1-a0000", side=8).save_pretrained),
    "a student": _student,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_is_for_whom_the_umask_says(kind: str, umask: int, tmp_path: Path) -> None:
    WRITERS[kind](tmp_path / "there")
    made = modes(tmp_path)
    assert made
    assert set(made.values()) == {0o666 & ~umask}


def test_all_files_of_a_training_and_its_export_are_for_whom_the_umask_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = os.umask(0o002)
    try:
        seat(tmp_path, monkeypatch)
        for words in (["train", "b8-n1-m1.1.1.1-a0000", *TRAIN], ["evaluate", "1"], ["export", "1", "exported"]):
            assert typed_in(monkeypatch, *words) == 0
        assert typed_in(monkeypatch, "sample", "1", "--num-images=2", "--sampling-steps=2", "--to=images") == 0
    finally:
        os.umask(before)
    made = modes(tmp_path)
    assert [name for name in made if name.endswith(".safetensors")]
    narrow = {name: oct(mode) for name, mode in made.items() if mode != 0o664 and not name.startswith("diffnas")}
    assert narrow == {}
    folders = {path for path in tmp_path.rglob("*") if path.is_dir()}
    assert {
        path: oct(stat.S_IMODE(path.stat().st_mode)) for path in folders if path.stat().st_mode & 0o777 != 0o775
    } == {}


def test_a_file_that_fails_half_way_is_not_there_and_the_one_before_is(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("before")

    def write_half() -> None:
        with whole(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert (path.read_text(), list(tmp_path.iterdir())) == ("before", [path])


def test_what_a_killed_process_left_does_not_decide_the_mode(tmp_path: Path) -> None:
    with whole(tmp_path / "first") as part:
        left = part.with_name(part.name.replace("first", "second"))
    left.touch(mode=0o600)
    with whole(tmp_path / "second") as part:
        assert part == left
        part.write_text("x")
    assert modes(tmp_path)["second"] == modes(tmp_path)["first"]


def test_a_folder_that_others_wrote_gets_the_modes_of_new_files(tmp_path: Path, umask: int) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.json").write_text("{}")
    as_new(tmp_path)
    assert modes(tmp_path) == dict.fromkeys(("model.safetensors", "below/a.json"), 0o666 & ~umask)


def test_nothing_else_makes_files_with_a_mode_of_their_own() -> None:
    files = [file for part in ("agent", "diffusion", "memory", "tools") for file in (ROOT / part).rglob("*.py")]
    texts = {file.name: file.read_text(encoding="utf-8") for file in files if file.name != "writing.py"}
    assert [name for name, text in texts.items() if OWN_MODE.search(text)] == []
    assert [name for name, text in texts.items() if "save_file(" in text and "whole(" not in text] == []
    assert [name for name, text in texts.items() if "save_pretrained(" in text and "as_new(" not in text] == []
