"""Pictures of 64×64 in five stages: a short search of really trained networks, exported and loaded by diffusers."""

import json
from pathlib import Path

import numpy as np
import pytest
from diffusers import DDPMPipeline
from PIL import Image
from sklearn.datasets import load_sample_images

from agent.cli.main import app

SPACE = """
name = "images-64-narrow"  # choices of images-64, but narrower: two cores train it in seconds
stages = 5
baseline = "b8-n1-m1.1.1.2.2-a00010"
base_channel = [8, 16]
num_blocks = [1]
channel_mult = [[1], [1, 2], [1, 2], [2], [2]]
attn = [[false], [false], [false], [false, true], [false, true]]
"""
SEARCH = (
    "run --dataset crops --resolution 64 --space narrow.toml --budget 60M --rounds 1 --parallel 1 "
    "--train-steps 4 --batch-size 8 --num-images 16 --sampling-steps 2 --feature-network efficientnet-lite0 "
    "--set race_trainings=0"
)


def crops(folder: Path) -> None:
    """Pieces of the photographs that scikit-learn brings along."""
    folder.mkdir()
    for name, image in zip(("temple", "flower"), load_sample_images().images, strict=True):
        for y in range(0, image.shape[0] - 63, 64):
            for x in range(0, image.shape[1] - 63, 64):
                Image.fromarray(image[y : y + 64, x : x + 64]).save(folder / f"{name}-{y}-{x}.png")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_search_of_five_stages_runs_exports_and_loads_in_diffusers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    crops(tmp_path / "crops")
    Path("narrow.toml").write_text(SPACE)
    assert app(SEARCH.split(), standalone_mode=False) == 0
    capsys.readouterr()
    app(["memory", "top", "--json"], standalone_mode=False)
    tried = json.loads(capsys.readouterr().out)
    assert len(tried) == 2 and all(len(each["spec"].split("-m")[1].split("-")[0].split(".")) == 5 for each in tried)
    app(["export", "2", "exported"], standalone_mode=False)
    pipeline = DDPMPipeline.from_pretrained("exported", local_files_only=True)
    assert len(pipeline.unet.config.block_out_channels) == 5
    (image,) = pipeline(batch_size=1, num_inference_steps=2, output_type="np").images
    assert image.shape == (64, 64, 3) and np.isfinite(image).all()
