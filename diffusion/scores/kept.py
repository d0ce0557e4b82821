"""Where the features of real images and the grids of scores are kept: a question of files, without torch."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffusion.scores.networks import score_network
from diffusion.scores.parts import DAMAGED, images_in


@dataclass(frozen=True)
class KeptReference:
    """The files of one split of a data set under one feature network; their names hold all that they depend on."""

    folder: Path
    data_fingerprint: str
    split: str
    count: int
    network: str

    def path(self, ending: str) -> Path:
        """The file, or folder, of an ending."""
        sha256 = score_network(self.network).sha256
        name = f"{self.data_fingerprint}-{self.split}-{self.count}-{self.network}-{sha256[:12]}"
        return self.folder / (name + ending)

    @property
    def images_there(self) -> int:
        """Of how many images features need not be computed: of all, or of those that have a part."""
        with suppress(*DAMAGED), self.path(".npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return int(archive["count"])
        folders = [self.path(f"-{kind}.parts") for kind in ("cpu", "cuda")]
        return max(map(images_in, folders))


def grid_path(run_folder: Path, protocol: str, seed: int) -> Path:
    """The grid that a score leaves, by the fingerprint of its protocol and the seed of its noise."""
    return run_folder / f"samples-{protocol}-{seed}.png"
