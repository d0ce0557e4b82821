from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from diffusion.errors import UserError
from diffusion.process import NoiseProcess, to_model
from diffusion.sample import ddim_sample, image_grid, save_grid
from diffusion.settings import Settings
from diffusion.spec import UNetSpec
from diffusion.unet import build_unet

SETTINGS = Settings(dataset="none", resolution=8, channels=1)


class Ideal(nn.Module):
    """The best possible denoiser of a finite data set: the noise that is left of x_t without E[x_0 | x_t].

    With q(x_t | x_0) = N(√ᾱ x_0, (1 - ᾱ) I) and equally likely members, E[x_0 | x_t] is their mean weighted by
    exp(-‖x_t - √ᾱ x_0‖² / 2(1 - ᾱ)).
    """

    def __init__(self, members: Tensor, diffusion_steps: int) -> None:
        super().__init__()
        self.members = members  # (M, C, H, W) in [-1, 1]
        self.bars = NoiseProcess.make("linear", diffusion_steps).alphas_cumprod
        self.visited: list[int] = []

    def forward(self, noisy: Tensor, step: Tensor) -> SimpleNamespace:
        self.visited.append(int(step))
        bar = self.bars[int(step)].float()
        distances = ((noisy[:, None] - bar.sqrt() * self.members) ** 2).flatten(2).sum(2)  # (N, M)
        weights = (-distances / (2 * (1 - bar))).softmax(1)
        clean = (weights @ self.members.flatten(1)).view_as(noisy)
        return SimpleNamespace(sample=(noisy - bar.sqrt() * clean) / (1 - bar).sqrt())


def members_of(settings: Settings, count: int = 6) -> Any:
    shape = (count, settings.channels, settings.resolution, settings.resolution)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def network(settings: Settings = SETTINGS) -> nn.Module:
    """A network that predicts something: none of its layers is zero."""
    torch.manual_seed(0)
    model: nn.Module = build_unet(UNetSpec.parse("b8-n1-m1.2.2.2-a0100"), settings)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model.eval()


def sample(model: nn.Module, settings: Settings = SETTINGS, **options: Any) -> Any:
    defaults = {"diffusion_steps": 100, "sampling_steps": 10, "num_images": 7, "seed": 0}
    return ddim_sample(model, settings, **{**defaults, **options})


class TestDdim:
    @pytest.mark.parametrize(("diffusion_steps", "sampling_steps"), [(50, 50), (400, 50), (1000, 20)])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_with_the_ideal_denoiser_it_reproduces_members_of_the_data_set(
        self, diffusion_steps: int, sampling_steps: int, channels: int
    ) -> None:
        settings = Settings(dataset="none", resolution=8, channels=channels)
        members = members_of(settings)
        model = Ideal(to_model(torch.from_numpy(members)), diffusion_steps)
        steps = {"diffusion_steps": diffusion_steps, "sampling_steps": sampling_steps}
        images = sample(model, settings, num_images=64, **steps)
        assert images.shape == (64, channels, 8, 8) and images.dtype == np.uint8
        # float32 over some dozen steps: far less than one grey level of 2/255, so at most a rounding apart
        distances = np.abs(images[:, None].astype(int) - members.astype(int)).max(axis=(2, 3, 4))  # (64, 6)
        assert distances.min(axis=1).max() <= 1
        assert set(distances.argmin(axis=1)) == set(range(6))  # none is left out

    @pytest.mark.parametrize(
        ("diffusion_steps", "sampling_steps", "visited"),
        [(100, 10, [99, 89, 79, 69, 59, 49, 39, 29, 19, 9]), (50, 1, [49]), (50, 50, [*range(49, -1, -1)])],
    )
    def test_it_starts_from_the_last_step_and_strides_evenly(
        self, diffusion_steps: int, sampling_steps: int, visited: list[int]
    ) -> None:
        model = Ideal(torch.zeros(1, 1, 8, 8), diffusion_steps)
        sample(model, diffusion_steps=diffusion_steps, sampling_steps=sampling_steps, num_images=1)
        assert model.visited == visited

    def test_a_prediction_outside_the_range_is_clipped_at_every_step(self) -> None:
        """Of two steps, the second must see √ᾱ x̂ + √(1 - ᾱ) ε with x̂ = 1, not the 5 that was predicted."""
        bright = Ideal(torch.full((1, 1, 8, 8), 5.0), 100)
        calls: list[tuple[Tensor, Tensor]] = []
        handle = bright.register_forward_hook(lambda _, inputs, output: calls.append((inputs[0], output.sample)))
        assert (sample(bright, sampling_steps=2) == 255).all()
        handle.remove()
        (_, noise), (seen, _) = calls
        bar = bright.bars[49].float()
        torch.testing.assert_close(seen, bar.sqrt() + (1 - bar).sqrt() * noise)

    def test_steps_that_do_not_divide_are_refused_before_anything_is_sampled(self) -> None:
        model = Ideal(torch.zeros(1, 1, 8, 8), 100)
        with pytest.raises(UserError, match=r"^'29' sampling steps do not divide 100; 25 would$"):
            sample(model, sampling_steps=29)
        assert model.visited == []


class TestRandomness:
    def test_images_do_not_depend_on_the_batch_size(self) -> None:
        model = network()
        whole = sample(model, batch_size=7).astype(int)
        assert whole.std() > 10  # there is something to compare
        for batch_size in (1, 3, 256):
            # convolutions of other batch sizes sum in another order: at most a rounding apart
            assert np.abs(sample(model, batch_size=batch_size) - whole).max() <= 1

    def test_the_first_images_do_not_depend_on_how_many_follow(self) -> None:
        model = network()
        assert np.abs(sample(model, num_images=3).astype(int) - sample(model)[:3]).max() <= 1

    def test_a_seed_gives_the_same_images_and_another_seed_others(self) -> None:
        model = network()
        assert (sample(model) == sample(model)).all()
        assert (sample(model) != sample(model, seed=1)).mean() > 0.5

    def test_no_two_images_are_alike(self) -> None:
        images = sample(network(), batch_size=3)
        assert len({image.tobytes() for image in images}) == 7

    def test_the_state_of_the_global_generator_does_not_matter(self) -> None:
        model = network()
        first = sample(model)
        torch.manual_seed(77)
        assert (sample(model) == first).all()

    def test_progress_counts_images(self) -> None:
        told: list[int] = []
        sample(network(), batch_size=3, on_progress=told.append)
        assert told == [3, 6, 7]


class TestGrid:
    def test_images_stand_row_by_row_where_they_belong(self) -> None:
        images = np.stack([np.full((1, 8, 8), 10 * index, np.uint8) for index in range(1, 24)])
        images[:, 0, 0, 7] = 255  # the upper right corner of each
        picture = image_grid(images)
        factor = 6  # 91 pixels × 6 is nearest to 512
        assert picture.mode == "L" and picture.size == (91 * factor, 28 * factor)  # 10·9 + 1 by 3·9 + 1
        pixels = np.asarray(picture)[::factor, ::factor]
        for index, image in enumerate(images):
            top, left = 9 * (index // 10) + 1, 9 * (index % 10) + 1
            assert (pixels[top : top + 8, left : left + 8] == image[0]).all()
        assert (pixels[::9] == 64).all() and (pixels[:, ::9] == 64).all()
        assert (pixels[19:27, 28:] == 64).all()  # three images in the last row; the rest is grey

    def test_it_is_enlarged_without_blurring(self) -> None:
        pixels = np.asarray(image_grid(members_of(SETTINGS)))
        factor = pixels.shape[1] // 91
        assert (pixels == np.kron(pixels[::factor, ::factor], np.ones((factor, factor), np.uint8))).all()

    def test_colours_stay_in_their_channels(self) -> None:
        red = np.zeros((1, 3, 32, 32), np.uint8)
        red[:, 0] = 200
        picture = image_grid(red, columns=1)
        assert picture.mode == "RGB" and picture.getpixel((picture.width // 2, picture.height // 2)) == (200, 0, 0)

    def test_a_wide_grid_is_not_made_smaller(self) -> None:
        assert image_grid(np.zeros((10, 1, 96, 96), np.uint8)).size == (971, 98)

    def test_it_is_saved_whole(self, tmp_path: Path) -> None:
        images = members_of(SETTINGS)
        save_grid(images, tmp_path / "samples.png")
        assert [path.name for path in tmp_path.iterdir()] == ["samples.png"]
        with Image.open(tmp_path / "samples.png") as saved:
            assert (np.asarray(saved) == np.asarray(image_grid(images))).all()
