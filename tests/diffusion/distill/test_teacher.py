"""Teachers from folders: those of diffusers and ours, and one sentence for all that is none."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from teachers import SIDE, teacher

from diffusion.distill.teacher import load_teacher, teacher_sha256
from diffusion.errors import UserError

TEXT = "b8-n1-m1.2.2.2-a0100"


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A folder as diffusers writes it."""
    folder = tmp_path / "a pipeline"
    DDPMPipeline(unet=teacher(TEXT, channels=3), scheduler=DDPMScheduler()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("part", ["", "unet"])
def test_a_pipeline_and_its_network_alone_are_the_same_teacher(pipeline: Path, part: str) -> None:
    found, model = load_teacher(pipeline / part), teacher(TEXT, channels=3)
    images, steps = torch.randn(2, 3, SIDE, SIDE), torch.tensor([3, 400])
    with torch.no_grad():
        assert torch.equal(found(images, steps).sample, model(images, steps).sample)
    assert not found.training and not any(parameter.requires_grad for parameter in found.parameters())


def test_a_teacher_is_known_by_its_structure_and_its_weights(pipeline: Path, tmp_path: Path) -> None:
    known = teacher_sha256(pipeline)
    teacher(TEXT, channels=3).save_pretrained(tmp_path / "alone")
    assert teacher_sha256(pipeline / "unet") == known == teacher_sha256(tmp_path / "alone")
    changed("config.json", norm_eps=1e-3)(tmp_path / "alone")
    assert teacher_sha256(tmp_path / "alone") != known
    other = teacher(TEXT, channels=3)
    with torch.no_grad():
        other.conv_in.bias[0] += 1
    other.save_pretrained(tmp_path / "other")
    assert teacher_sha256(tmp_path / "other") != known


def changed(name: str, **changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        found = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(found | changes))

    return change


def renamed(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: (folder / old).rename(folder / new) and None


def written(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (renamed("model_index.json", "index.json"), "has neither model_index.json nor config.json"),
        (
            changed("model_index.json", unet=["diffusers", "UNet2DConditionModel"]),
            "holds a UNet2DConditionModel; only an",
        ),
        (changed("model_index.json", unet=None, _class_name="DiTPipeline"), "is a DiTPipeline without a UNet"),
        (
            changed("unet/config.json", _class_name="UNet1DModel"),
            "holds a UNet1DModel; only an unconditional UNet2DModel",
        ),
        (changed("unet/config.json", layers_per_block="two"), "describes no UNet2DModel ("),
        (changed("unet/config.json", block_out_channels=[8, 16, 16, 24]), "holds weights of another network"),
        (written("unet/config.json", "{"), "is damaged"),
        (written("model_index.json", "[]"), "is damaged"),
        (
            renamed("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.bin"),
            "is a pickle, which is",
        ),
        (renamed("unet/diffusion_pytorch_model.safetensors", "unet/elsewhere"), "is missing"),
        (renamed("unet/config.json", "unet/elsewhere"), "is missing"),
    ],
)
def test_what_is_no_teacher_is_named_in_one_sentence(pipeline: Path, change: Callable[[Path], None], said: str) -> None:
    change(pipeline)
    with pytest.raises(UserError) as mistake:
        load_teacher(pipeline)
    assert str(mistake.value).startswith(f"'{pipeline}") and said in str(mistake.value)


def test_a_teacher_that_is_told_a_class_and_a_folder_that_is_not_there(tmp_path: Path) -> None:
    told = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, num_class_embeds=10,
    )  # fmt: skip
    told.save_pretrained(tmp_path / "told")
    with pytest.raises(UserError, match=r"^the teacher is told a class with each image"):
        load_teacher(tmp_path / "told")
    with pytest.raises(UserError, match=r"is no folder; name a trial, or the folder of an export"):
        load_teacher(tmp_path / "nowhere")
