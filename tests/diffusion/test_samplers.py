"""The samplers against the ideal denoiser, whose samples are known, and step by step against formulas and diffusers."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, DPMSolverMultistepScheduler
from numpy.typing import NDArray
from torch import Tensor, nn

from diffusion.errors import UserError
from diffusion.process import NoiseProcess, betas, to_model
from diffusion.samplers import sample_images, sample_tensors, scheduler_for, trailing_steps, usual_batch_size
from diffusion.settings import Family, Sampler, Sampling, Schedule, Settings, Variance, choose_sampling
from diffusion.spec import UNetSpec
from diffusion.streams import generator
from diffusion.unet import build_unet

SAMPLERS: tuple[Sampler, ...] = ("ddpm", "iddpm", "ddim", "dpm-solver++")
ANCESTRAL: tuple[Sampler, ...] = ("ddpm", "iddpm")


def settings_of(family: Family = "ddpm", schedule: Schedule = "linear", channels: int = 1) -> Settings:
    return Settings(dataset="none", resolution=8, channels=channels, family=family, schedule=schedule)


def family_for(sampler: Sampler) -> Family:
    return "iddpm" if sampler == "iddpm" else "ddpm"


def noise_of(index: int, count: int, seed: int = 0, channels: int = 1) -> Tensor:
    """The first draws of an image's own generator.  (count, C, 8, 8)"""
    own = generator(seed, "sample", index)
    return torch.stack([torch.randn((channels, 8, 8), generator=own) for _ in range(count)])


class Ideal(nn.Module):
    """The best possible denoiser of a finite data set: the noise that is left of x_t without E[x_0 | x_t].

    With q(x_t | x_0) = N(√ᾱ x_0, (1 - ᾱ) I) and equally likely members, E[x_0 | x_t] is their mean weighted by
    exp(-‖x_t - √ᾱ x_0‖² / 2(1 - ᾱ)). With `output` its variance is learned: that much everywhere.
    """

    def __init__(
        self, members: Tensor, diffusion_steps: int, schedule: Schedule = "linear", output: float | None = None
    ) -> None:
        super().__init__()
        self.members, self.output = members, output  # (M, C, H, W) in [-1, 1]
        self.bars = NoiseProcess.make(schedule, diffusion_steps).alphas_cumprod
        self.visited: list[int] = []

    def forward(self, noisy: Tensor, step: Tensor) -> SimpleNamespace:
        self.visited.append(int(step))
        bar = self.bars[int(step)].float()
        distances = ((noisy[:, None] - bar.sqrt() * self.members) ** 2).flatten(2).sum(2)  # (N, M)
        weights = (-distances / (2 * (1 - bar))).softmax(1)
        clean = (weights @ self.members.flatten(1)).view_as(noisy)
        noise = (noisy - bar.sqrt() * clean) / (1 - bar).sqrt()
        if self.output is None:
            return SimpleNamespace(sample=noise)
        return SimpleNamespace(sample=torch.cat([noise, torch.full_like(noise, self.output)], dim=1))


def members_of(channels: int = 1, count: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, channels, 8, 8)).astype(np.uint8)


def ideal(sampler: Sampler, diffusion_steps: int, schedule: Schedule = "linear", channels: int = 1) -> Ideal:
    members = to_model(torch.from_numpy(members_of(channels)))
    return Ideal(members, diffusion_steps, schedule, output=0.3 if sampler == "iddpm" else None)


@dataclass
class Scripted:
    """A model that answers with planned outputs, and keeps the images that it was shown."""

    channels: int = 1
    scale: float = 1.0
    shown: list[Tensor] = field(default_factory=list)
    visited: list[int] = field(default_factory=list)
    training: bool = False

    def answer(self, call: int, count: int) -> Tensor:
        draws = torch.Generator().manual_seed(call)
        return self.scale * torch.randn((count, self.channels, 8, 8), generator=draws)

    def __call__(self, images: Tensor, step: Tensor) -> SimpleNamespace:
        self.shown.append(images)
        self.visited.append(int(step))
        return SimpleNamespace(sample=self.answer(len(self.shown) - 1, len(images)))

    def to(self, device: Any) -> "Scripted":
        return self

    def eval(self) -> "Scripted":
        return self

    def train(self, mode: bool) -> "Scripted":
        return self


def network(family: Family = "ddpm", channels: int = 1, dropout: float = 0.0) -> nn.Module:
    """A network that predicts something: none of its layers is zero."""
    torch.manual_seed(0)
    model: nn.Module = build_unet(
        UNetSpec.parse("b8-n1-m1.2.2.2-a0100"), settings_of(family, channels=channels), dropout
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model.eval()


def drawn(model: Any, settings: Settings, sampler: Sampler, steps: int, **options: Any) -> NDArray[np.uint8]:
    options = {"diffusion_steps": 100, "indices": range(7), "seed": 0, **options}
    sampling = choose_sampling(sampler, steps, settings.family, options["diffusion_steps"])
    return sample_images(model, settings, sampling, **options)


def tensors(model: Any, settings: Settings, sampling: Sampling, **options: Any) -> Tensor:
    options = {"diffusion_steps": 100, "indices": range(3), "seed": 0, **options}
    return sample_tensors(model, settings, sampling, **options)


class TestIdealDenoiser:
    @pytest.mark.parametrize("sampler", SAMPLERS)
    @pytest.mark.parametrize(
        ("schedule", "diffusion_steps", "steps", "channels"),
        [("linear", 50, 50, 1), ("linear", 400, 30, 3), ("cosine", 100, 100, 3), ("cosine", 400, 50, 1)],
    )
    def test_samples_are_members_of_the_data_set_and_none_is_left_out(
        self, sampler: Sampler, schedule: Schedule, diffusion_steps: int, steps: int, channels: int
    ) -> None:
        settings, members = settings_of(family_for(sampler), schedule, channels), members_of(channels)
        model = ideal(sampler, diffusion_steps, schedule, channels)
        images = drawn(model, settings, sampler, steps, diffusion_steps=diffusion_steps, indices=range(100))
        assert images.shape == (100, channels, 8, 8) and images.dtype == np.uint8
        # float32 over some hundred steps: far less than one grey level of 2/255, so at most a rounding apart
        distances = np.abs(images[:, None].astype(int) - members.astype(int)).max(axis=(2, 3, 4))  # (100, 8)
        assert distances.min(axis=1).max() <= 1
        assert set(distances.argmin(axis=1)) == set(range(8))

    @pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++"])
    @pytest.mark.parametrize("steps", [7, 29, 99])
    def test_steps_that_do_not_divide_end_at_a_member_as_well(self, sampler: Sampler, steps: int) -> None:
        members = members_of().astype(int)
        images = drawn(ideal(sampler, 100), settings_of(), sampler, steps, indices=range(20)).astype(int)
        assert np.abs(images[:, None] - members).max(axis=(2, 3, 4)).min(axis=1).max() <= 1


class TestSteps:
    @pytest.mark.parametrize(
        ("sampler", "diffusion_steps", "steps", "visited"),
        [
            ("ddim", 100, 10, [99, 89, 79, 69, 59, 49, 39, 29, 19, 9]),
            ("dpm-solver++", 100, 10, [99, 89, 79, 69, 59, 49, 39, 29, 19, 9]),
            ("ddim", 50, 1, [49]),
            ("dpm-solver++", 50, 1, [49]),
            ("ddim", 100, 7, [99, 85, 70, 56, 42, 28, 13]),
            ("dpm-solver++", 100, 7, [99, 85, 70, 56, 42, 28, 13]),
            ("ddpm", 100, 10, [99, 88, 77, 66, 55, 44, 33, 22, 11, 0]),
            ("iddpm", 100, 7, [99, 82, 66, 50, 33, 16, 0]),
            ("ddpm", 50, 2, [49, 0]),
            *[(sampler, 50, 50, [*range(49, -1, -1)]) for sampler in SAMPLERS],
        ],
    )
    def test_every_sampler_starts_from_the_last_step_and_strides_evenly(
        self, sampler: Sampler, diffusion_steps: int, steps: int, visited: list[int]
    ) -> None:
        model = ideal(sampler, diffusion_steps)
        settings = settings_of(family_for(sampler))
        drawn(model, settings, sampler, steps, diffusion_steps=diffusion_steps, indices=range(1))
        assert model.visited == visited

    @pytest.mark.parametrize("diffusion_steps", [50, 100, 400, 1000])
    def test_trailing_steps_are_those_of_diffusers_where_they_divide_and_exact_elsewhere(
        self, diffusion_steps: int
    ) -> None:
        scheduler = DDIMScheduler(num_train_timesteps=diffusion_steps, timestep_spacing="trailing")
        for steps in range(1, diffusion_steps + 1):
            ours = trailing_steps(diffusion_steps, steps)
            assert ours[0] == diffusion_steps - 1 and ours[-1] >= 0 and len(set(ours)) == steps
            if diffusion_steps % steps == 0:
                scheduler.set_timesteps(steps)
                assert ours == scheduler.timesteps.tolist()
            strides = [diffusion_steps * (steps - index) / steps - 1 for index in range(steps)]
            assert np.abs(np.array(ours) - strides).max() <= 0.5

    @pytest.mark.parametrize(
        ("diffusion_steps", "steps"),
        [
            *[(1000, steps) for steps in (10, 25, 30, 50, 100, 250, 1000)],
            *[(4000, steps) for steps in (25, 50, 100, 200, 250, 400, 1000, 4000)],
            *[(400, steps) for steps in (30, 50, 100, 400)],
        ],
    )
    def test_even_spacing_is_that_of_nichol_and_dhariwal(self, diffusion_steps: int, steps: int) -> None:
        """Their code adds up (T - 1)/(n - 1) from 0 and rounds each sum (openai/improved-diffusion, respace.py)."""
        sums = np.cumsum([0.0, *[(diffusion_steps - 1) / (steps - 1)] * (steps - 1)])
        sampling = Sampling(sampler="ddpm", steps=steps)
        scheduler = scheduler_for(settings_of(), sampling, diffusion_steps)
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps.tolist() == [round(float(value)) for value in sums[::-1]]


def bars_of(schedule: Schedule, diffusion_steps: int) -> NDArray[np.float64]:
    return np.array(np.cumprod(1 - betas(schedule, diffusion_steps)), dtype=np.float64)


def clean_of(noisy: Tensor, noise: Tensor, bar: float) -> Tensor:
    return torch.clamp((noisy - (1 - bar) ** 0.5 * noise) / bar**0.5, -1, 1)


def ancestral_reference(
    noisy: Tensor, output: Tensor, fresh: Tensor, bar: float, bar_after: float, variance: Variance
) -> Tensor:
    """One step of Algorithm 2 in float64: Eq. 7 of Ho et al. 2020, Eq. 15 of Nichol & Dhariwal 2021."""
    noise = output[:, : noisy.shape[1]]
    beta = 1 - bar / bar_after
    clean = clean_of(noisy, noise, bar)
    mean = (bar_after**0.5 * beta * clean + (1 - beta) ** 0.5 * (1 - bar_after) * noisy) / (1 - bar)
    posterior = max(beta * (1 - bar_after) / (1 - bar), 1e-30)
    if variance == "learned_range":
        share = (output[:, noisy.shape[1] :] + 1) / 2
        deviation = (share * np.log(beta) + (1 - share) * np.log(posterior)).exp() ** 0.5
    else:
        deviation = torch.tensor((beta if variance == "fixed_large" else posterior) ** 0.5)
    return torch.add(mean, deviation * fresh)


class TestEachStep:
    """Every step of a scripted run; schedulers keep float32, which costs digits of 1 - ᾱ at the last steps."""

    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    @pytest.mark.parametrize("steps", [7, 10, 100])
    @pytest.mark.parametrize("variance", ["fixed_large", "fixed_small", "learned_range"])
    def test_ancestral_steps_are_the_formulas(self, schedule: Schedule, steps: int, variance: Variance) -> None:
        learned = variance == "learned_range"
        settings = settings_of("iddpm" if learned else "ddpm", schedule, channels=2)
        model = Scripted(channels=4 if learned else 2)
        sampling = Sampling(sampler="iddpm" if learned else "ddpm", steps=steps, variance=variance)
        result = tensors(model, settings, sampling)
        bars, noise = bars_of(schedule, 100), torch.stack([noise_of(i, steps, channels=2) for i in range(3)], dim=1)
        assert torch.equal(model.shown[0], noise[0])
        for call, (shown, after) in enumerate(zip(model.shown, [*model.shown[1:], result], strict=True)):
            last = call == steps - 1
            bar, bar_after = bars[model.visited[call]], 1.0 if last else bars[model.visited[call + 1]]
            fresh = torch.zeros(3, 2, 8, 8) if last else noise[call + 1]
            inputs = (shown.double(), model.answer(call, 3).double(), fresh.double())
            expected = ancestral_reference(*inputs, bar, bar_after, variance)
            torch.testing.assert_close(after.double(), expected, rtol=0, atol=2e-4)

    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    @pytest.mark.parametrize("steps", [1, 7, 10, 99, 100])
    def test_ddim_steps_are_the_formula(self, schedule: Schedule, steps: int) -> None:
        """√ᾱ' x̂_0 + √(1 - ᾱ') ε, Eq. 12 of Song et al. 2021 with σ = 0; the last ᾱ' is one."""
        model, bars = Scripted(scale=0.3), bars_of(schedule, 100)
        result = tensors(model, settings_of("ddpm", schedule), Sampling(sampler="ddim", steps=steps))
        for call, (shown, after) in enumerate(zip(model.shown, [*model.shown[1:], result], strict=True)):
            bar_after = 1.0 if call == steps - 1 else bars[model.visited[call + 1]]
            noise = model.answer(call, 3).double()
            clean = clean_of(shown.double(), noise, bars[model.visited[call]])
            expected = bar_after**0.5 * clean + (1 - bar_after) ** 0.5 * noise
            torch.testing.assert_close(after.double(), expected, rtol=0, atol=2e-4)

    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    @pytest.mark.parametrize("steps", [1, 2, 7, 20, 100])
    def test_dpm_solver_steps_are_the_formula(self, schedule: Schedule, steps: int) -> None:
        """Algorithm 2 of Lu et al. 2022 with λ = log(√ᾱ / √(1 - ᾱ)); first and last step are of first order."""
        model, bars = Scripted(scale=0.3), bars_of(schedule, 100)
        result = tensors(model, settings_of("ddpm", schedule), Sampling(sampler="dpm-solver++", steps=steps))
        levels = [np.log(bar / (1 - bar)) / 2 for bar in bars[model.visited]]
        cleans = [
            clean_of(shown.double(), model.answer(call, 3).double(), bars[model.visited[call]])
            for call, shown in enumerate(model.shown)
        ]
        torch.testing.assert_close(result.double(), cleans[-1], rtol=0, atol=2e-4)
        for call in range(steps - 1):
            bar, bar_after = bars[model.visited[call]], bars[model.visited[call + 1]]
            direction, stride = cleans[call], levels[call + 1] - levels[call]
            if call:
                ratio = (levels[call] - levels[call - 1]) / stride
                direction = (1 + 1 / (2 * ratio)) * cleans[call] - 1 / (2 * ratio) * cleans[call - 1]
            shrunk = ((1 - bar_after) / (1 - bar)) ** 0.5 * model.shown[call].double()
            expected = shrunk - bar_after**0.5 * np.expm1(-stride) * direction
            torch.testing.assert_close(model.shown[call + 1].double(), expected, rtol=0, atol=2e-4)


def by_diffusers(scheduler: Any, model: Any, images: Tensor, steps: int, channels: int) -> Tensor:
    scheduler.set_timesteps(steps)
    with torch.no_grad():
        for step in scheduler.timesteps:
            images = scheduler.step(model(images, step).sample[:, :channels], step, images).prev_sample
    return images


class TestDiffusers:
    @pytest.mark.parametrize("family", ["ddpm", "iddpm"])
    @pytest.mark.parametrize("steps", [1, 5, 25, 50])
    def test_ddim_is_its_scheduler_to_the_bit_where_the_steps_divide(self, family: Family, steps: int) -> None:
        settings, model = settings_of(family), network(family)
        scheduler = DDIMScheduler(
            num_train_timesteps=50, trained_betas=betas("linear", 50), timestep_spacing="trailing", clip_sample=True
        )
        noise = torch.cat([noise_of(index, 1) for index in range(3)])
        ours = tensors(model, settings, Sampling(sampler="ddim", steps=steps), diffusion_steps=50)
        assert torch.equal(ours, by_diffusers(scheduler, model, noise, steps, channels=1))

    # its np.array(tensor) is deprecated in numpy
    @pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
    @pytest.mark.parametrize("schedule", ["linear", "cosine"])
    @pytest.mark.parametrize("steps", [1, 10, 20])
    def test_dpm_solver_is_its_scheduler_with_static_clipping(self, schedule: Schedule, steps: int) -> None:
        settings, model = settings_of("ddpm", schedule), network()
        scheduler = DPMSolverMultistepScheduler(
            num_train_timesteps=100,
            trained_betas=betas(schedule, 100),
            solver_order=2,
            timestep_spacing="trailing",
            thresholding=True,
            sample_max_value=1.0,  # so that no image is stretched: values beyond are cut
        )
        noise = torch.cat([noise_of(index, 1) for index in range(3)])
        ours = tensors(model, settings, Sampling(sampler="dpm-solver++", steps=steps))
        theirs = by_diffusers(scheduler, model, noise, steps, channels=1)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)  # float32 over the steps

    @pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 10), ("ddpm", 50), ("iddpm", 10), ("iddpm", 50)])
    def test_a_pipeline_with_one_generator_per_image_draws_the_same(self, sampler: Sampler, steps: int) -> None:
        settings = settings_of(family_for(sampler), "cosine" if sampler == "iddpm" else "linear", channels=3)
        model, sampling = network(settings.family, 3), choose_sampling(sampler, steps, settings.family, 50)
        pipeline = DDPMPipeline(unet=model, scheduler=scheduler_for(settings, sampling, 50))
        pipeline.set_progress_bar_config(disable=True)
        theirs = pipeline(
            batch_size=3,
            generator=[generator(0, "sample", index) for index in range(3)],
            num_inference_steps=steps,
            output_type="pt",
        ).images
        ours = tensors(model, settings, sampling, diffusion_steps=50) / 2 + 0.5
        torch.testing.assert_close(ours.clamp(0, 1), theirs.cpu(), rtol=0, atol=1e-6)
        assert ours.std() > 0.05

    def test_the_scheduler_comes_back_from_its_configuration(self) -> None:
        sampling = choose_sampling("iddpm", 20, "iddpm", 100)
        scheduler = scheduler_for(settings_of("iddpm", "cosine"), sampling, 100)
        again = DDPMScheduler.from_config(scheduler.config)
        assert torch.equal(again.betas, scheduler.betas) and len(again.betas) == 100
        assert (again.config.variance_type, again.config.timestep_spacing) == ("learned_range", "linspace")
        assert isinstance(scheduler.config.trained_betas, list)  # it is written as JSON


class TestVariance:
    @pytest.mark.parametrize(("output", "variance"), [(-1.0, "fixed_small"), (1.0, "fixed_large")])
    @pytest.mark.parametrize("steps", [10, 100])
    def test_the_ends_of_the_learned_range_are_the_fixed_variances(
        self, output: float, variance: Variance, steps: int
    ) -> None:
        members = to_model(torch.from_numpy(members_of()))
        shown = []
        for model, family, sampling in (
            (Ideal(members, 100, output=output), "iddpm", Sampling(sampler="iddpm", steps=steps)),
            (Ideal(members, 100), "ddpm", Sampling(sampler="ddpm", steps=steps, variance=variance)),
        ):
            seen: list[Tensor] = []
            model.register_forward_hook(lambda _, inputs, output, seen=seen: seen.append(inputs[0]))
            tensors(model, settings_of(family), sampling)  # type: ignore[arg-type]
            shown.append(torch.stack(seen))
        torch.testing.assert_close(shown[0], shown[1], rtol=0, atol=1e-3)

    @pytest.mark.parametrize(("steps", "variance"), [(100, "fixed_large"), (99, "fixed_small")])
    def test_ddpm_that_names_no_variance_takes_the_usual_one(self, steps: int, variance: Variance) -> None:
        scheduler = scheduler_for(settings_of(), Sampling(sampler="ddpm", steps=steps), 100)
        assert scheduler.config.variance_type == variance

    def test_a_variance_that_is_named_is_kept(self) -> None:
        sampling = Sampling(sampler="ddpm", steps=10, variance="fixed_large")
        assert scheduler_for(settings_of(), sampling, 100).config.variance_type == "fixed_large"

    @pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm-solver++"])
    def test_the_learned_variance_does_not_matter_to_samplers_that_have_another(self, sampler: Sampler) -> None:
        members = to_model(torch.from_numpy(members_of()))
        settings = settings_of("iddpm")
        low, high = (drawn(Ideal(members, 100, output=x), settings, sampler, 10) for x in (-5.0, 5.0))
        assert (low == high).all()


class TestClipping:
    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_a_clean_image_outside_the_range_is_clipped_at_every_step(self, sampler: Sampler) -> None:
        bright = torch.full((1, 1, 8, 8), 5.0)
        settings, output = settings_of(family_for(sampler)), 0.0 if sampler == "iddpm" else None
        images = drawn(Ideal(bright, 100, output=output), settings, sampler, 10)
        grey = drawn(Ideal(bright / 5, 100, output=output), settings, sampler, 10)
        assert (images == 255).all() and (grey == 255).all()

    def test_the_next_step_sees_the_clipped_image(self) -> None:
        """Of two steps of DDIM, the second must see √ᾱ x̂ + √(1 - ᾱ) ε with x̂ = 1, not the 5 that was predicted."""
        bright = Ideal(torch.full((1, 1, 8, 8), 5.0), 100)
        calls: list[tuple[Tensor, Tensor]] = []
        bright.register_forward_hook(lambda _, inputs, output: calls.append((inputs[0], output.sample)))
        drawn(bright, settings_of(), "ddim", 2)
        (_, noise), (seen, _) = calls
        bar = bright.bars[49].float()
        torch.testing.assert_close(seen, bar.sqrt() + (1 - bar).sqrt() * noise)


class TestRandomness:
    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_images_do_not_depend_on_the_batch_size(self, sampler: Sampler) -> None:
        family = family_for(sampler)
        model, settings = network(family), settings_of(family)
        whole = drawn(model, settings, sampler, 5, batch_size=256).astype(int)
        assert whole.std() > 10  # there is something to compare
        for batch_size in (1, 3):
            # convolutions of other batch sizes sum in another order: at most a rounding apart
            assert np.abs(drawn(model, settings, sampler, 5, batch_size=batch_size) - whole).max() <= 1

    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_with_the_ideal_denoiser_they_are_equal_however_they_are_divided(self, sampler: Sampler) -> None:
        model, settings = ideal(sampler, 100), settings_of(family_for(sampler))
        whole = drawn(model, settings, sampler, 20, indices=range(30))
        for batch_size in (1, 7, 30):
            assert (drawn(model, settings, sampler, 20, indices=range(30), batch_size=batch_size) == whole).all()
        parts = [
            drawn(model, settings, sampler, 20, indices=part) for part in (range(11), range(11, 12), range(12, 30))
        ]
        assert (np.concatenate(parts) == whole).all()
        assert (drawn(model, settings, sampler, 20, indices=range(2, 30, 3)) == whole[2::3]).all()
        assert len({image.tobytes() for image in whole}) > 1

    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_a_seed_gives_the_same_images_and_another_seed_others(self, sampler: Sampler) -> None:
        family = family_for(sampler)
        model, settings = network(family), settings_of(family)
        first = drawn(model, settings, sampler, 5)
        torch.manual_seed(77)  # the state of the global generator does not matter
        assert (drawn(model, settings, sampler, 5) == first).all()
        assert (drawn(model, settings, sampler, 5, seed=1) != first).mean() > 0.5
        assert len({image.tobytes() for image in first}) == 7

    def test_all_samplers_start_from_the_same_noise(self) -> None:
        shown = []
        for sampler in SAMPLERS:
            model = Scripted(channels=2 if sampler == "iddpm" else 1)
            drawn(model, settings_of(family_for(sampler)), sampler, 2)
            shown.append(model.shown[0])
        assert all(torch.equal(noise, shown[0]) for noise in shown)
        assert torch.equal(shown[0], torch.cat([noise_of(index, 1) for index in range(7)]))

    def test_a_network_in_training_samples_without_dropout_and_goes_on_training(self) -> None:
        settings, expected = settings_of(), drawn(network(), settings_of(), "ddim", 5)
        model = network(dropout=0.5).train()
        assert (drawn(model, settings, "ddim", 5) == expected).all()
        assert model.training and all(module.training for module in model.modules())


class TestCalls:
    @pytest.mark.parametrize(
        ("resolution", "device", "images"), [(8, "cpu", 256), (32, "cpu", 64), (64, "cpu", 16), (32, "cuda", 256)]
    )
    def test_a_batch_on_a_cpu_has_at_most_so_many_pixels(self, resolution: int, device: str, images: int) -> None:
        assert usual_batch_size(resolution, device) == images

    def test_progress_counts_images(self) -> None:
        told: list[int] = []
        drawn(
            ideal("ddim", 100), settings_of(), "ddim", 2, batch_size=3, indices=range(10, 17), on_progress=told.append
        )
        assert told == [3, 6, 7]

    def test_no_indices_give_no_images(self) -> None:
        assert drawn(ideal("ddim", 100), settings_of(), "ddim", 2, indices=range(0)).shape == (0, 1, 8, 8)

    def test_pixels_are_the_rounded_tensors(self) -> None:
        model, settings = network(), settings_of()
        exact = tensors(model, settings, Sampling(sampler="ddim", steps=10))
        assert exact.dtype == torch.float32 and exact.min() >= -1 and exact.max() <= 1
        pixels = drawn(model, settings, "ddim", 10, indices=range(3))
        assert np.abs((exact.numpy() + 1) * 127.5 - pixels).max() <= 0.5 + 1e-4

    @pytest.mark.parametrize(
        ("sampling", "sentence"),
        [
            (Sampling(steps=101), "'101' sampling steps are more than the 100 of the diffusion; take fewer"),
            (
                Sampling(sampler="ddpm", steps=1),
                "'1' sampling step would be step 0 alone in ddpm; take at least 2, or ddim",
            ),
            (
                Sampling(sampler="iddpm", steps=10),
                "'iddpm' needs the learned variance of the family iddpm; take ddpm, ddim or dpm-solver++",
            ),
        ],
    )
    def test_a_sampling_that_cannot_be_is_refused_before_anything_is_sampled(
        self, sampling: Sampling, sentence: str
    ) -> None:
        model = Scripted()
        with pytest.raises(UserError) as caught:
            tensors(model, settings_of(), sampling)
        assert str(caught.value) == sentence and model.visited == []

    @pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++"])
    def test_a_sampler_that_no_pipeline_has_has_no_scheduler_to_export(self, sampler: Sampler) -> None:
        with pytest.raises(
            UserError, match=f"^'{sampler.replace('+', '.')}' is no sampler of a DDPMPipeline; take ddpm, "
        ):
            scheduler_for(settings_of(), Sampling(sampler=sampler, steps=10), 100)
