"""A training as a job: in one process and in two, to a step and on from it, short of memory, disk and peers."""

import errno
import io
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from trainings import Process, flat, newest, prepared_job, same, wait_until_dead

from diffusion.cost.closed_form import cost
from diffusion.cost.peak_memory import ALLOCATOR
from diffusion.errors import TrainingFailed
from diffusion.settings import TrainJob
from diffusion.spec import UNetSpec
from diffusion.training import checkpoint as checkpoint_module
from diffusion.training.checkpoint import checkpoint_paths, newest_checkpoint, save_checkpoint
from diffusion.training.child import LOST_PEER_REASON, Lines
from diffusion.training.job import Run, train
from diffusion.training.losses import training_loss
from diffusion.training.team import Team

TINY = UNetSpec.parse("b4-n1-m1.2.2.2-a0100")
Fields = dict[str, Any]


class Nobody:
    """Nobody asks for a stop."""

    asked = False


@pytest.fixture
def job(tmp_path: Path) -> Iterator[TrainJob]:
    threads = torch.get_num_threads()
    yield prepared_job(tmp_path, spec=TINY, batch_size=8, train_steps=12, checkpoint_steps=4, log_steps=4)
    torch.set_num_threads(threads)


def run(job: TrainJob, stop: Any = None, **changes: Any) -> list[Fields]:
    """Run a job in this process; its lines."""
    stream = io.StringIO()
    train(job.model_copy(update=changes).model_dump_json(), Lines(stream), stop or Nobody())
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def elsewhere(job: TrainJob, name: str) -> TrainJob:
    return job.model_copy(update={"run_folder": job.run_folder.with_name(name)})


class TestJob:
    def test_more_processes_than_images_of_a_batch_are_refused(self, job: TrainJob) -> None:
        fields = json.loads(job.model_dump_json())
        assert TrainJob.model_validate({**fields, "processes": 8}).largest_share == 1
        with pytest.raises(ValidationError, match="processes=9 are more than the 8 images of a batch; take fewer"):
            TrainJob.model_validate({**fields, "processes": 9})

    @pytest.mark.parametrize("field", ["processes", "micro_batch_size", "until_step"])
    def test_nothing_is_done_by_halves(self, field: str, job: TrainJob) -> None:
        with pytest.raises(ValidationError, match=field):
            TrainJob.model_validate({**json.loads(job.model_dump_json()), field: 0})

    @pytest.mark.parametrize(
        "change",
        [
            {"processes": 2}, {"precision": "bf16"}, {"compiled": True}, {"channels_last": True},
            {"micro_batch_size": 3}, {"until_step": 5},
        ],
    )  # fmt: skip
    def test_how_a_training_is_computed_does_not_change_its_key(self, change: Fields, job: TrainJob) -> None:
        assert job.model_copy(update=change).key == job.key

    def test_what_an_earlier_version_stored_is_read_as_it_was_computed(self, job: TrainJob) -> None:
        fields = json.loads(job.model_dump_json())
        later = ("processes", "precision", "compiled", "channels_last", "micro_batch_size", "until_step")
        assert TrainJob.model_validate({name: fields[name] for name in fields if name not in later}) == job


class TestUntilAStep:
    def test_it_ends_there_without_a_result_and_a_later_job_goes_on_to_the_same_bits(self, job: TrainJob) -> None:
        lines = run(job, until_step=5)
        assert (lines[-1]["event"], lines[-1]["step"]) == ("done", 5)
        assert newest(job).step == 5 and not (job.run_folder / "result.json").exists()
        assert [line["step"] for line in run(job) if line["event"] != "curve"] == [8, 12, 12]
        straight = elsewhere(job, "straight")
        run(straight)
        assert same(newest(job), newest(straight)) and (job.run_folder / "result.json").exists()

    def test_a_step_that_lies_behind_is_done_at_once(self, job: TrainJob) -> None:
        run(job, until_step=6)
        lines = run(job, until_step=5)
        assert [(line["event"], line["step"]) for line in lines if line["event"] != "curve"] == [("done", 6)]

    @pytest.mark.parametrize("until", [3, 4, 5, 8])
    def test_the_curve_of_one_that_went_on_is_that_of_a_straight_one(self, until: int, job: TrainJob) -> None:
        run(job, until_step=until)
        again = [line["points"] for line in run(job) if line["event"] == "curve"]
        straight = [line["points"] for line in run(elsewhere(job, "straight")) if line["event"] == "curve"]
        points = [point for found in straight for point in found]
        assert [step for step, _ in points] == [4, 8, 12]
        assert [point for found in again for point in found] == points  # those before it are said again, once
        assert run(job)[0]["points"] == points  # and so are those of one that is over

    def test_one_beyond_the_end_is_the_end(self, job: TrainJob) -> None:
        assert run(job, until_step=100)[-1]["step"] == 12
        assert (job.run_folder / "result.json").exists()


class TestGoingOn:
    def test_it_is_computed_as_it_was_begun(self, job: TrainJob) -> None:
        begun = {"micro_batch_size": 3, "channels_last": True}
        run(job, **begun, until_step=5)
        run(job, threads=2, log_steps=3)
        held = newest(job).job
        assert (held.micro_batch_size, held.channels_last, held.threads, held.log_steps) == (3, True, 1, 3)
        straight = elsewhere(job, "straight")
        run(straight, **begun)
        assert same(newest(job), newest(straight))

    def test_another_number_of_processes_is_said(self, job: TrainJob) -> None:
        run(job, until_step=5)
        found = newest(job)
        save_checkpoint(
            job.run_folder,
            checkpoint_module.Checkpoint(found.job.model_copy(update={"processes": 2}), 5, 1.0, found.tensors),
        )
        first, *rest = run(job)
        assert first["event"] == "note" and first["text"].startswith("begun with 2 processes, goes on with 1: batches")
        assert rest[-1]["step"] == 12 and newest(job).job.processes == 1

    def test_a_number_of_processes_that_is_not_there_is_a_failure(self, job: TrainJob) -> None:
        with pytest.raises(TrainingFailed, match=r"^this training was asked for with 2 .* runs with 1; start"):
            run(job, processes=2)
        assert newest_checkpoint(job.run_folder) is None

    def test_what_a_killed_process_left_half_written_is_removed(self, job: TrainJob) -> None:
        job.run_folder.mkdir()
        for name in ("step-00000004.part", "result.json.part"):
            (job.run_folder / name).write_text("half")
        run(job)
        assert list(job.run_folder.glob("*.part")) == []

    def test_a_run_whose_parent_is_gone_saves_and_stops(self, job: TrainJob) -> None:
        class Gone(io.StringIO):
            def write(self, text: str) -> int:
                raise BrokenPipeError

        assert not train(job.model_dump_json(), Lines(Gone()), Nobody())  # type: ignore[arg-type]
        assert newest(job).step == 4  # where the first line was said


class TestVersions:
    def rewritten(self, path: Path, **header: str) -> None:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            kept = {name: value for name, value in file.metadata().items() if header.get(name) != ""}
        save_file(tensors, path, metadata={**kept, **{name: value for name, value in header.items() if value}})

    def test_weights_of_another_version_of_the_code_are_not_trained_on(self, job: TrainJob) -> None:
        run(job, until_step=5)
        self.rewritten(checkpoint_paths(job.run_folder)[-1], code="7")
        with pytest.raises(TrainingFailed, match=r"version 7 of the training code wrote and this is version 1; go"):
            run(job)
        assert newest(job).code_version == 7  # but may be sampled

    def test_weights_from_before_versions_were_written_are_of_the_first(self, job: TrainJob) -> None:
        run(job, until_step=5)
        self.rewritten(checkpoint_paths(job.run_folder)[-1], code="")
        assert newest(job).code_version == 1
        assert run(job)[-1]["step"] == 12

    @pytest.mark.parametrize("header", [{"job": '{"spec": "b4-n1-m1.2.2.2-a0100", "warp": 9}'}, {"step": "five"}])
    def test_a_job_in_words_of_a_later_version_is_one_sentence(self, header: dict[str, str], job: TrainJob) -> None:
        run(job, until_step=5)
        path = checkpoint_paths(job.run_folder)[-1]
        self.rewritten(path, code="2", **header)
        sentence = f"'{path}' was written by version 2 of the training code and this is version 1, which cannot read"
        with pytest.raises(TrainingFailed, match=re.escape(sentence)):
            run(job)


class TestFullDisk:
    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, "No space left on device"),
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        ],
        ids=["system", "quota", "safetensors"],
    )
    def test_the_checkpoint_before_stays_good_and_the_reason_is_said(
        self, error: Exception, job: TrainJob, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(tensors: Any, path: Path, metadata: Any) -> None:
            save_file(tensors, path, metadata=metadata)
            if metadata["step"] == "8":
                raise error

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint_module, "save_file", full)
            with pytest.raises(TrainingFailed, match=r"^no space left on device while saving step 8 \(0.\d MiB\) in '"):
                run(job)
        assert newest(job).step == 4 and list(job.run_folder.glob("*.part")) == []
        straight = elsewhere(job, "straight")
        run(straight)
        run(job)
        assert same(newest(job), newest(straight))

    def test_other_errors_of_the_disk_are_not_taken_for_it(
        self, job: TrainJob, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*args: Any, **kwargs: Any) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(checkpoint_module, "save_file", broken)
        with pytest.raises(OSError, match="Input/output"):
            run(job)


class TestShortOfMemory:
    def plant(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        """A device that holds so many images at once."""

        def planted(process: Any, family: Any, model: Any, images: Any, *rest: Any) -> Any:
            if len(images) > most:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return training_loss(process, family, model, images, *rest)

        monkeypatch.setattr("diffusion.training.trainer.training_loss", planted)

    def settled(self, job: TrainJob) -> tuple[Run, list[Fields]]:
        job.run_folder.mkdir()
        stream = io.StringIO()
        one = Run(job, Lines(stream), None)
        one.settle_micro_batch()
        return one, [json.loads(line) for line in stream.getvalue().splitlines()]

    def test_the_micro_batch_is_halved_until_a_dry_step_passes_and_recorded(
        self, job: TrainJob, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.plant(monkeypatch, most=3)
        one, lines = self.settled(job)
        assert [line["text"][:34] for line in lines] == [f"memory suffices for {n} images at on" for n in (4, 2)]
        assert one.go(Nobody())  # type: ignore[arg-type]
        assert newest(job).job.micro_batch_size == 2
        asked = elsewhere(job, "asked")
        run(asked, micro_batch_size=2)
        assert same(newest(job), newest(asked))  # the dry steps left nothing behind

    def test_a_device_without_room_for_one_image_is_a_failure(
        self, job: TrainJob, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.plant(monkeypatch, most=0)
        with pytest.raises(TrainingFailed, match=f"^out of memory: {TINY} does not fit even one image at a time$"):
            self.settled(job)

    @pytest.mark.parametrize(("activations", "images"), [(8.5, None), (5.0, 4), (1.5, 1)])
    def test_the_estimate_chooses_how_many_images_are_taken_at_once(
        self, activations: float, images: int | None, job: TrainJob, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = UNetSpec.parse("b4-n1-m1.1.1.1-a1111")
        big = job.model_copy(update={"spec": spec, "settings": job.settings.model_copy(update={"resolution": 64})})
        known = cost(spec, "ddpm", 64, 1)
        free = known.params * 16 + known.activation_bytes * activations * ALLOCATOR["cpu"]
        monkeypatch.setattr("diffusion.training.job.free_bytes", lambda device, processes: int(free * 1.01))
        one = object.__new__(Run)
        one.lines, one.team = Lines(None), Team()
        assert one._fitted(big).micro_batch_size == images

    def test_memory_for_less_than_one_image_is_a_failure(self, job: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("diffusion.training.job.free_bytes", lambda device, processes: 1000)
        with pytest.raises(TrainingFailed, match=r"^out of memory: .* at a time, by the estimate$"):
            run(job)


class TestProgress:
    def test_it_says_how_fast_it_computes_and_which_share_of_the_peak(
        self, job: TrainJob, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        def peak(*args: Any, **options: Any) -> float:
            asked.append((args, options))
            return 1e13

        monkeypatch.setattr("diffusion.training.job.matmul_peak", peak)
        line = run(job)[0]
        macs = cost(TINY, "ddpm", 8, 1).macs.total
        assert line["flops_per_second"] == pytest.approx(6 * macs * line["images_per_second"])
        assert line["peak_share"] == pytest.approx(line["flops_per_second"] / 1e13)
        assert asked == [(("cpu", 1, "fp32", job.data_folder), {"measure": False})]

    def test_without_a_measured_peak_there_is_no_share(self, job: TrainJob) -> None:
        assert run(job)[0]["peak_share"] is None


@pytest.fixture
def fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps one precision a process."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.mark.usefixtures("fresh_accelerator")
class TestOtherWaysToCompute:
    def weights(self, job: TrainJob, name: str, **changes: Any) -> torch.Tensor:
        AcceleratorState._reset_state(True)
        lines = run(elsewhere(job, name), **changes)
        assert lines[-1]["event"] == "done"
        self.losses = [line["loss"] for line in lines if line["event"] == "progress"]
        return flat(newest(elsewhere(job, name)), "model")

    def test_channels_last_is_the_same_training(self, job: TrainJob) -> None:
        self.weights(job, "plain")
        losses = self.losses
        self.weights(job, "last", channels_last=True)
        assert self.losses == pytest.approx(losses, rel=1e-3)

    def test_channels_last_stopped_and_gone_on_gives_the_same_bits(self, job: TrainJob) -> None:
        self.weights(job, "straight", channels_last=True)
        run(job, channels_last=True, until_step=5)
        run(job)
        assert same(newest(job), newest(elsewhere(job, "straight")))

    def test_bf16_computes_in_16_bits_and_keeps_32(self, job: TrainJob) -> None:
        plain = self.weights(job, "plain")
        losses = self.losses
        half = self.weights(job, "half", precision="bf16")
        assert half.dtype == torch.float32 and not torch.equal(half, plain)
        assert self.losses == pytest.approx(losses, rel=2e-2)  # bf16 keeps 8 bits: 0.4 % a rounding

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    def test_compiled_is_the_same_training_under_the_same_names(self, job: TrainJob) -> None:
        self.weights(job, "plain")
        losses = self.losses
        self.weights(job, "compiled", compiled=True)
        assert self.losses == pytest.approx(losses, rel=1e-4)
        one, other = newest(elsewhere(job, "plain")), newest(elsewhere(job, "compiled"))
        assert one.tensors.keys() == other.tensors.keys()


class TestTwoProcesses:
    @pytest.mark.parametrize("micro_batch_size", [None, pytest.param(2, marks=pytest.mark.slow)])
    def test_they_agree_with_one_over_20_steps(self, micro_batch_size: int | None, tmp_path: Path) -> None:
        """Nine images a batch: shares of five and four, with two at once pieces of 2, 2, 1 and of 2, 2."""
        job = prepared_job(tmp_path, resolution=16, dropout=0.0, train_steps=20, log_steps=1)
        one = run(job)
        two = elsewhere(job, "two").model_copy(update={"processes": 2, "micro_batch_size": micro_batch_size})
        process = Process(two)
        assert process.wait() == 0, process.errors
        losses = [[line["loss"] for line in lines if line["event"] == "progress"] for lines in (one, process.lines)]
        assert len(losses[0]) == 20 and losses[1] == pytest.approx(losses[0], rel=1e-4)
        for kind in ("model", "ema"):
            torch.testing.assert_close(flat(newest(two), kind), flat(newest(job), kind), rtol=1e-4, atol=1e-5)
        assert newest(two).job.processes == 2 and len(process.said("done")) == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("whom", ["launcher", "second rank"])
    def test_asked_to_stop_they_end_at_one_step_and_go_on_to_the_same_bits(self, whom: str, tmp_path: Path) -> None:
        job = prepared_job(tmp_path, spec=TINY, dropout=0.3, train_steps=300, log_steps=2, processes=2)
        straight = elsewhere(job, "straight")
        assert Process(straight).wait() == 0
        process = Process(job)
        process.next_line()
        ranks = process.ranks()
        assert len(ranks) == 2
        os.kill(process.process.pid if whom == "launcher" else ranks[1], signal.SIGTERM)
        assert process.wait() != 0 and not process.said("failed") and not process.said("done"), process.errors
        wait_until_dead(ranks)
        assert 0 < newest(job).step < 300 and len(checkpoint_paths(job.run_folder)) == 1
        assert not (job.run_folder / "result.json").exists()
        again = Process(job)
        assert again.wait() == 0, again.errors
        assert same(newest(job), newest(straight))

    @pytest.mark.slow
    @pytest.mark.parametrize("rank", [0, 1])
    def test_a_killed_rank_ends_the_job_and_the_next_one_goes_on(self, rank: int, tmp_path: Path) -> None:
        job = prepared_job(tmp_path, spec=TINY, train_steps=3000, log_steps=2, checkpoint_steps=10, processes=2)
        process = Process(job)
        while process.next_line().get("step", 0) < 12:
            pass
        ranks = process.ranks()
        os.kill(ranks[rank], signal.SIGKILL)
        assert process.wait(timeout_seconds=40) != 0
        wait_until_dead(ranks)
        assert [line["reason"] for line in process.said("failed")] == ([LOST_PEER_REASON] if rank else [])
        assert newest(job).step >= 10
        again = Process(job.model_copy(update={"until_step": newest(job).step + 5}))
        assert again.wait() == 0, again.errors

    @pytest.mark.slow
    @pytest.mark.parametrize("rank", ["0", "1"])
    @pytest.mark.parametrize(
        ("planted", "reason"),
        [
            ('MemoryError("Unable to allocate 1 TiB")', "out of memory: Unable to allocate 1 TiB"),
            ('KeyError("conv_in")', "KeyError: 'conv_in'"),
        ],
    )
    def test_a_rank_that_breaks_ends_the_job_with_its_reason(
        self, planted: str, reason: str, rank: str, tmp_path: Path
    ) -> None:
        (tmp_path / "broken_diffusion.py").write_text(BROKEN.format(rank=rank, error=planted))
        job = prepared_job(tmp_path, spec=TINY, train_steps=50, processes=2)
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        process = Process(job, "broken_diffusion", PYTHONPATH=path)
        assert process.wait() == 1
        said = {line["reason"] for line in process.said("failed")}
        assert said == {f"{reason} (process {int(rank) + 1} of 2)"}
        assert list(job.run_folder.glob("*.failed")) == []


BROKEN = """
import os
import diffusion.training.trainer
from diffusion.training.child import end_process, run_child
from diffusion.training.job import train
calls, loss = iter(range(100)), diffusion.training.trainer.training_loss
def planted(*args):
    if next(calls) == 3 and os.environ["RANK"] == "{rank}":
        raise {error}
    return loss(*args)
diffusion.training.trainer.training_loss = planted
end_process(run_child(train))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_on_a_disk_that_is_really_full_the_checkpoint_before_stays_good(
    job: TrainJob, tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    run(elsewhere(job, "straight"))
    size = checkpoint_paths(elsewhere(job, "straight").run_folder)[-1].stat().st_size
    disk = small_disk(f"{size * 3 // 2 // 1024}k")
    with pytest.raises(TrainingFailed, match=r"^no space left on device while saving step 8 "):
        run(job, run_folder=disk)
    found = newest_checkpoint(disk)
    assert found is not None and found.step == 4 and list(disk.glob("*.part")) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a disk of so many bytes, where that is allowed."""
    import subprocess

    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
        if done.returncode:
            pytest.skip("this system does not let root mount")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True)
