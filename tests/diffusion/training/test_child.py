import fcntl
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffusion.data.images import prepare_images
from diffusion.errors import TrainingFailed, UserError
from diffusion.settings import Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.checkpoint import newest_checkpoint
from diffusion.training.child import LOST_PEER_REASON, STOPPED, Lines, Stop, locked, run_child
from diffusion.training.job import train

ROOT = Path(__file__).parents[3]
Work = Callable[[str, Lines, Stop], bool]


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A child takes over the signals, the threads and the memory of its process."""
    monkeypatch.setattr("diffusion.training.child.die_with_parent", lambda: None)
    monkeypatch.setattr("diffusion.training.child.keep_freed_memory", lambda: None)
    numbers = (signal.SIGTERM, signal.SIGINT)
    handlers, threads = [signal.getsignal(number) for number in numbers], torch.get_num_threads()
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)
    torch.set_num_threads(threads)


@pytest.fixture
def job(tmp_path: Path) -> TrainJob:
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x_train=images)
    card = prepare_images(str(tmp_path / "images.npz"), tmp_path / "data")
    return TrainJob(
        spec=UNetSpec.parse("b4-n1-m1.2.2.2-a0100"),
        settings=Settings(dataset=card.name, resolution=8, channels=1),
        strategy=Strategy(batch_size=8, diffusion_steps=50, train_steps=100, learning_rate=1e-3, warmup_steps=10),
        seed=0,
        data_fingerprint=card.fingerprint,
        data_folder=tmp_path / "data",
        run_folder=tmp_path / "run",
        checkpoint_steps=40,
        log_steps=2,
    )


def call(work: Work, folder: Path, text: str = "{}") -> int:
    (folder / "job.json").write_text(text)
    return run_child(work, ["--job", str(folder / "job.json")])


def raising(error: BaseException) -> Work:
    def work(text: str, lines: Lines, stop: Stop) -> bool:
        raise error

    return work


def last_line(out: str) -> Any:
    return json.loads(out.splitlines()[-1])


class TestExitCodes:
    @pytest.mark.parametrize(("finished", "code"), [(True, 0), (False, STOPPED)])
    def test_a_finished_job_exits_0_and_a_stopped_one_143(self, finished: bool, code: int, tmp_path: Path) -> None:
        assert STOPPED == 128 + signal.SIGTERM == 143
        assert call(lambda text, lines, stop: finished, tmp_path) == code

    @pytest.mark.parametrize("error", [TrainingFailed("the loss is nan"), UserError("'data' holds no images")])
    def test_a_failure_with_a_reason_exits_1_with_that_reason(
        self, error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert call(raising(error), tmp_path) == 1
        assert json.loads(capsys.readouterr().out) == {"event": "failed", "reason": str(error)}

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (MemoryError(), "out of memory: the host has no more to give"),
            (MemoryError("Unable to allocate 1 TiB"), "out of memory: Unable to allocate 1 TiB"),
            (torch.OutOfMemoryError("CUDA out of memory.\nSee the manual"), "out of memory: CUDA out of memory."),
            (RuntimeError("DefaultCPUAllocator: not enough memory: 8"), "out of memory: DefaultCPUAllocator: not enou"),
        ],
        ids=["python", "numpy", "cuda", "cpu"],
    )
    def test_out_of_memory_exits_1_and_says_so_in_one_line(
        self, error: Exception, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert call(raising(error), tmp_path) == 1
        line = json.loads(capsys.readouterr().out)
        assert line["event"] == "failed" and line["reason"].startswith(reason) and "\n" not in line["reason"]

    def test_torchs_own_allocator_is_understood(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        def work(text: str, lines: Lines, stop: Stop) -> bool:
            torch.empty(10**15)  # 4 PB
            return True

        assert call(work, tmp_path) == 1
        assert last_line(capsys.readouterr().out)["reason"].startswith("out of memory: ")

    def test_our_own_bugs_are_not_swallowed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(RuntimeError, match="shapes differ"):
            call(raising(RuntimeError("shapes differ")), tmp_path)
        assert capsys.readouterr().out == ""


class TestSeveralProcesses:
    """Each claim from the place of one of them; the launcher is this process's parent."""

    @pytest.fixture(autouse=True)
    def place(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        monkeypatch.setenv("WORLD_SIZE", "2")
        return lambda rank: monkeypatch.setenv("RANK", str(rank))

    def reasons(self, out: str) -> list[str]:
        return [json.loads(line)["reason"] for line in out.splitlines()]

    def test_only_the_first_speaks(
        self, place: Callable[[int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def work(text: str, lines: Lines, stop: Stop) -> bool:
            lines.emit("done", step=1)
            return True

        said = []
        for rank in range(2):
            place(rank)
            assert call(work, tmp_path) == 0
            said.append(capsys.readouterr().out)
        assert said == ['{"event": "done", "step": 1}\n', ""]

    def test_what_all_fail_of_is_said_once(
        self, place: Callable[[int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for rank in range(2):
            place(rank)
            assert call(raising(TrainingFailed("the loss is nan")), tmp_path) == 1
        assert self.reasons(capsys.readouterr().out) == ["the loss is nan"]

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (torch.OutOfMemoryError("CUDA out of memory."), "out of memory: CUDA out of memory. (process 2 of 2)"),
            (KeyError("conv_in"), "KeyError: 'conv_in' (process 2 of 2)"),
        ],
    )
    def test_what_one_fails_of_it_says_itself_and_the_first_repeats(
        self,
        error: Exception,
        reason: str,
        place: Callable[[int], None],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        place(1)
        assert call(raising(error), tmp_path) == 1
        out, err = capsys.readouterr()
        assert self.reasons(out) == [reason] and "Traceback" in err
        place(0)
        lost = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer")
        assert call(raising(lost), tmp_path) == 1
        assert self.reasons(capsys.readouterr().out) == [reason]
        assert call(raising(lost), tmp_path) == 1  # the note was taken away
        assert self.reasons(capsys.readouterr().out) == [LOST_PEER_REASON]

    def test_a_peer_that_is_lost_to_another_than_the_first_is_no_reason(
        self, place: Callable[[int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place(1)
        assert call(raising(RuntimeError("NCCL error: remote process exited")), tmp_path) == 1
        assert capsys.readouterr().out == ""


class TestTalking:
    def test_a_line_that_nobody_hears_is_no_error(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w", buffering=1) as stream:
            lines = Lines(stream)
            lines.emit("progress", step=1)
            assert not lines.is_heard
            with suppress(BrokenPipeError):
                stream.close()

    def test_standard_output_has_json_lines_only(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        def work(text: str, lines: Lines, stop: Stop) -> bool:
            print("a stray print")
            lines.emit("progress", step=1, note="é\n")
            print("another")
            lines.emit("done", text=text)
            return True

        assert call(work, tmp_path, '{"a": 1}') == 0
        out, err = capsys.readouterr()
        assert [json.loads(line) for line in out.splitlines()] == [
            {"event": "progress", "step": 1, "note": "é\n"},
            {"event": "done", "text": '{"a": 1}'},
        ]
        assert err == "a stray print\nanother\n"

    def test_sigterm_asks_for_a_stop_and_ctrl_c_is_left_to_the_parent(self, tmp_path: Path) -> None:
        def work(text: str, lines: Lines, stop: Stop) -> bool:
            asked = []
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
                asked.append(stop.asked)
            assert asked == [False, True]
            return False

        assert call(work, tmp_path) == STOPPED

    def test_a_run_folder_has_one_job_at_a_time(self, tmp_path: Path) -> None:
        folder = tmp_path / "runs" / "one"
        with locked(folder), (folder / ".lock").open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with (folder / ".lock").open() as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


class TestTrain:
    def test_a_training_without_its_data_fails_with_one_sentence(
        self, job: TrainJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lost = job.model_copy(update={"data_folder": tmp_path / "lost"})
        assert call(train, tmp_path, lost.model_dump_json()) == 1
        assert "holds no prepared images" in last_line(capsys.readouterr().out)["reason"]
        assert not (job.run_folder / "result.json").exists()

    def test_killed_and_started_again_it_ends_with_the_weights_of_one_go(self, job: TrainJob, tmp_path: Path) -> None:
        killed = Process(job)
        while json.loads(killed.stdout.readline()).get("step", 0) <= 40:
            pass
        killed.process.kill()  # what was not saved is done again
        assert killed.wait() == -signal.SIGKILL
        again = Process(job)
        assert again.wait() == 0
        told = [line for line in again.lines if line["event"] != "curve"]
        assert [line["event"] for line in told] == ["progress"] * (len(told) - 1) + ["done"]
        assert 40 < told[0]["step"] < told[-1]["step"] == 100
        assert json.loads((job.run_folder / "result.json").read_text())["step"] == 100
        assert_as_in_one_go(job, tmp_path)

    @pytest.mark.slow
    def test_told_to_stop_it_saves_first(self, job: TrainJob, tmp_path: Path) -> None:
        told = Process(job)
        first = json.loads(told.stdout.readline())
        told.process.send_signal(signal.SIGTERM)
        assert told.wait() == STOPPED
        stopped = newest_checkpoint(job.run_folder)
        assert stopped is not None and first["step"] <= stopped.step < 100
        assert not (job.run_folder / "result.json").exists()
        assert "done" not in [line["event"] for line in told.lines]
        again = Process(job)
        assert again.wait() == 0
        assert stopped.step < again.lines[0]["step"] <= stopped.step + job.log_steps
        assert_as_in_one_go(job, tmp_path)


def assert_as_in_one_go(job: TrainJob, folder: Path) -> None:
    """The weights and all else that a training saves, to the bit."""
    straight = job.model_copy(update={"run_folder": folder / "straight"})
    assert train(straight.model_dump_json(), Lines(io.StringIO()), Stop())
    one, other = newest_checkpoint(job.run_folder), newest_checkpoint(straight.run_folder)
    assert one is not None and other is not None and one.step == other.step == 100
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


class Process:
    """``python -m diffusion.training.job`` as the executor starts it; `lines` are all that it said after `wait`."""

    def __init__(self, job: TrainJob) -> None:
        path = job.run_folder.parent / "job.json"
        path.write_text(job.model_dump_json())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "diffusion.training.job", "--job", str(path)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.stdout = self.process.stdout
        self.lines: list[dict[str, Any]] = []

    def wait(self) -> int:
        out, _ = self.process.communicate(timeout=60)
        self.lines = [json.loads(line) for line in out.splitlines()]
        return self.process.returncode
