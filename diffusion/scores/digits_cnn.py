"""`DigitsCNN`, the small network whose features score generated digits, and the script that made its weights.

``python -m diffusion.scores.digits_cnn OUT.safetensors`` trains it on the 1,437 training digits: one thread, fixed
seed, about ten seconds. The weights ship as ``diffusion/weights/digits-cnn.safetensors``; every machine must score with
those and never with its own, since other weights give other scores. `diffusion.scores.features` gives the network to
torch-fidelity.

It is called with uint8 images (N, 3, H, W) and answers with 32 features. Two heads shape them in training and are
dropped afterwards: the ten classes (so that malformed digits score badly) and the share of noise in the picture (so
that noise scores far worse: a plain classifier hardly looks at it). The features are linear, without an activation
that saturates, so that what is unlike any digit lies far away.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # the name that everyone reads
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from diffusion.data.sources import load_digits
from diffusion.scores.networks import DIGITS_CNN_WEIGHTS, score_network

FEATURES = 32  # few, since the FID of n images is biased upwards by about (features)/n
WIDTH = 32
SIDE = 8  # of the digits

TRAIN_STEPS = 1000  # at 1,500 the held-out accuracy is the same
BATCH_SIZE = 128
NOISY_COUNT = 32  # of a batch; a quarter teaches the share of noise, the rest the classes
PEAK_LEARNING_RATE = 4e-3
JITTER_SIGMA = 10  # of 255; with 40 the features stop seeing the noise that half-trained samples have
LABEL_SMOOTHING = 0.05
NOISE_SCALE = 8.0  # the target is 8 × the share of noise; it puts uniform noise some 1,600 times as far as real digits
FEATURE_PENALTY = 0.03  # keeps the spread of real digits' features near one, and so the bias of their FID small


class DigitsCNN(nn.Module):
    """Three convolutions and a linear layer: uint8 images (N, 3, H, W) → features (N, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv2d(WIDTH, 2 * WIDTH, 3, padding=1, stride=2)
        self.conv3 = nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, padding=1)
        self.features = nn.Linear(2 * WIDTH * (SIDE // 2) ** 2, FEATURES)

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, H, W) uint8 → (N, 32)
        grey = images.to(self.conv1.weight.dtype).mean(dim=1, keepdim=True) / 255  # (N, 1, H, W) in [0, 1]
        if grey.shape[2:] != (SIDE, SIDE):
            grey = F.interpolate(grey, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        return self.embed(grey)

    def embed(self, grey: Tensor) -> Tensor:  # (N, 1, 8, 8) in [0, 1] → (N, 32)
        hidden = F.silu(self.conv1(grey))  # (N, 32, 8, 8)
        hidden = F.silu(self.conv2(hidden))  # (N, 64, 4, 4)
        hidden = F.silu(self.conv3(hidden))  # (N, 64, 4, 4)
        features: Tensor = self.features(hidden.flatten(1))
        return features


def load_digits_cnn() -> DigitsCNN:
    """The network with the shipped weights, in eval mode and without gradients.

    Raises:
        UserError: the weights file is not the one that was shipped.
    """
    score_network("digits-cnn")  # compares the file with its recorded hash
    network = DigitsCNN()
    network.load_state_dict(load_file(DIGITS_CNN_WEIGHTS))
    return network.eval().requires_grad_(False)


def recipe(path: Path = DIGITS_CNN_WEIGHTS) -> dict[str, str | int | float]:
    """What the weights file says about itself: how it was trained and its held-out accuracy."""
    with safe_open(path, framework="pt") as file:
        stated: dict[str, str | int | float] = json.loads(file.metadata()["recipe"])
    return stated


class Digits(NamedTuple):
    """Images (N, 1, 8, 8) in 0..255 and labels (N,)."""

    images: Tensor
    labels: Tensor


class Batch(NamedTuple):
    """Training images (B, 1, 8, 8) in [0, 1]; the first ones have a label, all have a share of noise (B,)."""

    images: Tensor
    labels: Tensor
    noise_share: Tensor


def labelled_digits() -> tuple[Digits, Digits]:
    """The training and the held-out digits of `diffusion.data.sources.load_digits`, with their labels."""
    from sklearn.datasets import load_digits as load

    source = load_digits()
    assert source.test is not None
    labels = load().target[np.random.RandomState(0).permutation(1797)]  # the split's own order
    count = len(source.train)
    return (
        Digits(torch.from_numpy(source.train)[:, None].float(), torch.from_numpy(labels[:count])),
        Digits(torch.from_numpy(source.test)[:, None].float(), torch.from_numpy(labels[count:])),
    )


def training_batches(digits: Digits, seed: int) -> Iterator[Batch]:
    """Endless batches: slight jitter on all, every other one shifted by up to a pixel, a quarter mixed with noise."""
    generator = torch.Generator().manual_seed(seed)
    labelled = BATCH_SIZE - NOISY_COUNT
    for step in range(sys.maxsize):
        chosen = torch.randint(0, len(digits.images), (BATCH_SIZE,), generator=generator)
        images = digits.images[chosen]
        if step % 2:
            images = _shift(images, generator)
        sigma = JITTER_SIGMA * torch.rand(BATCH_SIZE, 1, 1, 1, generator=generator)
        jittered = (images + sigma * torch.randn(images.shape, generator=generator)).clamp(0, 255)
        share = torch.rand(BATCH_SIZE, generator=generator)
        share[:labelled] = 0
        noise = 255 * torch.rand(images.shape, generator=generator)
        mixed = torch.lerp(jittered, noise, share[:, None, None, None])
        yield Batch(mixed / 255, digits.labels[chosen][:labelled], share)


def _shift(images: Tensor, generator: torch.Generator) -> Tensor:
    """All images moved by the same -1, 0 or 1 pixels down and right, with black coming in.  (B, 1, 8, 8)"""
    down, right = torch.randint(0, 3, (2,), generator=generator).tolist()
    return F.pad(images, (1, 1, 1, 1))[:, :, down : down + SIDE, right : right + SIDE]


def train(digits: Digits, steps: int = TRAIN_STEPS, seed: int = 0) -> tuple[DigitsCNN, nn.Linear]:
    """The network and its classes' head after `steps` steps of AdamW on a one-cycle schedule."""
    torch.manual_seed(seed)
    network, classes, noise_share = DigitsCNN(), nn.Linear(FEATURES, 10), nn.Linear(FEATURES, 1)
    parameters = [*network.parameters(), *classes.parameters(), *noise_share.parameters()]
    optimiser = torch.optim.AdamW(parameters, weight_decay=0.01)  # PyTorch's default
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, total_steps=steps)
    for _, batch in zip(range(steps), training_batches(digits, seed), strict=False):
        features = network.embed(batch.images)  # (B, 32)
        labelled = features[: len(batch.labels)]
        loss = F.cross_entropy(classes(labelled), batch.labels, label_smoothing=LABEL_SMOOTHING)
        loss = loss + F.mse_loss(noise_share(features)[:, 0], NOISE_SCALE * batch.noise_share) / NOISE_SCALE
        loss = loss + FEATURE_PENALTY * labelled.square().mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        schedule.step()
    return network.eval(), classes.eval()


@torch.no_grad()
def accuracy(network: DigitsCNN, classes: nn.Linear, digits: Digits) -> float:
    """The share of digits that the classes' head names rightly."""
    guesses = classes(network.embed(digits.images / 255)).argmax(dim=1)
    return float((guesses == digits.labels).float().mean())


def main(out: Path) -> None:
    """Train, measure on the 360 held-out digits, and write weights and recipe to `out`."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    train_digits, held_out = labelled_digits()
    network, classes = train(train_digits)
    stated = {
        "made_by": "python -m diffusion.scores.digits_cnn",
        "data": "scikit-learn digits, 1,437 for training, 360 held out by RandomState(0)",
        "train_steps": TRAIN_STEPS,
        "batch_size": BATCH_SIZE,
        "peak_learning_rate": PEAK_LEARNING_RATE,
        "seed": 0,
        "torch": torch.__version__,
        "held_out_accuracy": round(accuracy(network, classes, held_out), 4),
        "licence": "Apache-2.0",
    }
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    out.write_bytes(save(weights, {"recipe": json.dumps(stated)}))  # one key: the order of several is random
    print(json.dumps(stated, indent=2))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m diffusion.scores.digits_cnn OUT.safetensors")
    main(Path(sys.argv[1]))
