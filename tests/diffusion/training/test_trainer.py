import io
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor

from diffusion.data.images import prepare_images
from diffusion.errors import TrainingFailed
from diffusion.process import NoiseProcess, to_model
from diffusion.settings import Family, Settings, Strategy, TrainJob
from diffusion.spec import UNetSpec
from diffusion.streams import Order, generator, stream_seed
from diffusion.training.checkpoint import checkpoint_paths, load_checkpoint, newest_checkpoint, step_checkpoint
from diffusion.training.child import Lines, locked
from diffusion.training.job import Run, train
from diffusion.training.losses import training_loss
from diffusion.training.settings import JobSettings
from diffusion.training.trainer import ImageSource, Trainer
from diffusion.unet import build_unet

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8)).astype(np.uint8)
SHORT: dict[str, Any] = {"batch_size": 8, "diffusion_steps": 50, "train_steps": 12, "warmup_steps": 8}


def make(
    images: Any = IMAGES, *, seed: int = 0, flips: bool = False, family: Family = "ddpm", **strategy: Any
) -> Trainer:
    settings = Settings(
        dataset="none",
        resolution=8,
        channels=images.shape[1],
        family=family,
        schedule="linear" if family == "ddpm" else "cosine",
        horizontal_flips=flips,
    )
    job = TrainJob(
        spec=UNetSpec.parse("b4-n1-m1.2.2.2-a0100"),
        settings=settings,
        strategy=Strategy(**{**SHORT, **strategy}),
        seed=seed,
        data_fingerprint="none",
        data_folder=Path("data"),
        run_folder=Path("run"),
    )
    return Trainer(job, images, Accelerator())


def trained(count: int, **options: Any) -> dict[str, Tensor]:
    trainer = make(**options)
    assert len(list(islice(trainer.steps(), count))) == count
    return trainer.tensors()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def part(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{kind}."): tensor for name, tensor in tensors.items() if name.startswith(f"{kind}.")}


class TestResume:
    @pytest.mark.parametrize("family", ["ddpm", "iddpm"])
    def test_a_restored_training_goes_on_bit_for_bit(self, family: Family) -> None:
        straight = trained(12, dropout=0.1, family=family)
        second = make(dropout=0.1, family=family)
        second.restore(trained(5, dropout=0.1, family=family), 5)
        torch.manual_seed(99)  # the history of the global generator must not matter
        assert [report.step for report in second.steps()] == list(range(6, 13))
        assert same(second.tensors(), straight)
        kinds = {name.partition(".")[0] for name in straight}
        assert kinds == {"model", "ema", "optimizer"}

    def test_state_is_complete_weights_average_and_both_moments_with_their_count(self) -> None:
        tensors = trained(3)
        names = part(tensors, "model").keys()
        assert part(tensors, "ema").keys() == names
        moments = part(tensors, "optimizer")
        assert {name.partition(".")[2] for name in moments} == {"step", "exp_avg", "exp_avg_sq"}
        assert len(moments) == 3 * len(names)
        assert {float(tensor) for name, tensor in moments.items() if name.endswith(".step")} == {3.0}

    def test_what_was_restored_from_is_left_as_it_was(self) -> None:
        tensors = trained(5)
        kept = {name: tensor.clone() for name, tensor in tensors.items()}
        trainer = make()
        trainer.restore(tensors, 5)
        list(trainer.steps())
        assert same(tensors, kept)

    def test_state_that_was_taken_does_not_move_with_the_training(self) -> None:
        trainer = make()
        steps = trainer.steps()
        next(steps)
        tensors = trainer.tensors()
        kept = {name: tensor.clone() for name, tensor in tensors.items()}
        next(steps)
        assert same(tensors, kept) and not same(trainer.tensors(), kept)

    def test_a_finished_training_has_no_steps_left(self) -> None:
        trainer = make()
        trainer.restore(trained(12), 12)
        assert list(trainer.steps()) == []

    @pytest.mark.parametrize("dropout", [0.0, 0.1])
    def test_a_step_of_a_long_training_equals_a_training_of_that_length(self, dropout: float) -> None:
        assert same(trained(5, dropout=dropout, train_steps=5), trained(5, dropout=dropout, train_steps=1000))


class TestRandomness:
    def test_seeds_give_other_weights_and_one_seed_the_same(self) -> None:
        assert same(trained(2), trained(2))
        first, other = trained(2), trained(2, seed=1)
        assert not torch.equal(first["model.conv_in.weight"], other["model.conv_in.weight"])

    def test_dropout_changes_the_training_and_is_drawn_anew_each_step(self) -> None:
        assert not same(trained(3, dropout=0.0), trained(3, dropout=0.5))
        trainer = make(dropout=0.5)
        batch = trainer._batch()
        losses = []
        for trainer.step in (3, 4, 3):
            with torch.no_grad():  # untrained, the convolutions behind the dropout are zero and hide it
                for parameter in trainer.model.parameters():
                    parameter.fill_(0.05)
            losses.append(float(trainer._update(*batch)))
        assert losses[0] == losses[2] != losses[1]

    def test_batches_are_functions_of_the_step(self) -> None:
        trainer, jumping = make(flips=True), make(flips=True)
        batches = []
        for trainer.step in range(4):
            batches.append(trainer._batch())
        jumping.step = 3
        assert all(torch.equal(a, b) for a, b in zip(jumping._batch(), batches[3], strict=True))
        assert not torch.equal(batches[0][1], batches[1][1]) and not torch.equal(batches[0][2], batches[1][2])

    def test_a_batch_has_images_in_the_models_range_unit_noise_and_every_step(self) -> None:
        images, noise, steps = make(batch_size=2000)._batch()
        assert images.shape == noise.shape == (2000, 1, 8, 8)
        assert images.min() == -1 and images.max() == 1  # 0 and 255 occur
        assert noise.mean().item() == pytest.approx(0, abs=0.012)  # 128,000 numbers: 4 × 0.0028
        assert noise.var().item() == pytest.approx(1, abs=0.016)  # 4 × √(2/128000)
        assert sorted(set(steps.tolist())) == list(range(50))

    def test_flips_mirror_about_half_of_the_images_left_to_right(self) -> None:
        ramp = np.broadcast_to(np.arange(8, dtype=np.uint8) * 30, (20, 1, 8, 8))
        plain, noise, steps = make(ramp, batch_size=400)._batch()
        flipped, same_noise, same_steps = make(ramp, batch_size=400, flips=True)._batch()
        assert torch.equal(noise, same_noise) and torch.equal(steps, same_steps)
        mirrored = (flipped == plain.flip(-1)).all(dim=(1, 2, 3))
        assert (mirrored ^ (flipped == plain).all(dim=(1, 2, 3))).all()
        assert 160 < int(mirrored.sum()) < 240  # 200 ± 4 × √100

    def test_the_shares_of_two_processes_make_up_the_global_batch(self) -> None:
        trainer = make(flips=True)
        whole = trainer._batch()
        shares = []
        trainer.world_size = 2
        for trainer.rank in range(2):
            shares.append(trainer._batch())
        for index, expected in enumerate(whole):
            assert len(shares[0][index]) == len(shares[1][index]) == 4
            assert torch.equal(torch.stack([shares[0][index], shares[1][index]], dim=1).flatten(0, 1), expected)

    def test_read_only_images_are_read_without_a_warning(self, tmp_path: Path) -> None:
        np.save(tmp_path / "train.npy", IMAGES)
        mapped = np.load(tmp_path / "train.npy", mmap_mode="r")
        assert same(trained(1, images=mapped), trained(1))


class TestAverage:
    def averages(self, decay: float, count: int) -> tuple[list[Tensor], list[Tensor]]:
        """The first convolution after each step, and its average."""
        trainer, weights, averages = make(ema_decay=decay, learning_rate=1e-2, warmup_steps=0), [], []
        for _ in islice(trainer.steps(), count):
            tensors = trainer.tensors()
            weights.append(tensors["model.conv_in.weight"])
            averages.append(tensors["ema.conv_in.weight"])
        return weights, averages

    def test_the_average_follows_the_horizon_that_grows_with_the_step(self) -> None:
        """EMAModel: with s = updates before this one, the decay is 0 at s = 0, then min(decay, (1 + s) / (10 + s))."""
        (w1, w2, w3, w4), (e1, e2, e3, e4) = self.averages(0.9999, 4)
        torch.testing.assert_close(e1, w1)
        torch.testing.assert_close(e2, 2 / 11 * e1 + 9 / 11 * w2)
        torch.testing.assert_close(e3, 3 / 12 * e2 + 9 / 12 * w3)
        torch.testing.assert_close(e4, 4 / 13 * e3 + 9 / 13 * w4)
        assert (w4 - w3).abs().max() > 1e-3  # the weights moved, so the above says something

    def test_the_decay_is_a_ceiling(self) -> None:
        (_, w2, w3, w4), (e1, e2, e3, e4) = self.averages(0.2, 4)
        torch.testing.assert_close(e2, 2 / 11 * e1 + 9 / 11 * w2)
        torch.testing.assert_close(e3, 0.2 * e2 + 0.8 * w3)
        torch.testing.assert_close(e4, 0.2 * e3 + 0.8 * w4)


class TestPlainLoop:
    """The step written out plainly, with accelerate's and diffusers' own parts: what is fast here is nothing else."""

    def plain(self, trainer: Trainer, count: int) -> tuple[list[float], dict[str, Tensor]]:
        job, strategy, accelerator = trainer.job, trainer.job.strategy, Accelerator()
        torch.manual_seed(stream_seed(job.seed, "init"))
        model = build_unet(job.spec, job.settings, strategy.dropout)
        average = EMAModel(model.parameters(), decay=strategy.ema_decay, foreach=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=strategy.learning_rate, weight_decay=0.0, fused=True)
        model, optimizer = accelerator.prepare(model, optimizer)
        model.train()
        losses = []
        for step in range(count):
            draws = generator(job.seed, "noise", step)
            images = to_model(torch.from_numpy(IMAGES[Order(job.seed, len(IMAGES)).batch(step, strategy.batch_size)]))
            steps = torch.randint(strategy.diffusion_steps, (len(images),), generator=draws)
            noise = torch.randn(images.shape, generator=draws)
            flips = (torch.rand(len(images), generator=draws) < 0.5).view(-1, 1, 1, 1)
            images = torch.where(flips, images.flip(-1), images)
            torch.manual_seed(stream_seed(job.seed, "dropout", step, 0))
            for group in optimizer.param_groups:
                group["lr"] = strategy.learning_rate * min(1.0, (step + 1) / strategy.warmup_steps)
            loss = training_loss(trainer.process, job.settings.family, model, images, noise, steps)
            optimizer.zero_grad()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), strategy.gradient_clip)
            optimizer.step()
            average.step(model.parameters())
            losses.append(loss.item())
        named = dict(zip([name for name, _ in model.named_parameters()], average.shadow_params, strict=True))
        tensors = {f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()}
        return losses, tensors | {f"ema.{name}": tensor for name, tensor in named.items()}

    @pytest.mark.parametrize("family", ["ddpm", "iddpm"])
    def test_each_bit_is_that_of_the_plain_loop(self, family: Family) -> None:
        options: dict[str, Any] = {"flips": True, "dropout": 0.2, "gradient_clip": 0.3, "ema_decay": 0.4}
        trainer = make(family=family, **options)
        losses, tensors = self.plain(trainer, 12)
        assert [float(report.loss) for report in trainer.steps()] == losses
        ours = {name: tensor for name, tensor in trainer.tensors().items() if not name.startswith("optimizer.")}
        assert same(ours, tensors)


class TestMicroBatches:
    @pytest.mark.parametrize("family", ["ddpm", "iddpm"])
    def test_pieces_of_unequal_size_give_the_gradient_of_the_whole_batch(self, family: Family) -> None:
        whole, pieces = (make(family=family, dropout=0.0) for _ in range(2))
        pieces.micro_batch_size = 3  # of eight: 3, 3 and 2
        for trainer in (whole, pieces):
            torch.manual_seed(0)
            with torch.no_grad():  # untrained, most gradients are zero
                for parameter in trainer.parameters:
                    parameter.add_(torch.randn(parameter.shape) * 0.05)
        losses = [trainer._gradients(*trainer._batch()) for trainer in (whole, pieces)]
        torch.testing.assert_close(losses[1], losses[0])
        one, other = (
            torch.cat([p.grad.flatten() for p in t.parameters if p.grad is not None]) for t in (whole, pieces)
        )
        assert (one - other).norm() < 1e-3 * one.norm()  # weighed alike, the third piece would change tenths

    def test_a_piece_as_large_as_the_batch_changes_no_bit(self) -> None:
        assert same(self.trained(8), self.trained(None)) and same(self.trained(100), self.trained(None))

    def test_dropout_is_drawn_for_each_piece(self) -> None:
        trainer = make(dropout=0.5)
        drawn = []
        for piece in (0, 1, 0):
            trainer._seed_dropout(piece)
            drawn.append(torch.rand(4))
        assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])

    def test_a_training_in_pieces_goes_on_bit_for_bit(self) -> None:
        straight = self.trained(3)
        first, second = self.trainer(3), self.trainer(3)
        list(islice(first.steps(), 5))
        second.restore(first.tensors(), 5)
        list(second.steps())
        assert same(second.tensors(), straight)

    def test_a_dry_step_leaves_everything_as_it_was(self) -> None:
        trainer = self.trainer(3)
        trainer.dry_step()
        assert trainer.step == 0 and not trainer.optimizer.state
        assert all(parameter.grad is None for parameter in trainer.parameters)
        list(trainer.steps())
        assert same(trainer.tensors(), self.trained(3))

    def trainer(self, size: int | None) -> Trainer:
        return Trainer(make().job.model_copy(update={"micro_batch_size": size}), IMAGES, Accelerator())

    def trained(self, size: int | None) -> dict[str, Tensor]:
        trainer = self.trainer(size)
        list(trainer.steps())
        return trainer.tensors()


class TestMemory:
    def test_on_a_cpu_the_images_are_the_map_itself(self, tmp_path: Path) -> None:
        np.save(tmp_path / "train.npy", IMAGES)
        mapped = np.load(tmp_path / "train.npy", mmap_mode="r")
        source = ImageSource(mapped, torch.device("cpu"))
        assert source.resident is None and np.shares_memory(source.images, mapped)

    def test_what_is_saved_on_a_cpu_is_no_copy(self) -> None:
        trainer = make()
        state = trainer.state()
        assert state["model.conv_in.weight"].data_ptr() == trainer.network.get_parameter("conv_in.weight").data_ptr()
        assert all(not tensor.requires_grad for tensor in state.values())


class TestSteps:
    def rates(self, warmup_steps: int) -> list[float]:
        trainer = make(warmup_steps=warmup_steps, learning_rate=0.004)
        return [trainer.optimizer.param_groups[0]["lr"] for _ in islice(trainer.steps(), 6)]

    def test_the_learning_rate_rises_evenly_to_its_value(self) -> None:
        assert self.rates(4) == pytest.approx([0.001, 0.002, 0.003, 0.004, 0.004, 0.004])

    @pytest.mark.parametrize("warmup_steps", [0, 1])
    def test_without_warm_up_it_is_constant(self, warmup_steps: int) -> None:
        assert self.rates(warmup_steps) == pytest.approx([0.004] * 6)

    def test_the_first_update_moves_by_the_learning_rate(self) -> None:
        """Adam's first step is lr · g / |g|; the closing convolution starts at zero."""
        moved = trained(1, learning_rate=0.004, warmup_steps=0)["model.conv_out.weight"].abs()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.004), rtol=1e-3, atol=0)

    def test_gradients_are_clipped(self) -> None:
        """Beside Adam's 1e-8 a gradient of norm 1e-12 is nothing, so the weights stay: at most 1e-4 of a step."""
        moved = trained(1, gradient_clip=1e-12, learning_rate=0.004, warmup_steps=0)["model.conv_out.weight"]
        assert 0 < moved.abs().max() < 1e-4 * 0.004

    def test_reports_count_steps_and_images(self) -> None:
        reports = list(make().steps())
        assert [(report.step, report.images_seen) for report in reports] == [(n, 8 * n) for n in range(1, 13)]
        assert all(report.loss.shape == () and not report.loss.requires_grad for report in reports)

    def test_the_first_loss_is_the_power_of_the_noise(self) -> None:
        trainer = make()
        noise = trainer._batch()[1]
        assert float(next(trainer.steps()).loss) == pytest.approx(float((noise**2).mean()), rel=1e-5)

    def test_the_loss_falls_on_a_trivial_data_set(self) -> None:
        black = np.zeros((8, 1, 8, 8), dtype=np.uint8)
        trainer = make(black, train_steps=60, batch_size=32, learning_rate=5e-3, dropout=0.0)
        losses = [float(report.loss) for report in trainer.steps()]
        assert np.mean(losses[:3]) > 0.9 and np.mean(losses[-10:]) < 0.5

    @pytest.mark.parametrize("family", ["ddpm", "iddpm"])
    def test_the_process_is_that_of_the_job(self, family: Family) -> None:
        expected = NoiseProcess.make("linear" if family == "ddpm" else "cosine", 400).alphas_cumprod
        assert torch.equal(make(diffusion_steps=400, family=family).process.alphas_cumprod, expected)


def test_training_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    trained(2)
    assert capfd.readouterr() == ("", "")


class Asked:
    """Somebody who asks for a stop the given time that the loop looks."""

    def __init__(self, look: int) -> None:
        self.looks_left = look

    @property
    def asked(self) -> bool:
        self.looks_left -= 1
        return self.looks_left <= 0


NOBODY: Any = Asked(10**9)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[TrainJob]:
    """A job on a prepared data folder; a run sets the threads of its process."""
    np.savez(tmp_path / "images.npz", x_train=IMAGES[:, 0])
    fingerprint = prepare_images(str(tmp_path / "images.npz"), tmp_path / "data").fingerprint
    changes = {"data_fingerprint": fingerprint, "data_folder": tmp_path / "data", "run_folder": tmp_path / "run"}
    threads = torch.get_num_threads()
    yield make().job.model_copy(update={**changes, "log_steps": 5, "running": JobSettings(checkpoint_steps=4)})
    torch.set_num_threads(threads)


def run(job: TrainJob, stop: Any = NOBODY, **changes: Any) -> tuple[bool, list[dict[str, Any]]]:
    """Run a job in this process: whether it reached its end, and its lines without those of its curve."""
    job, stream = job.model_copy(update=changes), io.StringIO()
    with locked(job.run_folder):
        finished = Run(job, Lines(stream), newest_checkpoint(job.run_folder)).go(stop)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return finished, [line for line in lines if line["event"] != "curve"]


def steps_kept(job: TrainJob) -> list[int]:
    return [load_checkpoint(path).step for path in checkpoint_paths(job.run_folder)]


class TestRun:
    def test_it_tells_its_progress_keeps_two_checkpoints_and_ends_with_a_result(self, job: TrainJob) -> None:
        finished, lines = run(job)
        assert finished and [line["event"] for line in lines] == ["progress"] * 3 + ["done"]
        assert [(line["step"], line["total_steps"]) for line in lines[:3]] == [(5, 12), (10, 12), (12, 12)]
        assert lines[2]["eta_seconds"] == 0 < lines[0]["eta_seconds"] and lines[0]["images_per_second"] > 0
        assert steps_kept(job) == [8, 12]
        result = json.loads((job.run_folder / "result.json").read_text())
        assert {"event": "done", **result} == lines[-1]
        assert (result["step"], result["loss"]) == (12, lines[2]["loss"]) and result["device_seconds"] > 0

    def test_the_loss_that_is_shown_is_smoothed(self, job: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
        losses = iter([1.0, 3.0, 2.0])  # read at steps 6 and 12, and once more for the checkpoint
        monkeypatch.setattr(Run, "_finite", lambda self, report: next(losses))
        _, lines = run(job, log_steps=6, running=JobSettings(checkpoint_steps=100))
        assert [line["loss"] for line in lines] == pytest.approx([1.0, 0.9 * 1.0 + 0.1 * 3.0, 1.2])

    @pytest.mark.parametrize("checkpoint_steps", [1, 4, 100])
    def test_a_stopped_run_has_saved_its_step_and_no_result(self, checkpoint_steps: int, job: TrainJob) -> None:
        finished, lines = run(job, Asked(7), running=JobSettings(checkpoint_steps=checkpoint_steps))
        assert not finished and "done" not in [line["event"] for line in lines]
        assert steps_kept(job)[-1] == 7 and not (job.run_folder / "result.json").exists()

    def test_stopped_and_run_again_it_ends_with_the_weights_of_a_run_in_one_go(self, job: TrainJob) -> None:
        elsewhere = job.run_folder.with_name("straight")
        run(job, run_folder=elsewhere)
        run(job, Asked(7))
        finished, lines = run(job)
        assert finished and lines[0]["step"] == 10  # 5 was told by the first process
        one, other = newest_checkpoint(job.run_folder), newest_checkpoint(elsewhere)
        assert one is not None and other is not None and (one.step, other.step) == (12, 12)
        assert same(dict(one.tensors), dict(other.tensors))

    def test_a_finished_training_tells_its_result_again(self, job: TrainJob) -> None:
        first, again = io.StringIO(), io.StringIO()
        for stream in (first, again):
            assert train(job.model_dump_json(), Lines(stream), NOBODY)
        lines = [json.loads(line) for line in first.getvalue().splitlines()]
        points = [point for line in lines if line["event"] == "curve" for point in line["points"]]
        told = [json.loads(line) for line in again.getvalue().splitlines()]
        assert told == [{"event": "curve", "points": points}, lines[-1]]

    def test_weights_of_another_training_are_not_trained_on(self, job: TrainJob) -> None:
        run(job)
        other = job.model_copy(update={"spec": UNetSpec.parse("b4-n1-m1.1.1.1-a0000")})
        with pytest.raises(TrainingFailed, match=f"holds weights of another training, of {job.spec} to step 12; move"):
            train(other.model_dump_json(), Lines(io.StringIO()), NOBODY)
        assert steps_kept(job) == [8, 12]

    def test_snapshots_are_the_averages_of_their_steps_and_are_kept(self, job: TrainJob) -> None:
        run(job, running=JobSettings(checkpoint_steps=4, snapshot_steps=(3, 7)))
        assert steps_kept(job) == [8, 12]
        snapshot = step_checkpoint(job.run_folder, 3)
        assert snapshot is not None and snapshot.step == 3
        assert same(part(dict(snapshot.tensors), "ema"), part(trained(3), "ema"))
        assert {name.partition(".")[0] for name in snapshot.tensors} == {"ema"}
        assert step_checkpoint(job.run_folder, 7) is not None and step_checkpoint(job.run_folder, 4) is None

    def test_a_stop_at_the_last_step_comes_too_late(self, job: TrainJob) -> None:
        finished, lines = run(job, Asked(12))
        assert finished and lines[-1]["event"] == "done"

    def test_a_run_that_died_between_its_last_step_and_its_result_only_writes_the_result(self, job: TrainJob) -> None:
        _, first = run(job)
        (job.run_folder / "result.json").unlink()
        finished, lines = run(job)
        assert finished and [line["event"] for line in lines] == ["done"]
        assert (lines[0]["step"], lines[0]["loss"]) == (12, first[-1]["loss"])  # its curve is in the checkpoint
        assert (job.run_folder / "result.json").exists()

    def test_device_seconds_count_earlier_processes(self, job: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
        run(job, Asked(7))
        path = checkpoint_paths(job.run_folder)[-1]
        before = load_checkpoint(path).seconds
        _, lines = run(job)
        assert lines[-1]["device_seconds"] > before > 0

    @pytest.mark.parametrize("loss", ["nan", "inf"])
    def test_a_loss_that_is_not_finite_fails_the_training(
        self, loss: str, job: TrainJob, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = iter(range(100))

        def planted(*args: Any) -> Tensor:
            return training_loss(*args) * (float(loss) if next(calls) == 6 else 1.0)

        monkeypatch.setattr("diffusion.training.trainer.training_loss", planted)
        with pytest.raises(TrainingFailed, match=r"^the loss is nan at step 8; a lower learning rate may help$"):
            run(job)  # the seventh update spoils the weights; the next look is the checkpoint of step 8
        assert steps_kept(job) == [4] and not (job.run_folder / "result.json").exists()

    def test_weights_that_are_not_finite_are_never_saved(self, job: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
        """The loss of a step is taken before its update, so that of the last step says nothing about the result."""
        calls = iter(range(100))

        def planted(process: NoiseProcess, family: Family, model: Any, *args: Any) -> Tensor:
            value = training_loss(process, family, model, *args)
            if next(calls) == 11:  # a finite value with a gradient that is not
                value = value + (model.conv_out.weight.sum() * 0).sqrt()
            return value

        monkeypatch.setattr("diffusion.training.trainer.training_loss", planted)
        with pytest.raises(TrainingFailed, match=r"^the weights are not finite after step 12; "):
            run(job)
        assert steps_kept(job) == [4, 8] and not (job.run_folder / "result.json").exists()

    def test_a_learning_rate_that_is_far_too_high_fails_the_training(self, job: TrainJob) -> None:
        strategy = job.strategy.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0, "train_steps": 6})
        with pytest.raises(TrainingFailed, match="lower learning rate"):
            run(job, strategy=strategy)
        assert steps_kept(job) == []
