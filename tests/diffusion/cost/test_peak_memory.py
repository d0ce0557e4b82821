"""The estimate against sums done by hand, against what it has to grow with, and against a measured training."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from trainings import ROOT, prepared_job

from diffusion.cost.closed_form import Cost, cost
from diffusion.cost.peak_memory import fitting_micro_batch_size, free_bytes, free_host_bytes, peak_bytes
from diffusion.settings import Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec

DDPM = UNetSpec.parse("b128-n2-m1.2.2.2-a0100")
GIB = 2**30


def job(spec: UNetSpec = DDPM, resolution: int = 32, channels: int = 3, **changes: Any) -> TrainJob:
    return TrainJob(
        spec=spec,
        settings=Settings(dataset="none", resolution=resolution, channels=channels),
        strategy=Strategy(batch_size=changes.pop("batch_size", 128)),
        seed=0,
        data_fingerprint="none",
        data_folder=Path("nowhere"),
        run_folder=Path("run"),
        **changes,
    )


def known(one: TrainJob) -> Cost:
    return cost(one.spec, one.settings.family, one.settings.resolution, one.settings.channels)


def estimate(one: TrainJob, device: str = "cuda") -> int:
    return peak_bytes(one, known(one), device)


def test_the_ddpm_spec_takes_its_states_the_activations_of_the_batch_and_the_batch() -> None:
    """16 bytes a parameter: weights, average and Adam's two moments in fp32; the batch is 3 × 32 × 32 numbers."""
    one = job()
    activations = known(one).activation_bytes
    assert estimate(one) == 16 * 35_746_307 + 128 * activations + 5 * 128 * 3072 * 4


def test_with_few_images_the_gradients_outweigh_the_activations() -> None:
    one = job(spec=UNetSpec.parse("b128-n2-m1.2.2.2-a0000"), resolution=8, channels=1, batch_size=1)
    assert estimate(one) == (16 + 8) * known(one).params + 5 * 64 * 4


def test_processes_and_micro_batches_divide_the_activations_alone() -> None:
    whole, activations = estimate(job()), known(job()).activation_bytes
    assert whole - estimate(job(micro_batch_size=32)) == 96 * activations
    assert whole - estimate(job(processes=2)) == 64 * activations - 4 * 35_746_307  # less the buckets of the gradients
    assert estimate(job(micro_batch_size=500)) == whole


def test_a_cpu_takes_more_for_the_activations_alone() -> None:
    activations = known(job()).activation_bytes * 128
    assert estimate(job(), "cpu") - estimate(job(), "cuda") == pytest.approx(0.65 * activations)


def test_the_data_set_counts_as_it_lies_on_the_disk(tmp_path: Path) -> None:
    one = prepared_job(tmp_path)
    size = (one.data_folder / one.data_fingerprint / "train.npy").stat().st_size
    assert size > 50 * 64
    assert estimate(one) - estimate(one.model_copy(update={"data_folder": tmp_path / "none"})) == size


class TestFitting:
    @pytest.mark.parametrize(("room", "images"), [(128, 128), (127, 64), (64, 64), (63, 32), (8, 8)])
    def test_the_share_is_halved_until_it_fits(self, room: int, images: int) -> None:
        one = job()
        free = estimate(one) - (128 - room) * known(one).activation_bytes
        assert fitting_micro_batch_size(one, known(one), free, "cuda") == images

    def test_where_even_one_image_does_not_fit_there_is_no_number(self) -> None:
        one = job()
        needed = estimate(one.model_copy(update={"micro_batch_size": 1}))
        assert fitting_micro_batch_size(one, known(one), needed, "cuda") is not None
        assert fitting_micro_batch_size(one, known(one), needed - 1, "cuda") is None

    def test_what_fits_is_what_the_estimate_says(self) -> None:
        one = job(batch_size=90, processes=4)  # shares of 23 at most
        for free in range(GIB, 8 * GIB, GIB // 2):
            images = fitting_micro_batch_size(one, known(one), free, "cuda")
            assert images in (23, 12, 6, 3, 2, 1)
            assert estimate(one.model_copy(update={"micro_batch_size": images})) <= free


def test_a_machine_has_memory_left_and_processes_share_it() -> None:
    free = free_host_bytes()
    assert 2**20 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert free_bytes(torch.device("cpu"), 4) == pytest.approx(free / 4, rel=0.3)  # others take meanwhile


MEASURE = """
import json, resource, sys
import torch
from accelerate import Accelerator
from diffusion.data.images import open_images
from diffusion.settings import TrainJob
from diffusion.spec import UNetSpec
from diffusion.training.allocator import keep_freed_memory
from diffusion.training.trainer import Trainer
keep_freed_memory()
job = TrainJob.model_validate_json(sys.stdin.read())
torch.set_num_threads(job.threads)
images, accelerator = open_images(job.data_folder, job.data_fingerprint).train, Accelerator()
def train(job):
    for report in Trainer(job, images, accelerator).steps():
        float(report.loss)
strategy = job.strategy.model_copy(update={"batch_size": 2, "train_steps": 1})
train(job.model_copy(update={"spec": UNetSpec.parse("b4-n1-m1.1.1.1-a0000"), "strategy": strategy}))  # the libraries
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
train(job)
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux counts it")
@pytest.mark.parametrize(
    ("spec", "batch_size", "micro_batch_size"),
    [("b64-n1-m1.2.2.2-a0100", 80, None), ("b128-n1-m1.1.2.2-a0000", 64, 48)],
)
def test_a_real_training_takes_what_was_estimated_to_15_percent(
    spec: str, batch_size: int, micro_batch_size: int | None, tmp_path: Path
) -> None:
    one = prepared_job(
        tmp_path,
        resolution=32,
        spec=UNetSpec.parse(spec),
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        train_steps=3,
    )
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        input=one.model_dump_json(),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    measured = json.loads(done.stdout)
    assert estimate(one, "cpu") >= GIB
    assert measured == pytest.approx(estimate(one, "cpu"), rel=0.15)
