"""Fashion-MNIST at 32×32 as a data set of the product, for the study of real images in docs/compress.md.

``python benchmarks/compress/fashion.py --fashion /usr/share/datasets/fashion-mnist --out fashion.npz`` pads the images
of Debian's package `dataset-fashion-mnist` from 28 pixels to 32 and writes both splits.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILES = {"x_train": "train-images-idx3-ubyte.gz", "x_test": "t10k-images-idx3-ubyte.gz"}
HEADER_BYTES, SIDE, BORDER = 16, 28, 2


def images(path: Path) -> NDArray[np.uint8]:
    """The images of a file, black around them.  → (N, 32, 32)"""
    raw = np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8, offset=HEADER_BYTES)
    return np.pad(raw.reshape(-1, SIDE, SIDE), ((0, 0), (BORDER, BORDER), (BORDER, BORDER)))


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fashion", type=Path, required=True, help="folder of train-images-idx3-ubyte.gz")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    np.savez_compressed(asked.out, **{name: images(asked.fashion / file) for name, file in FILES.items()})


if __name__ == "__main__":
    main()
