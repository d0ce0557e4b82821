"""Latents as a data set: read, trained on, drawn and scored without ever being pixels, and a teacher of them halved."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, LDMPipeline, UNet2DModel, VQModel
from teachers import teacher
from typed import Typed, answering, found, seat

from diffusion.data.images import open_images, prepare_images
from diffusion.distill.folder import load_student
from diffusion.errors import UserError
from diffusion.process import to_model
from diffusion.samplers import sample_images
from diffusion.scores.fid import extract_features
from diffusion.scores.grids import as_picture
from diffusion.settings import Sampling, Settings

SPEC = "b8-n1-m1.2.2-a000"
TINY = ["--set", "batch_size=8", "--set", "num_images=16", "--set", "sampling_steps=3", "--train-steps", "4"]


def latents(count: int = 40, channels: int = 4, side: int = 8) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Made up: smooth, each channel with a mean and a deviation of its own, beyond -1 and 1."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(count, channels, side // 2, side // 2)).repeat(2, axis=2).repeat(2, axis=3)
    return np.asarray(coarse * np.linspace(0.8, 1.4, channels)[:, None, None] + 0.2, dtype=np.float32)


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a command in a folder with a file of latents."""
    seat(tmp_path, monkeypatch)
    monkeypatch.setattr("agent.compress.loop.latencies", lambda *_: None)
    np.savez("latents.npz", latents=latents(), latents_test=latents(8))
    return answering(monkeypatch, capsys)


def test_latents_are_kept_as_they_came(tmp_path: Path) -> None:
    np.savez(tmp_path / "half.npz", latents=latents().astype(np.float16), other=np.zeros(3))
    card = prepare_images(str(tmp_path / "half.npz"), tmp_path / "data")
    assert (card.values, card.channels, card.resolution, card.train_count) == ("latents", 4, 8, 40)
    kept = open_images(tmp_path / "data", card.fingerprint).train
    assert kept.dtype == np.float32 and np.array_equal(kept, latents().astype(np.float16).astype(np.float32))
    assert card.mean == pytest.approx(kept.mean(axis=(0, 2, 3)), abs=1e-5)
    seen = to_model(torch.from_numpy(np.array(kept)))
    assert torch.equal(seen, torch.from_numpy(np.array(kept))) and seen.abs().max() > 1


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"latents": np.zeros((4, 4, 8, 8), np.uint8)}, "type uint8; latents must be float16 or float32"),
        ({"latents": np.zeros((4, 8, 8, 4), np.float32)}, "shape (4, 8, 8, 4); it must be N×C×R×R"),
        ({"latents": np.zeros((4, 4, 12, 12), np.float32)}, "12×12; the side must be a multiple of 8"),
        ({"latents": np.full((4, 4, 8, 8), np.nan, np.float32)}, "values that are not finite"),
        ({"latents": latents(), "latents_test": latents(side=16)}, "they must have one shape"),
    ],
)
def test_what_are_no_latents_is_one_sentence(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    path = tmp_path / "wrong.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError) as said:
        prepare_images(str(path), tmp_path / "data")
    assert str(said.value).startswith(f"'{path}' holds latents") and words in str(said.value)


def test_latents_that_are_not_scaled_are_noted_and_none_is_resized(tmp_path: Path) -> None:
    np.savez(tmp_path / "raw.npz", latents=10 * latents())
    card = prepare_images(str(tmp_path / "raw.npz"), tmp_path / "data", resolution=8)
    assert "scaled to about one" in card.notes[0]
    with pytest.raises(UserError, match=r"--resolution 16: .* which are not resized"):
        prepare_images(str(tmp_path / "raw.npz"), tmp_path / "data", resolution=16)


@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++", "ddpm"])
def test_no_sampler_clips_latents(sampler: Any) -> None:
    class Shifted(torch.nn.Module):  # predicts the noise of images that are 3 everywhere
        def forward(self, images: torch.Tensor, step: torch.Tensor) -> Any:
            bar = float(torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)[int(step)])
            return type("Output", (), {"sample": (images - bar**0.5 * 3) / (1 - bar) ** 0.5})

    settings = Settings(dataset="made-up", resolution=8, channels=4, values="latents")
    sampling = Sampling(sampler=sampler, steps=10, variance="fixed_small" if sampler == "ddpm" else None)
    drawn = sample_images(Shifted(), settings, sampling, diffusion_steps=1000, indices=range(2), seed=0)
    assert drawn.dtype == np.float32 and drawn == pytest.approx(3, abs=0.05)
    pixels = settings.model_copy(update={"values": None})
    as_pixels = sample_images(Shifted(), pixels, sampling, diffusion_steps=1000, indices=range(2), seed=0)
    assert as_pixels.dtype == np.uint8 and (as_pixels == 255).all()


def test_features_are_the_means_of_cells() -> None:
    images = latents(3, side=16)
    cells = images.astype(np.float64).reshape(3, 4, 8, 2, 8, 2).mean(axis=(3, 5)).reshape(3, 256)
    assert extract_features(images, "latents") == pytest.approx(cells)
    picture = as_picture(images)
    assert picture.shape == (3, 3, 16, 16) and picture.dtype == np.uint8
    assert as_picture(np.zeros((1, 2, 8, 8), np.float32)).tolist() == [[[[127] * 8] * 8]]


def test_a_network_of_latents_goes_through_the_whole_command(typed: Typed) -> None:
    unet = teacher(SPEC, side=8, channels=4)
    noise = DDIMScheduler(1000, 0.0015, 0.0195, "scaled_linear", clip_sample=False)
    LDMPipeline(autoencoder(), unet, noise).save_pretrained("pipeline")
    given = ["compress", "pipeline", "--dataset", "latents.npz", "--target", "0.6", "--candidates", "20"]
    code, out, err = typed(*given, *TINY, "--supernet-steps", "2", "--json")
    assert code == 0, err
    last = json.loads(out.splitlines()[-1])
    assert (last["metric"], last["reason"]) == ("fid-latents", "rounds") and last["student"]["scores"][0] > 0
    drawn = np.load(Path(found(typed("sample", "2", "--num-images", "3", "--json"))["folder"], "latents.npy"))
    assert drawn.shape == (3, 4, 8, 8) and drawn.dtype == np.float32
    found(typed("export", "2", "student", "--json"))
    assert "load_student(folder)" in Path("student", "README.md").read_text()
    student, scheduler = load_student(Path("student")), DDIMScheduler.from_pretrained("student/scheduler")
    assert scheduler.config["clip_sample"] is False
    again = np.load(Path(found(typed("sample", "student", "--num-images", "1", "--json"))["folder"], "latents.npy"))
    assert again.shape == (1, 4, 8, 8)
    pictures = LDMPipeline(autoencoder(), student, scheduler)
    pictures.set_progress_bar_config(disable=True)
    assert pictures(1, num_inference_steps=2, output_type="np").images.shape == (1, 16, 16, 3)


def test_a_spec_trained_on_latents_is_exported_for_diffusers(typed: Typed) -> None:
    done = typed("train", SPEC, "--dataset", "latents.npz", *TINY)
    assert done[0] == 0, done[2]
    assert found(typed("evaluate", "1", "--json"))["metric"] == "fid-latents"
    found(typed("export", "1", "model", "--json"))
    card = Path("model", "README.md").read_text()
    assert (
        "draws latents of an autoencoder, 8×8 with 4 channels" in card and not Path("model/model_index.json").exists()
    )
    code = card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", "model")
    names: dict[str, Any] = {"autoencoder": autoencoder()}
    exec(code.replace("set_timesteps(1000)", "set_timesteps(3)"), names)  # as it stands in the card
    assert isinstance(names["unet"], UNet2DModel) and isinstance(names["scheduler"], DDPMScheduler)
    assert names["images"].shape == (4, 3, 16, 16)
    assert found(typed("sample", "model", "--num-images", "1", "--json"))["num_images"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--dataset", "digits", "--feature-network", "latents"), "--feature-network latents: the data are pixels"),
        (("--dataset", "latents.npz", "--family", "iddpm"), "--family iddpm: 'latents.npz' holds latents"),
    ],
)
def test_what_does_not_go_with_latents_is_one_sentence(typed: Typed, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = typed("train", SPEC, *arguments, *TINY)
    assert code == 2 and err.startswith(words) and err.count("\n") == 1


def autoencoder() -> VQModel:
    """A tiny one, of random weights, that halves the side."""
    torch.manual_seed(0)
    return VQModel(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4, num_vq_embeddings=16,
    )  # fmt: skip
