"""The command for a GPU, on a CPU and with tiny sizes: its parts, what it resumes, and how it says what went wrong."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

import on_gpu
from diffusion.data.images import open_images
from diffusion.errors import UserError
from diffusion.training.checkpoint import Checkpoint, save_checkpoint
from gpu import children, rates, results, smoke, steps, together
from gpu.bench import Bench, Wrong
from gpu.memory import memory
from gpu.sizes import TINY

BENCHMARKS = Path(on_gpu.__file__).parent


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps one precision a process, whose later tests want another."""
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench("step", "python on_gpu.py", "cpu", TINY, tmp_path, seconds=300, cores=1)


def kept(bench: Bench) -> results.Result:
    found = results.found(bench.part, bench.out)
    assert found is not None
    return found


def fails(error: Exception) -> Callable[[], Any]:
    def measure() -> Any:
        raise error

    return measure


class TestCommand:
    def test_parts_are_chosen_by_how_their_names_begin(self) -> None:
        assert on_gpu.chosen("smoke, step") == ["smoke", "step-small", "step-ddpm"]
        assert on_gpu.chosen("together,compiled-d") == ["compiled-ddpm", "together"]

    def test_a_word_that_begins_no_part_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stopped:
            on_gpu.main(["--parts", "smoke,steps"])
        assert stopped.value.code == 2
        assert "'steps' begins no part's name; there are smoke, memory, step-small" in capsys.readouterr().err

    def test_without_a_gpu_it_says_what_to_type(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        done = subprocess.CompletedProcess([], 0, stdout="none\n")
        monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: done)
        with pytest.raises(SystemExit, match="--device: torch finds no GPU here; write --device cpu"):
            on_gpu.main(["--out", str(tmp_path)])

    def test_a_finished_part_is_not_run_again_and_one_that_was_cut_off_is(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ran = []

        def run_apart(part: str, argv: list[str], arguments: Any) -> None:
            ran.append(part)
            bench.part = part
            bench.keep(ended=True)

        monkeypatch.setattr(on_gpu, "run_apart", run_apart)
        bench.part = "smoke"
        bench.row("one", lambda: ("1 s", {"seconds": 1}))
        bench.keep(ended=True)
        bench.part = "memory"
        bench.keep()
        typed = ["--out", str(bench.out), "--device", "cpu", "--parts", "smoke,memory"]
        assert on_gpu.main(typed) == 0
        assert on_gpu.main(typed) == 0
        assert ran == ["memory"]
        table = (bench.out / "table.md").read_text()
        assert "| one | 1 s |" in table and table in capsys.readouterr().out
        assert sorted(path.name for path in bench.out.iterdir()) == ["memory.json", "smoke.json", "table.md"]

    def test_a_part_that_takes_too_long_is_ended_and_its_rows_stay(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bench.part = "smoke"
        bench.row("one", lambda: ("1 s", {"seconds": 1}))

        def run(command: list[str], **options: Any) -> Any:
            raise subprocess.TimeoutExpired(command, options["timeout"])

        monkeypatch.setattr(subprocess, "run", run)
        assert on_gpu.main(["--out", str(bench.out), "--device", "cpu", "--parts", "smoke"]) == 1
        assert "smoke: was cut off" in capsys.readouterr().err
        assert "cut off:" in (bench.out / "table.md").read_text()

    def test_every_part_takes_less_than_nine_minutes(self) -> None:
        assert on_gpu.SECONDS + on_gpu.GRACE_SECONDS < 9 * 60

    def test_it_needs_diffusion_alone(self) -> None:
        ours = re.compile(r"^\s*(?:from|import) (agent|tools|memory|prompts)\b", re.MULTILINE)
        files = [BENCHMARKS / f"{name}.py" for name in ("on_gpu", "train_step", "diffusers_recipe")]
        found = {path.name: ours.findall(path.read_text()) for path in [*files, *(BENCHMARKS / "gpu").glob("*.py")]}
        assert len(found) > 8 and not any(found.values())


class TestRows:
    def test_a_row_is_on_the_disk_before_the_next_begins(self, bench: Bench) -> None:
        bench.row("one", lambda: ("1 s", {"seconds": 1}))
        assert [row.said for row in kept(bench).rows] == ["1 s"]
        assert not results.is_finished(bench.part, bench.out)

    def test_out_of_memory_is_a_row(self, bench: Bench) -> None:
        bench.row("large", fails(torch.OutOfMemoryError("CUDA out of memory")))
        bench.row("small", lambda: ("1 s", {}))
        assert [(row.said, row.is_right) for row in kept(bench).rows] == [("out of memory", True), ("1 s", True)]

    @pytest.mark.parametrize("error", [UserError("'x' is not here"), ModuleNotFoundError("No module named 'fvcore'")])
    def test_what_the_machine_lacks_is_said(self, bench: Bench, error: Exception) -> None:
        bench.row("one", fails(error))
        assert kept(bench).rows[0].said == f"not measured: {error}"
        assert kept(bench).rows[0].is_right

    def test_what_comes_out_wrong_keeps_its_figures(self, bench: Bench) -> None:
        assert not bench.row("one", fails(Wrong("3 apart", {"apart": 3})))
        row = kept(bench).rows[0]
        assert (row.said, row.figures, row.is_right) == ("3 apart", {"apart": 3}, False)
        assert "**3 apart**" in results.markdown([kept(bench)], bench.out)

    def test_any_other_failure_keeps_its_traceback_and_the_part_goes_on(
        self, bench: Bench, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bench.row("one", fails(RuntimeError("CUDA error: an illegal memory access")))
        assert bench.row("two", lambda: ("1 s", {}))
        row = kept(bench).rows[0]
        assert row.said == "failed: RuntimeError: CUDA error: an illegal memory access" and not row.is_right
        assert row.trace and "Traceback" in row.trace

    def test_what_the_time_does_not_suffice_for_is_named(self, bench: Bench) -> None:
        bench.started = time.monotonic() - 200
        assert not bench.row("slow", lambda: ("1 s", {}), share=0.6)
        assert bench.row("fast", lambda: ("1 s", {}), share=0.8)
        assert kept(bench).skipped == ("slow",)
        assert "Skipped for want of time: slow." in results.markdown([kept(bench)], bench.out)


class TestMeasures:
    def test_steps_between_two_moments_are_counted_in_fractions(self) -> None:
        class Spoken(children.Child):
            def __init__(self) -> None:
                self.lines = [(float(at), {"event": "progress", "step": 10 * at}) for at in (1, 2, 4)]

        assert together.steps_between(Spoken(), 1.5, 3.0) == pytest.approx(15)  # half of 10, and half of 20

    def test_weights_are_apart_in_their_own_length_and_equal_ones_not_at_all(self, bench: Bench) -> None:
        jobs = [bench.job(name, TINY.smoke_spec, "fp32", train_steps=1) for name in ("a", "b", "c")]
        for job, value in zip(jobs, (3.0, 3.0, 3.3), strict=True):
            job.run_folder.mkdir(parents=True)
            tensors = {"model.x": torch.tensor([value, 0.0]), "ema.x": torch.tensor([0.0, 4.0])}
            tensors["optimizer.0.step"] = torch.tensor(value)
            save_checkpoint(job.run_folder, Checkpoint(job, 1, 0.0, tensors))
        assert smoke.difference(jobs[0], jobs[1]) == 0
        assert smoke.difference(jobs[0], jobs[2]) == pytest.approx(0.3 / 5)

    def test_made_up_images_are_smooth_and_always_the_same(self, bench: Bench) -> None:
        images = open_images(bench.data_folder, bench.card().fingerprint).train
        assert images.shape == (24, 1, 8, 8)
        across = np.abs(np.diff(images.astype(int), axis=3)).mean()
        assert 5 < across < 40  # noise would have 85
        assert bench.card().fingerprint == "03ed3827966d"

    def test_given_images_are_taken(self, bench: Bench, tmp_path: Path) -> None:
        np.savez(tmp_path / "mine.npz", x_train=np.zeros((5, 16, 16, 3), np.uint8))
        bench.dataset = str(tmp_path / "mine.npz")
        job = bench.job("a", TINY.smoke_spec, "bf16", batch_size=2)
        assert (job.settings.resolution, job.settings.channels, job.strategy.batch_size) == (16, 3, 2)


@pytest.fixture
def no_matmul(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "measure_matmul", lambda device, threads, precision: 1e9)


@pytest.mark.slow
class TestParts:
    """Each part that starts no processes, with tiny sizes."""

    def figures(self, bench: Bench) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in kept(bench).rows:
            assert row.is_right, row.trace or row.said
            yield row.what, row.figures

    @pytest.mark.usefixtures("no_matmul")
    def test_steps_race_in_both_precisions_and_layouts_beside_the_recipe(self, bench: Bench) -> None:
        steps.step(bench, "small")
        raced = {
            what.partition(": ")[2]: figures for what, figures in self.figures(bench) if "images_per_second" in figures
        }
        ours = ["ours fp32", "ours fp32 channels_last", "ours bf16", "ours bf16 channels_last"]
        assert list(raced) == ["recipe fp32", "recipe bf16", *ours]
        assert raced["ours bf16 channels_last"]["rival"] == "recipe bf16"
        assert raced["ours fp32"]["ratio_low"] <= raced["ours fp32"]["ratio"] <= raced["ours fp32"]["ratio_high"]

    def test_sampling_names_each_sampler(self, bench: Bench) -> None:
        rates.sampling(bench)
        found = dict(self.figures(bench))
        assert [what.split(", ")[1] for what in found] == ["ddim", "dpm-solver++", "ddpm", "iddpm"]
        assert all(figures["images_per_second"] > 0 for figures in found.values())

    def test_features_count_all_but_the_first_batch_and_download_nothing(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rates, "FEATURE_NETWORKS", ["digits-cnn", "inception-v3-compat"])
        bench.sizes = replace(TINY, feature_batches=(8,))
        rates.features(bench)
        ours, inception = kept(bench).rows
        assert ours.figures["batch_size"] == 8 and ours.figures["images_per_second"]
        assert inception.said.startswith("not measured: '--inception FILE' was not given")

    def test_memory_stands_beside_its_estimate(self, bench: Bench) -> None:
        memory(bench)
        found = dict(self.figures(bench))
        assert [what.rpartition(" ")[2] for what in found] == ["fp32", "bf16"]
        assert all(figures["estimate_bytes"] > 0 for figures in found.values())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_command_on_a_cpu(tmp_path: Path) -> None:
    """All parts, each as its own process; only figures of a GPU are missing."""
    typed = [sys.executable, str(BENCHMARKS / "on_gpu.py"), "--tiny", "--device", "cpu", "--out", str(tmp_path)]
    parts = [part for part in on_gpu.PARTS if part != "compiled-ddpm"]  # the same as compiled-small here
    done = subprocess.run([*typed, "--parts", ",".join(parts)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = {part: json.loads((tmp_path / f"{part}.json").read_text())["rows"] for part in parts}
    apart = [row["figures"]["apart"] for row in rows["smoke"] if "apart" in row["figures"]]
    assert apart == [0, 0]  # two trainings, and one that was killed: equal bits on a CPU
    assert len(rows["together"]) == len(TINY.together)
