"""Our training against plain loops on diffusers, written out here: the same data, seed and steps, one loss curve.

The loops take from the project only which random numbers stand for what (`diffusion.streams`). Network, schedule, loss,
optimiser and average are diffusers' and torch's own, and the hybrid loss is written with `torch.distributions`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from diffusion.data.images import open_images, prepare_images
from diffusion.samplers import sample_tensors
from diffusion.settings import Family, Sampler, Schedule, Settings, Strategy, TrainJob, choose_sampling
from diffusion.spec import UNetSpec
from diffusion.streams import Order, generator, stream_seed
from diffusion.training.trainer import Trainer

SEED, STEPS, BATCH, RATE, DIFFUSION_STEPS = 11, 30, 16, 1e-3, 100
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Handwritten digits, uint8.  (1437, 1, 8, 8)"""
    folder = tmp_path_factory.mktemp("data")
    return np.array(open_images(folder, prepare_images("digits", folder).fingerprint).train)


def trainer(images: Any, family: Family, schedule: Schedule, **strategy: Any) -> Trainer:
    changes = {"learning_rate": RATE, "batch_size": BATCH, "diffusion_steps": DIFFUSION_STEPS, "train_steps": STEPS}
    job = TrainJob(
        spec=UNetSpec.parse("b8-n1-m1.2.2.2-a0100"),
        settings=Settings(dataset="digits", resolution=images.shape[-1], channels=1, family=family, schedule=schedule),
        strategy=Strategy.model_validate({"dropout": 0.0, **changes, **strategy}),
        seed=SEED,
        data_fingerprint="none",
        data_folder=Path("data"),
        run_folder=Path("run"),
    )
    return Trainer(job, images, Accelerator())


def plain_network(family: Family) -> Any:
    torch.manual_seed(stream_seed(SEED, "init"))
    learned = family == "iddpm"
    model = UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=2 if learned else 1,
        layers_per_block=1,
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attn_norm_num_groups=8,
        norm_eps=1e-6,
        downsample_padding=0,
        attention_head_dim=8 if learned else None,
        resnet_time_scale_shift="scale_shift" if learned else "default",
        flip_sin_to_cos=learned,
        freq_shift=0 if learned else 1,
    )
    closing = ("conv_out", "conv2", "to_out.0")
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[0].endswith(closing):
            torch.nn.init.zeros_(parameter)
    return model


def plain_simple(output: Tensor, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
    return functional.mse_loss(output, noise)


def plain_hybrid(output: Tensor, images: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
    """L_simple + 0.001 · T · (bits per dimension of one term), image by image, in float64."""
    levels = np.cos((np.arange(DIFFUSION_STEPS + 1) / DIFFUSION_STEPS + 0.008) / 1.008 * np.pi / 2) ** 2
    bars = torch.from_numpy(np.cumprod(np.maximum(levels[1:] / levels[:-1], 0.001)))  # betas are clipped at 0.999
    terms = []
    for index, t in enumerate(steps.tolist()):
        bar, before, clean = bars[t], bars[t - 1] if t else torch.tensor(1.0).double(), images[index].double()
        beta = 1 - bar / before
        noisy = bar.sqrt() * clean + (1 - bar).sqrt() * noise[index].double()
        # q(x_{t-1} | x_t, x_0) as the product of two normal densities in x_{t-1}: precisions add up
        predicted = (noisy - (1 - bar).sqrt() * output[index, 0].detach().double()) / bar.sqrt()
        if t:
            precision = 1 / (1 - before) + (1 - beta) / beta
            true, guess = (
                (x * before.sqrt() / (1 - before) + noisy * (1 - beta).sqrt() / beta) / precision
                for x in (clean, predicted)
            )
            lowest = 1 / precision
        else:
            guess, lowest = predicted, 1 / (1 / (1 - bars[0]) + bars[1] / bars[0] / (1 - bars[1] / bars[0]))
        share = output[index, 1].double() / 2 + 0.5
        model = Normal(guess, torch.exp(share * beta.log() / 2 + (1 - share) * lowest.log() / 2))
        if t:
            nats = kl_divergence(Normal(true, lowest.sqrt()), model)
        else:
            above = torch.where(clean > 0.999, 1e3, clean + 1 / 255)  # white has no upper end
            below = torch.where(clean < -0.999, -1e3, clean - 1 / 255)
            nats = -(model.cdf(above) - model.cdf(below)).log()  # type: ignore[no-untyped-call]
        terms.append(nats.mean() / np.log(2))
    simple = functional.mse_loss(output[:, :1], noise)
    return simple + 0.001 * DIFFUSION_STEPS * torch.stack(terms).mean().float()


def plain_loop(images: Any, model: Any, scheduler: Any, loss_of: Loss) -> tuple[list[float], list[Tensor]]:
    """The losses of all steps and the averaged weights."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    average, order, losses = EMAModel(model.parameters(), decay=0.9999), Order(SEED, len(images)), []
    for step in range(STEPS):
        draws = generator(SEED, "noise", step)
        clean = torch.from_numpy(images[order.batch(step, BATCH)]).float() / 127.5 - 1
        steps = torch.randint(DIFFUSION_STEPS, (BATCH,), generator=draws)
        noise = torch.randn(clean.shape, generator=draws)
        output = model(scheduler.add_noise(clean, noise, steps), steps).sample
        loss = loss_of(output, clean, noise, steps)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.step(model.parameters())
        losses.append(loss.item())
    return losses, average.shadow_params


CASES: dict[Family, tuple[Schedule, Loss]] = {"ddpm": ("linear", plain_simple), "iddpm": ("cosine", plain_hybrid)}


@pytest.mark.parametrize("family", CASES)
def test_the_loss_curve_is_that_of_a_plain_loop(family: Family, images: Any) -> None:
    """On digits of twice the size: at 8×8 a group at the last stage has two values, and no gradient but rounding."""
    schedule, loss_of = CASES[family]
    images = np.kron(images, np.ones((1, 1, 2, 2), np.uint8))  # (1437, 1, 16, 16)
    ours = trainer(images, family, schedule)
    losses = [float(report.loss) for report in ours.steps()]
    scheduler = DDPMScheduler(
        num_train_timesteps=DIFFUSION_STEPS,
        beta_start=1e-3,  # Ho et al.'s 1e-4 and 0.02 times 1000/100
        beta_end=0.2,
        beta_schedule="linear" if schedule == "linear" else "squaredcos_cap_v2",
    )
    expected, averages = plain_loop(images, plain_network(family), scheduler, loss_of)
    assert losses[-1] < 0.6 * losses[0]  # there is a curve to follow
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for average, shadow in zip(ours.average.tensors, averages, strict=True):
        if average.ndim == 4:  # some biases stand before a norm, and Adam makes whole steps of their rounding
            torch.testing.assert_close(average, shadow, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_hundred_steps_of_iddpm_learn_noise_and_variance_and_all_samplers_draw(images: Any) -> None:
    ours = trainer(images, "iddpm", "cosine", train_steps=100, batch_size=32)
    losses = [float(report.loss) for report in ours.steps()]
    assert np.isfinite(losses).all() and np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])
    clean, steps = torch.from_numpy(images[:DIFFUSION_STEPS]).float() / 127.5 - 1, torch.arange(DIFFUSION_STEPS)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    model = ours.accelerator.unwrap_model(ours.model).eval()
    with torch.no_grad():
        output = model(ours.process.diffuse(clean, noise, steps), steps).sample[:, 1:]
    assert output.std() > 0.01 and output.abs().max() < 4  # it left zero, where it began, and stays about [-1, 1]
    samplers: tuple[Sampler, ...] = ("ddpm", "iddpm", "ddim", "dpm-solver++")
    for sampler in samplers:
        sampling = choose_sampling(sampler, 20, "iddpm", DIFFUSION_STEPS)
        drawn = sample_tensors(
            model, ours.job.settings, sampling, diffusion_steps=DIFFUSION_STEPS, indices=range(50), seed=0
        )
        assert drawn.shape == (50, 1, 8, 8) and drawn.isfinite().all() and drawn.abs().max() <= 1
        assert 0.2 < drawn.std() < 1
