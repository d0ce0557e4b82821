import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from diffusion.errors import TrainingFailed
from diffusion.settings import CODE_VERSION, Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from diffusion.training import checkpoint as checkpoint_module
from diffusion.training.checkpoint import (
    Checkpoint,
    checkpoint_paths,
    disk_is_full,
    drop_torn_files,
    ema_model,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
    write_json,
)
from diffusion.unet import build_unet

JOB = TrainJob(
    spec=UNetSpec.parse("b4-n1-m1.2.2.2-a0100"),
    settings=Settings(dataset="none", resolution=8, channels=1),
    strategy=Strategy(dropout=0.1, train_steps=9),
    seed=3,
    data_fingerprint="none",
    data_folder=Path("data"),
    run_folder=Path("run"),
)


def at(step: int, fill: float = 0.5) -> Checkpoint:
    """A small checkpoint that knows its step."""
    return Checkpoint(JOB, step, 1.25, {"model.a": torch.full((3, 2), fill), "optimizer.0.step": torch.tensor(fill)})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def name(step: int) -> str:
    return f"step-{step:08d}.safetensors"


def cut_in_half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


class TestSaving:
    def test_a_checkpoint_comes_back_from_its_path_alone(self, tmp_path: Path) -> None:
        path = save_checkpoint(tmp_path, at(7))
        elsewhere = Path(shutil.copy(path, tmp_path / "model.safetensors"))
        for found in (load_checkpoint(path), load_checkpoint(elsewhere)):
            assert (found.job, found.step, found.seconds) == (JOB, 7, 1.25)
            assert found.tensors.keys() == at(7).tensors.keys()
            assert all(torch.equal(found.tensors[key], tensor) for key, tensor in at(7).tensors.items())

    def test_tensors_that_do_not_lie_in_one_piece_come_back_as_they_were(self, tmp_path: Path) -> None:
        turned = torch.arange(6.0).view(2, 3).T
        path = save_checkpoint(tmp_path, Checkpoint(JOB, 1, 0.0, {"model.a": turned}))
        assert torch.equal(load_checkpoint(path).tensors["model.a"], turned)

    def test_the_last_two_are_kept_whatever_the_number_of_digits(self, tmp_path: Path) -> None:
        for step in (2, 9, 10, 100):
            save_checkpoint(tmp_path, at(step))
        assert names(tmp_path) == [name(10), name(100)]
        assert [path.name for path in checkpoint_paths(tmp_path)] == [name(10), name(100)]

    def test_only_checkpoints_are_ever_dropped(self, tmp_path: Path) -> None:
        others = ["step-1.safetensors", "step-00000001.part", "model.safetensors", "result.json"]
        for other in others:
            (tmp_path / other).write_bytes(b"x")
        for step in (5, 6, 7):
            save_checkpoint(tmp_path, at(step))
        assert names(tmp_path) == sorted([*others, name(6), name(7)])

    @pytest.mark.parametrize("broken", ["save_file", "fsync"])
    def test_a_save_that_breaks_leaves_the_old_ones_and_no_new_one(
        self, broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for step in (1, 2):
            save_checkpoint(tmp_path, at(step, fill=step))

        def half(tensors: Any, path: Path, metadata: Any) -> None:
            save_file(tensors, path, metadata=metadata)
            cut_in_half(path)
            raise OSError("No space left on device")

        def fail(descriptor: int) -> None:
            raise OSError("Input/output error")

        with monkeypatch.context() as patch:
            if broken == "save_file":
                patch.setattr(checkpoint_module, "save_file", half)
            else:
                patch.setattr("os.fsync", fail)
            with pytest.raises(OSError, match=r"No space left|Input/output"):
                save_checkpoint(tmp_path, at(3, fill=3))
        assert names(tmp_path) == [name(1), name(2)]
        assert [path.name for path in checkpoint_paths(tmp_path)] == [name(1), name(2)]
        found = newest_checkpoint(tmp_path)
        assert found is not None and found.step == 2 and found.tensors["model.a"][0, 0] == 2
        save_checkpoint(tmp_path, at(3, fill=3))
        assert names(tmp_path) == [name(2), name(3)]

    def test_the_file_reaches_the_disk_before_it_gets_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[list[str]] = []
        monkeypatch.setattr("os.fsync", lambda descriptor: seen.append(names(tmp_path)))
        save_checkpoint(tmp_path, at(4))
        assert [[name.endswith(".part") for name in names] for names in seen] == [[True]]


class TestLoading:
    def test_an_empty_or_missing_folder_holds_no_checkpoint(self, tmp_path: Path) -> None:
        assert newest_checkpoint(tmp_path) is None
        assert newest_checkpoint(tmp_path / "missing") is None

    def test_the_newest_is_found(self, tmp_path: Path) -> None:
        for step in (99, 100):
            save_checkpoint(tmp_path, at(step))
        found = newest_checkpoint(tmp_path)
        assert found is not None and found.step == 100

    def test_a_file_cut_in_half_is_passed_over(self, tmp_path: Path) -> None:
        save_checkpoint(tmp_path, at(1))
        cut_in_half(save_checkpoint(tmp_path, at(2)))
        found = newest_checkpoint(tmp_path)
        assert found is not None and found.step == 1
        cut_in_half(tmp_path / name(1))
        assert newest_checkpoint(tmp_path) is None

    @pytest.mark.parametrize("content", [b"", b"\0" * 100, b"not a checkpoint at all"])
    def test_so_is_anything_else_of_that_name(self, content: bytes, tmp_path: Path) -> None:
        save_checkpoint(tmp_path, at(1))
        (tmp_path / name(2)).write_bytes(content)
        found = newest_checkpoint(tmp_path)
        assert found is not None and found.step == 1

    def test_weights_without_a_job_are_no_checkpoint(self, tmp_path: Path) -> None:
        save_file({"model.a": torch.zeros(2)}, tmp_path / name(1))
        with pytest.raises(SafetensorError, match="holds weights but no job"):
            load_checkpoint(tmp_path / name(1))
        assert newest_checkpoint(tmp_path) is None

    def test_what_is_loaded_outlives_its_file(self, tmp_path: Path) -> None:
        path = save_checkpoint(tmp_path, at(1, fill=7))
        found = load_checkpoint(path)
        path.unlink()
        assert (found.tensors["model.a"] == 7).all()

    def test_there_is_no_pickle_in_a_checkpoint_nor_in_the_code(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("pickle was used")

        for holder, function in ((torch, "load"), (torch, "save"), (np, "load"), (np, "save")):
            monkeypatch.setattr(holder, function, refuse)
        for function in ("load", "loads", "dump", "dumps", "Pickler", "Unpickler"):
            monkeypatch.setattr(f"pickle.{function}", refuse)
        path = save_checkpoint(tmp_path, at(1))
        assert load_checkpoint(path).step == 1
        with safe_open(path, framework="pt") as file:
            assert TrainJob.model_validate_json(file.metadata()["job"]) == JOB
            assert file.metadata()["code"] == str(CODE_VERSION)


class TestModel:
    def test_the_model_that_samples_has_the_averaged_weights(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        trained, averaged = (build_unet(JOB.spec, JOB.settings) for _ in range(2))
        tensors = {f"model.{key}": value for key, value in trained.named_parameters()}
        tensors |= {f"ema.{key}": value for key, value in averaged.named_parameters()}
        tensors["optimizer.0.step"] = torch.tensor(9.0)
        path = save_checkpoint(tmp_path, Checkpoint(JOB, 9, 0.0, {k: v.detach() for k, v in tensors.items()}))
        model = ema_model(load_checkpoint(path))
        for (key, found), (other, expected) in zip(model.named_parameters(), averaged.named_parameters(), strict=True):
            assert key == other and torch.equal(found, expected)
        assert not torch.equal(model.get_parameter("conv_in.weight"), trained.get_parameter("conv_in.weight"))
        assert not model.training and all(parameter.requires_grad for parameter in model.parameters())

    def test_a_checkpoint_without_averages_makes_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="Missing key"):
            ema_model(at(1))


class TestTornFiles:
    def test_what_a_killed_process_left_is_removed_and_nothing_else(self, tmp_path: Path) -> None:
        save_checkpoint(tmp_path, at(1))
        for torn in ("step-00000002.part", "ema-00000002.part", "result.json.part", ".tmpp9BYwN"):
            (tmp_path / torn).write_bytes(b"half")
        drop_torn_files(tmp_path)
        assert names(tmp_path) == [name(1)]

    @pytest.mark.parametrize(
        ("error", "full"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), True),
            (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
            (SafetensorError("I/O error: No space left on device (os error 28)"), True),
            (OSError(errno.EIO, "Input/output error"), False),
            (SafetensorError("invalid header"), False),
            (RuntimeError("No space left on device"), False),
        ],
    )
    def test_a_full_disk_is_known_by_its_number_or_its_words(self, error: Exception, full: bool) -> None:
        assert disk_is_full(error) is full


class TestJson:
    def test_on_a_full_disk_the_old_file_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_json(tmp_path / "result.json", {"loss": 0.5})

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(TrainingFailed, match=r"^no space left on device while saving result\.json in '"):
            write_json(tmp_path / "result.json", {"loss": 0.4})
        assert names(tmp_path) == ["result.json"]
        assert json.loads((tmp_path / "result.json").read_text()) == {"loss": 0.5}

    def test_a_file_is_written_whole(self, tmp_path: Path) -> None:
        write_json(tmp_path / "result.json", {"loss": 0.5, "step": None})
        assert json.loads((tmp_path / "result.json").read_text()) == {"loss": 0.5, "step": None}
        assert names(tmp_path) == ["result.json"]

    def test_or_not_at_all(self, tmp_path: Path) -> None:
        write_json(tmp_path / "result.json", {"loss": 0.5})
        with pytest.raises(TypeError, match="not JSON serializable"):
            write_json(tmp_path / "result.json", {"loss": object()})
        assert json.loads((tmp_path / "result.json").read_text()) == {"loss": 0.5}
