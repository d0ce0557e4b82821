"""Exported folders: drawn from by a process without this project, and read back as if a stranger had written them."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from diffusion import export as module
from diffusion.errors import UserError
from diffusion.export import OURS, SCHEDULER_CONFIG, UNET_CONFIG, WEIGHTS, export_pipeline, load_pipeline_folder
from diffusion.samplers import sample_tensors
from diffusion.settings import Family, Sampling, Settings, Strategy, TrainJob, Variance
from diffusion.spec import UNetSpec
from diffusion.streams import stream_seed
from diffusion.training.checkpoint import Checkpoint, ema_model
from diffusion.unet import build_unet

SPEC = UNetSpec.parse("b8-n1-m1.1.2.2-a0100")
FAMILIES: tuple[Family, ...] = ("ddpm", "iddpm")
VARIANCE: dict[Family, Variance] = {"ddpm": "fixed_large", "iddpm": "learned_range"}
STEPS, FEW = 1000, 10
COUNT, SEED = 3, 7
LARGEST_DIFFERENCE = 1e-4  # on [0, 1]: a fortieth of a grey level

STRANGER = """
import json, sys
sys.path += json.loads(sys.argv[1])
for name in ("agent", "diffusion", "memory", "prompts", "tools"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} can be imported here, so this process is no stranger")
import numpy, torch
from diffusers import DDPMPipeline
drawn = {}
for name, folder, steps, seeds in json.loads(sys.argv[2]):
    pipeline = DDPMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    drawn[name] = pipeline(len(seeds), generators, num_inference_steps=steps, output_type="np").images
numpy.savez(sys.argv[3], **drawn)
"""


def checkpoint_of(family: Family = "ddpm", *, channels: int = 3, folder: Path = Path("none")) -> Checkpoint:
    """A checkpoint whose network matters: also the layers that start at zero have weights.

    Small ones, as in a trained network: with weights of 0.1 a thousand steps blow one rounding up to 1e-3 (measured).
    """
    settings = Settings(
        dataset="none",
        resolution=8,
        channels=channels,
        family=family,
        schedule="cosine" if family == "iddpm" else "linear",
    )
    job = TrainJob(
        spec=SPEC,
        settings=settings,
        strategy=Strategy(dropout=0.3, diffusion_steps=STEPS, train_steps=9),
        seed=3,
        data_fingerprint="none",
        data_folder=folder,
        run_folder=folder,
    )
    torch.manual_seed(1)
    model: nn.Module = build_unet(SPEC, settings)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.03)
    tensors = {f"ema.{name}": tensor.detach() for name, tensor in model.state_dict().items()}
    raw = {f"model.{name}": torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    return Checkpoint(job, 9, 1.0, tensors | raw)


def exported(folder: Path, family: Family = "ddpm", **options: Any) -> Path:
    return export_pipeline(checkpoint_of(family), folder, card="# A model\n", lineage={"trial": 4}, **options)


def ours(family: Family, steps: int) -> NDArray[np.float32]:
    """The images of our own sampler on [0, 1].  (N, R, R, C)"""
    checkpoint = checkpoint_of(family)
    images = sample_tensors(
        ema_model(checkpoint),
        checkpoint.job.settings,
        Sampling(sampler=family, steps=steps, variance=VARIANCE[family]),
        diffusion_steps=STEPS,
        indices=range(COUNT),
        seed=SEED,
    )
    on_unit: NDArray[np.float32] = (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    return on_unit


Drawn = dict[Family, NDArray[np.float32]]  # (N, R, R, C) on [0, 1]


@pytest.fixture(scope="module")
def strangers_images(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Drawn]:
    """What a process without this project draws from the folders in so many steps; it is started once for each."""

    @cache
    def drawn(steps: int) -> Drawn:
        home = tmp_path_factory.mktemp("stranger")
        seeds = [stream_seed(SEED, "sample", index) for index in range(COUNT)]
        asked = [(family, str(exported(home / family, family)), steps, seeds) for family in FAMILIES]
        libraries = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
        command = [sys.executable, "-I", "-S", "-c", STRANGER, json.dumps(libraries), json.dumps(asked), "drawn.npz"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        elsewhere = home / "elsewhere"
        elsewhere.mkdir()
        done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        with np.load(elsewhere / "drawn.npz", allow_pickle=False) as file:
            return dict(file)

    return drawn


class TestStranger:
    @pytest.mark.parametrize("steps", [FEW, pytest.param(STEPS, marks=pytest.mark.slow)])
    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_process_without_this_project_draws_the_same_images(
        self, family: Family, steps: int, strangers_images: Callable[[int], Drawn]
    ) -> None:
        expected, found = ours(family, steps), strangers_images(steps)[family]
        assert found.shape == expected.shape == (COUNT, 8, 8, 3)
        difference = float(np.abs(found - expected).max())
        print(f"{family}, {steps} steps: largest difference {difference:.3g}")
        assert difference <= LARGEST_DIFFERENCE
        assert ((found > 0) & (found < 1)).mean() > 0.1  # not all of it is clipped away
        assert np.abs(found[0] - found[1]).max() > 0.1  # each image has its own noise

    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_comparison_would_see_other_weights_or_another_variance(
        self, family: Family, strangers_images: Callable[[int], Drawn]
    ) -> None:
        checkpoint = checkpoint_of(family)
        model = ema_model(checkpoint)
        with torch.no_grad():
            model.get_parameter("conv_out.weight").mul_(1.01)
        other = sample_tensors(
            model,
            checkpoint.job.settings,
            Sampling(sampler=family, steps=FEW, variance=VARIANCE[family]),
            diffusion_steps=STEPS,
            indices=range(COUNT),
            seed=SEED,
        )
        shown = (other / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
        assert np.abs(shown - strangers_images(FEW)[family]).max() > 10 * LARGEST_DIFFERENCE


class TestExport:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_folder_holds_averaged_weights_the_scheduler_the_card_and_the_lineage(
        self, family: Family, tmp_path: Path
    ) -> None:
        folder = exported(tmp_path / "model", family)
        assert sorted(path.name for path in folder.iterdir()) == [
            "README.md", OURS, "model_index.json", "scheduler", "unet",
        ]  # fmt: skip
        weights, checkpoint = load_file(folder / WEIGHTS), checkpoint_of(family)
        assert all(torch.equal(tensor, checkpoint.tensors[f"ema.{name}"]) for name, tensor in weights.items())
        scheduler = json.loads((folder / SCHEDULER_CONFIG).read_text())
        assert scheduler["_class_name"] == "DDPMScheduler"
        assert (scheduler["variance_type"], scheduler["clip_sample"]) == (VARIANCE[family], True)
        assert (scheduler["timestep_spacing"], scheduler["num_train_timesteps"]) == ("linspace", STEPS)
        assert len(scheduler["trained_betas"]) == STEPS and scheduler["prediction_type"] == "epsilon"
        assert (folder / "README.md").read_text() == "# A model\n"
        described = json.loads((folder / OURS).read_text())
        assert (described["spec"], described["step"], described["lineage"]) == (str(SPEC), 9, {"trial": 4})
        assert [path for path in folder.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".part")] == []

    @pytest.mark.parametrize("family", FAMILIES)
    def test_it_comes_back_as_it_was(self, family: Family, tmp_path: Path) -> None:
        loaded = load_pipeline_folder(exported(tmp_path / "model", family))
        checkpoint = checkpoint_of(family)
        assert (loaded.spec, loaded.settings, loaded.diffusion_steps) == (SPEC, checkpoint.job.settings, STEPS)
        assert loaded.lineage == {"trial": 4}
        for name, tensor in loaded.model.state_dict().items():
            assert torch.equal(tensor, checkpoint.tensors[f"ema.{name}"])
        assert not loaded.model.training and not any(parameter.requires_grad for parameter in loaded.model.parameters())

    def test_parents_are_made_and_an_empty_folder_is_filled(self, tmp_path: Path) -> None:
        assert exported(tmp_path / "a" / "b").is_dir()
        (tmp_path / "empty").mkdir()
        assert load_pipeline_folder(exported(tmp_path / "empty")).spec == SPEC
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]

    @pytest.mark.parametrize("replace", [False, True])
    def test_a_folder_with_other_things_is_never_touched(self, replace: bool, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "one.png").write_bytes(b"x")
        with pytest.raises(UserError, match=r"photos' is not empty and holds no earlier export; name a folder"):
            exported(tmp_path / "photos", replace=replace)
        (tmp_path / "file").write_text("mine")
        with pytest.raises(UserError, match=r"file' is a file; name a folder"):
            exported(tmp_path / "file", replace=replace)
        assert [path.name for path in (tmp_path / "photos").iterdir()] == ["one.png"]
        assert (tmp_path / "file").read_text() == "mine"

    def test_an_earlier_export_is_replaced_only_when_told(self, tmp_path: Path) -> None:
        folder = exported(tmp_path / "model", "ddpm")
        with pytest.raises(UserError, match=r"model' holds an earlier export; name another folder, or add --replace"):
            exported(folder, "iddpm")
        assert load_pipeline_folder(folder).settings.family == "ddpm"
        exported(folder, "iddpm", replace=True)
        assert load_pipeline_folder(folder).settings.family == "iddpm"
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    @pytest.mark.parametrize("broken", ["write_json", "rename"])
    def test_an_export_that_breaks_leaves_what_was_there_and_nothing_else(
        self, broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = exported(tmp_path / "model", "ddpm")
        rename = Path.rename

        def fail(path: Path, target: Any) -> Any:
            if (broken == "rename" and ".old-" in path.name) or ".old-" in str(target):
                return rename(path, target)
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(*((module, broken, fail) if broken == "write_json" else (Path, broken, fail)))
            for target, replace in ((folder, True), (tmp_path / "other", False)):
                with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
                    exported(target, "iddpm", replace=replace)
        assert [path.name for path in tmp_path.iterdir()] == ["model"]
        assert load_pipeline_folder(folder).settings.family == "ddpm"

    def test_a_kill_in_the_middle_leaves_no_folder_of_that_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[list[str]] = []

        def look(path: Path, value: Any) -> None:
            seen.append(sorted(entry.name for entry in tmp_path.iterdir()))
            raise KeyboardInterrupt

        monkeypatch.setattr(module, "write_json", look)
        with pytest.raises(KeyboardInterrupt):
            exported(tmp_path / "model")
        assert seen == [[f".model.part-{os.getpid()}"]]
        assert list(tmp_path.iterdir()) == []

    def test_the_folder_one_is_in_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for typed in (".", "/"):
            with pytest.raises(UserError, match=rf"^'{typed}' is the folder you are in or the root"):
                exported(Path(typed))

    def test_a_folder_that_cannot_be_made_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(UserError, match=r"^'.*file/model' cannot be written \(Not a directory\)"):
            exported(tmp_path / "file" / "model")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("pristine") / "model")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy of an export, to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "model"))


def change(path: Path, **values: Any) -> None:
    """Overwrite fields of a JSON object."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


class TestDistrust:
    def test_a_folder_that_is_no_export_is_one_sentence(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"^'nowhere' is not a folder; name one that"):
            load_pipeline_folder(Path("nowhere"))
        (folder / OURS).unlink()
        with pytest.raises(UserError, match=r"^'.*model' has no diffnas.json; name a folder that"):
            load_pipeline_folder(folder)
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match=r"^'.*empty' has no diffnas.json; name a folder that"):
            load_pipeline_folder(tmp_path / "empty")

    def test_an_export_without_its_index_is_one_sentence(self, folder: Path) -> None:
        (folder / "model_index.json").unlink()
        with pytest.raises(UserError, match=r"^'.*model' has no model_index.json; name a folder that"):
            load_pipeline_folder(folder)

    @pytest.mark.parametrize("name", [OURS, str(UNET_CONFIG), str(SCHEDULER_CONFIG)])
    @pytest.mark.parametrize("content", [b"", b"[]", b'[["a", 1]]', b"{}", b"\xff", b"[" * 10**5, b"1" * 10**4])
    def test_a_damaged_description_is_one_sentence_that_names_the_file(
        self, name: str, content: bytes, folder: Path
    ) -> None:
        (folder / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"^'.*{name}' .*; export the trial again$") as caught:
            load_pipeline_folder(folder)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", [UNET_CONFIG, SCHEDULER_CONFIG, WEIGHTS])
    def test_a_missing_file_is_named(self, name: Path, folder: Path) -> None:
        (folder / name).unlink()
        with pytest.raises(UserError, match=rf"^'.*{name}' is missing; export the trial again$"):
            load_pipeline_folder(folder)

    @pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
    def test_weights_that_are_cut_are_one_sentence_that_names_the_file(self, kept: float, folder: Path) -> None:
        content = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(UserError, match=rf"^'.*{WEIGHTS}' is cut or damaged"):
            load_pipeline_folder(folder)

    def test_weights_of_another_spec_are_refused(self, folder: Path) -> None:
        other = build_unet(UNetSpec.parse("b8-n2-m1.1.2.2-a0100"), checkpoint_of().job.settings)
        save_file(other.state_dict(), folder / WEIGHTS)
        with pytest.raises(UserError, match=rf"{WEIGHTS}' holds weights of another spec than {SPEC}; export"):
            load_pipeline_folder(folder)

    @pytest.mark.parametrize("kind", ["missing", "more", "shape", "type"])
    def test_one_other_tensor_is_enough(self, kind: str, folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        bias = weights.pop("conv_in.bias")
        if kind != "missing":
            weights["conv_in.bias"] = {"shape": torch.zeros(1), "type": bias.half()}.get(kind, bias)
        if kind == "more":
            weights["conv_in.more"] = bias
        save_file({name: tensor.clone() for name, tensor in weights.items()}, folder / WEIGHTS)
        with pytest.raises(UserError, match="holds weights of another spec"):
            load_pipeline_folder(folder)

    def test_weights_that_are_not_finite_are_refused(self, folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        weights["conv_in.bias"][0] = float("nan")
        save_file(weights, folder / WEIGHTS)
        with pytest.raises(UserError, match="holds weights that are not finite"):
            load_pipeline_folder(folder)

    def test_a_description_of_another_network_is_refused(self, folder: Path) -> None:
        change(folder / UNET_CONFIG, layers_per_block=2)
        with pytest.raises(UserError, match=rf"{UNET_CONFIG}' says layers_per_block=2 where {SPEC} has 1; export"):
            load_pipeline_folder(folder)

    def test_a_description_of_another_process_is_refused(self, folder: Path) -> None:
        change(folder / OURS, diffusion_steps=500)
        with pytest.raises(UserError, match=r"has other betas than a linear schedule of 500 steps"):
            load_pipeline_folder(folder)

    @pytest.mark.parametrize(
        "values",
        [
            {"format": 2},
            {"diffusion_steps": 10**9},
            {"spec": "b8"},
            {"spec": {"base_channel": 8}},
            {"more": 1},
            {"lineage": None},
        ],
    )
    def test_a_value_out_of_range_is_refused(self, values: dict[str, Any], folder: Path) -> None:
        change(folder / OURS, **values)
        with pytest.raises(UserError, match=rf"^'.*{OURS}' is damaged or not what an export writes"):
            load_pipeline_folder(folder)

    def test_a_huge_network_is_refused_before_memory_is_taken(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        huge = UNetSpec.parse("b1024-n8-m8.8.8.8-a0000")  # 68 billion parameters
        change(folder / OURS, spec=str(huge))
        monkeypatch.setattr(module, "_same_network", lambda folder, ours: None)
        with pytest.raises(UserError, match="holds weights of another spec"):
            load_pipeline_folder(folder)
        settings = json.loads((folder / OURS).read_text())["settings"]
        change(folder / OURS, settings=settings | {"resolution": 8 * 10**6})
        with pytest.raises(UserError, match=r"asks for images wider than 256"):
            load_pipeline_folder(folder)

    def test_pickled_weights_are_never_opened(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("pickle was used")

        monkeypatch.setattr(torch, "load", refuse)
        for function in ("load", "loads", "Unpickler"):
            monkeypatch.setattr(f"pickle.{function}", refuse)
        assert load_pipeline_folder(folder).spec == SPEC
        (folder / WEIGHTS).rename((folder / WEIGHTS).with_suffix(".bin"))
        with pytest.raises(UserError, match="is missing"):
            load_pipeline_folder(folder)
