"""What the feature networks see: EfficientNet-Lite0 with its real weights, Inception with random ones of its shapes."""

import math
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the name that everyone reads
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from diffusion.errors import UserError
from diffusion.scores import inception
from diffusion.scores.efficientnet import load_lite0, merged, pooled_features
from diffusion.scores.features import feature_extractor
from diffusion.scores.fid import extract_features
from diffusion.scores.inception import cache_folder, inception_weights
from diffusion.scores.networks import FEATURE_NETWORKS, file_sha256

OFFICIAL_NAME = "weights-inception-2015-12-05-6726825d.pth"
DAISY, PALACE = 985, 698  # of ImageNet's thousand classes


@pytest.fixture(scope="module")
def lite0() -> nn.Module:
    return load_lite0()


@pytest.fixture(scope="module")
def photographs() -> NDArray[np.uint8]:
    """Crops out of scikit-learn's two photographs.  (24, 3, 64, 64)"""
    crops = [
        image[top : top + 64, left : left + 64]
        for image in load_sample_images().images
        for top in (60, 150, 240)
        for left in (100, 220, 340, 460)
    ]
    return np.stack(crops).transpose(0, 3, 1, 2).copy()


class TestLite0:
    def test_photographs_are_of_what_they_show(self, lite0: nn.Module) -> None:
        found = []
        for image in load_sample_images().images:  # (427, 640, 3)
            square = as_batch(image[:, 107:534])  # (1, 3, 427, 427)
            found.append(int(lite0._fc(pooled_features(lite0, square)).argmax()))  # type: ignore[operator]
        assert found == [PALACE, DAISY]

    def test_pixels_go_in_as_the_network_was_trained(self, lite0: nn.Module) -> None:
        image = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        by_hand = lite0((image.float() - 127) / 128)  # the package's own way to the classes; 224 needs no resizing
        found = lite0._fc(pooled_features(lite0, image))  # type: ignore[operator]
        assert torch.allclose(found, by_hand, atol=1e-5)  # logits of size one in single precision

    def test_features_of_an_image_do_not_depend_on_the_others(self, photographs: NDArray[np.uint8]) -> None:
        whole = extract_features(photographs[:12], "efficientnet-lite0", batch_size=12)
        assert whole.shape == (12, 1280) and whole.dtype == np.float64
        for batch_size in (1, 5):
            found = extract_features(photographs[:12], "efficientnet-lite0", batch_size=batch_size)
            off = np.linalg.norm(found - whole, axis=1) / np.linalg.norm(whole, axis=1)
            assert off.max() < 1e-5  # single precision over some fifty layers; measured 1e-6

    def test_norms_that_are_merged_do_not_show_in_the_features(
        self, lite0: nn.Module, photographs: NDArray[np.uint8]
    ) -> None:
        images = torch.from_numpy(photographs[:4])
        network = merged(load_lite0())
        assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        ours, theirs = pooled_features(network, images), pooled_features(lite0, images)
        off = (ours - theirs).norm(dim=1) / theirs.norm(dim=1)
        assert float(off.max()) < 1e-5  # single precision over some fifty layers; measured 2e-6

    def test_single_precision_suffices(self, lite0: nn.Module, photographs: NDArray[np.uint8]) -> None:
        images = torch.from_numpy(photographs[:2])
        single, double = pooled_features(lite0, images), pooled_features(load_lite0().double(), images)
        assert float((single - double).norm() / double.norm()) < 1e-4  # measured 2e-5

    def test_larger_images_are_reduced_as_pillow_does(self, lite0: nn.Module) -> None:
        temple = load_sample_images().images[0][:, 107:534]  # (427, 427, 3)
        channels = [Image.fromarray(temple[..., channel].astype(np.float32)) for channel in range(3)]
        small = [np.asarray(channel.resize((224, 224), Image.Resampling.BILINEAR)) for channel in channels]
        ours, theirs = pooled_features(lite0, as_batch(temple)), pooled_features(lite0, as_batch(np.stack(small, -1)))
        assert (ours - theirs).norm() < 1e-3 * ours.norm()  # single precision; without antialiasing it is 0.3

    def test_nothing_is_learned_or_dropped(self, lite0: nn.Module) -> None:
        extractor = feature_extractor("efficientnet-lite0")
        assert not any(module.training for module in extractor.modules())
        assert not any(parameter.requires_grad for parameter in extractor.parameters())


def as_batch(image: NDArray[Any]) -> Tensor:  # (H, W, 3) → (1, 3, H, W)
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).unsqueeze(0)


def inception_shapes() -> dict[str, Tensor]:
    """Names and shapes of Inception's weights, on the meta device."""
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        module = "torch_fidelity.feature_extractor_inceptionv3"
        patch.setattr(f"{module}.load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *_: None)
        shapes: dict[str, Tensor] = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict()
    return shapes


def random_like(name: str, shape: Tensor, generator: torch.Generator) -> Tensor:
    """Values that let signals of size one through: convolutions keep the variance, normalisations do nothing."""
    if shape.dtype == torch.int64:
        return torch.zeros(shape.shape, dtype=torch.int64)
    if shape.dim() > 1:
        return torch.randn(shape.shape, generator=generator) * math.sqrt(2 / shape[0].numel())
    return torch.ones(shape.shape) if name.endswith(("running_var", "bn.weight")) else torch.zeros(shape.shape)


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like the official one, with random weights."""
    generator = torch.Generator().manual_seed(0)
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save({name: random_like(name, shape, generator) for name, shape in inception_shapes().items()}, path)
    return path


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of two small tensors that stands for the official one."""
    path = tmp_path / "tiny.pth"
    torch.save({"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(7)}, path)
    taken_for_official(path, monkeypatch)
    return path


def taken_for_official(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = FEATURE_NETWORKS["inception-v3-compat"].model_copy(update={"sha256": file_sha256(path)})
    monkeypatch.setattr(inception, "INCEPTION", known)
    monkeypatch.setitem(FEATURE_NETWORKS, "inception-v3-compat", known)


def converted() -> list[Path]:
    return sorted(cache_folder().iterdir()) if cache_folder().exists() else []


class TestInception:
    @pytest.fixture(autouse=True)
    def _own_folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    @pytest.fixture
    def _no_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_network(*_: object, **__: object) -> None:
            raise urllib.error.URLError("no route to host")

        monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)

    def test_a_named_file_is_converted_once_and_then_not_needed(
        self, random_inception: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taken_for_official(random_inception, monkeypatch)
        given = tmp_path / "given.pth"
        given.write_bytes(random_inception.read_bytes())
        images = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16)).astype(np.uint8)
        first = extract_features(images, "inception-v3-compat", weights=given)
        assert first.shape == (3, 2048) and np.isfinite(first).all() and first.std() > 0
        given.unlink()
        monkeypatch.setattr(inception, "official_file", lambda *_: pytest.fail("the pickled file was asked for"))
        np.testing.assert_array_equal(extract_features(images, "inception-v3-compat"), first)

        theirs = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(random_inception))
        batch = torch.from_numpy(images).expand(-1, 3, -1, -1)
        np.testing.assert_allclose(theirs(batch)[0].numpy(), first, rtol=1e-4, atol=1e-6)

    def test_the_converted_file_says_whose_tensors_it_holds(self, tiny: Path, tmp_path: Path) -> None:
        inception_weights(tiny)
        (path,) = converted()
        assert path.parent == tmp_path / "cache" / "diffnas-agent" and path.suffix == ".safetensors"
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["source_sha256"] == file_sha256(tiny)
            assert torch.equal(file.get_tensor("weight"), torch.arange(6.0).reshape(2, 3))

    @pytest.mark.parametrize("damage", ["cut", "changed", "emptied"])
    def test_a_damaged_converted_file_is_made_anew(self, damage: str, tiny: Path) -> None:
        good = inception_weights(tiny)
        (path,) = converted()
        content = path.read_bytes()
        bad = {"cut": content[:-3], "changed": content[:-1] + bytes([content[-1] ^ 1]), "emptied": b""}[damage]
        path.write_bytes(bad)
        again = inception_weights(tiny)
        assert again.keys() == good.keys() and all(torch.equal(again[name], good[name]) for name in good)
        assert converted() == [path] and path.read_bytes() != bad

    def test_tensors_of_another_file_are_not_used(
        self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inception_weights(tiny)
        (path,) = converted()
        other = tmp_path / "other.pth"
        torch.save({"weight": torch.ones(1)}, other)
        taken_for_official(other, monkeypatch)
        path.rename(path.with_name(f"inception-v3-compat-{file_sha256(other)[:12]}.safetensors"))
        assert inception_weights(other).keys() == {"weight"}

    def test_where_nothing_can_be_written_the_file_is_read_each_time(self, tiny: Path, tmp_path: Path) -> None:
        (tmp_path / "cache").write_text("a file where a folder should be")
        assert inception_weights(tiny).keys() == inception_weights(tiny).keys() == {"weight", "count"}

    def test_the_cache_is_the_users_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert cache_folder() == tmp_path / "cache" / "diffnas-agent"
        for value in ("", "relative"):  # the XDG specification has both ignored
            monkeypatch.setenv("XDG_CACHE_HOME", value)
            monkeypatch.setenv("HOME", str(tmp_path))
            assert cache_folder() == tmp_path / ".cache" / "diffnas-agent"

    @pytest.mark.usefixtures("_no_network")
    def test_without_weights_and_network_the_place_for_the_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UserError) as caught:
            extract_features(np.zeros((2, 3, 8, 8), np.uint8), "inception-v3-compat")
        text = str(caught.value)
        assert text.startswith("'inception-v3-compat' needs weights that cannot be downloaded")
        assert text.endswith(f"put {URL_INCEPTION_V3} at {tmp_path / 'torch' / 'hub' / 'checkpoints'}/{OFFICIAL_NAME}")

    def test_a_named_file_that_is_not_there_is_said_to_be_so(self, tmp_path: Path) -> None:
        path = tmp_path / "nowhere.pth"
        with pytest.raises(UserError, match=f"^'{path}' does not exist"):
            feature_extractor("inception-v3-compat", weights=path)

    @pytest.mark.parametrize("named", [True, False])
    def test_another_file_is_refused_unread(self, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "torch" / "hub" / "checkpoints" / OFFICIAL_NAME
        path.parent.mkdir(parents=True)
        path.write_bytes(b"pickled mischief")
        monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
        remedy = "name the right one" if named else "delete it"
        with pytest.raises(UserError, match=rf"^'{path}' is not the official Inception of 2015 .*; {remedy}"):
            feature_extractor("inception-v3-compat", weights=path if named else None)

    def test_the_downloaded_file_is_compared_with_the_recorded_hash(
        self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Any] = []

        def download(url: str, path: str, hash_prefix: str, progress: bool) -> None:
            asked.append((url, hash_prefix))
            Path(path).write_bytes(tiny.read_bytes())

        monkeypatch.setattr(torch.hub, "download_url_to_file", download)
        assert inception_weights().keys() == {"weight", "count"}
        assert asked == [(URL_INCEPTION_V3, file_sha256(tiny))]

    def test_recorded_hash_begins_as_the_official_files_name_ends(self) -> None:
        assert Path(OFFICIAL_NAME).stem.split("-")[-1] == FEATURE_NETWORKS["inception-v3-compat"].sha256[:8]
        assert URL_INCEPTION_V3.endswith(OFFICIAL_NAME)


def test_only_inception_looks_at_a_named_file(tmp_path: Path) -> None:
    assert feature_extractor("digits-cnn", weights=tmp_path / "nowhere.pth")


def test_the_package_pads_as_tensorflow_does(lite0: nn.Module) -> None:
    """Strided convolutions pad below and right alone: the weights were trained so."""
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    stem: Any = lite0._conv_stem
    by_hand = F.conv2d(F.pad(image, (0, 1, 0, 1)), stem.weight, stride=2)
    assert torch.allclose(stem(image), by_hand, atol=1e-5)
