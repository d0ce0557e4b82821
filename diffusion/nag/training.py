"""Training a score network, and the file that keeps it. Seconds on one core; no label is needed.

The loop yields and the caller decides. A file holds the averaged weights, what the network looks like, its process and
the id of its space, so that loading needs the path and the space that it is meant for.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from diffusion.errors import UserError
from diffusion.files.writing import whole
from diffusion.frozen import Frozen
from diffusion.nag.graphs import GraphSpace, scaled
from diffusion.nag.score_network import NetworkSize, ScoreNetwork
from diffusion.nag.sde import Process, matching_loss
from diffusion.streams import Order, generator, stream_seed


class ScoreTraining(Frozen):
    """How a score network is trained."""

    size: NetworkSize = NetworkSize()
    sigma_min: float = Process.sigma_min
    sigma_max: float = Process.sigma_max
    steps: int = 1_000
    batch_size: int = 256
    learning_rate: float = 3e-3  # of AdamW, at its height
    warmup_steps: int = 50
    ema_decay: float = 0.99  # a hundred steps; the rate falls to nothing, so that the end needs little averaging
    seed: int = 0

    @property
    def process(self) -> Process:
        """The levels of noise."""
        return Process(self.sigma_min, self.sigma_max)


@dataclass(frozen=True)
class Progress:
    """A training after some of its steps."""

    step: int
    loss: float  # of the batch


def new_network(space: GraphSpace[Any], training: ScoreTraining) -> ScoreNetwork:
    """A network for a space, its weights drawn by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(training.seed, "score network"))
        return ScoreNetwork(space.adjacency, space.columns, training.size)


def train_score(network: ScoreNetwork, graphs: Tensor, training: ScoreTraining) -> Iterator[Progress]:
    """Train a network on graphs; when it is over, the network has the averaged weights.

    Args:
        network: as `new_network` makes it.
        graphs: what is to be generated, one-hot, (M,N,F).
        training: how.

    Yields:
        After each step, what came of it.
    """
    averaged = copy.deepcopy(network)
    order = Order(training.seed, len(graphs))
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, training))
    for step in range(training.steps):
        noise = generator(training.seed, "score noise", step)
        batch = scaled(graphs[order.batch(step, training.batch_size)])  # (B,N,F)
        sigma = training.process.draw(len(batch), noise)
        loss = matching_loss(network.score, batch, sigma, noise)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1)
        optimizer.step()
        scheduler.step()
        _average(averaged, network, min(training.ema_decay, (1 + step) / (10 + step)))  # 10: as torch's EMAs begin
        yield Progress(step + 1, float(loss.detach()))
    network.load_state_dict(averaged.state_dict())
    network.eval().requires_grad_(False)


def _rate(step: int, training: ScoreTraining) -> float:
    """The share of the learning rate at a step: a warm-up, then half a cosine."""
    warm = min(1.0, (step + 1) / training.warmup_steps)
    return warm * 0.5 * (1 + math.cos(math.pi * step / training.steps))


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    for mean, new in zip(averaged.parameters(), network.parameters(), strict=True):
        mean.lerp_(new, 1 - decay)


def save_score(path: Path, network: ScoreNetwork, space: GraphSpace[Any], training: ScoreTraining) -> None:
    """Write a trained network whole or not at all."""
    header = {"space": space.id, "space_name": space.name, "training": training.model_dump_json()}
    with whole(path) as part:
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, part, metadata=header)


def load_score(path: Path, space: GraphSpace[Any]) -> tuple[ScoreNetwork, ScoreTraining]:
    """A trained network, ready to sample, and how it was trained.

    Raises:
        UserError: the file is no score network, or one of another space.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        training = ScoreTraining.model_validate_json(header["training"])
    except (OSError, SafetensorError, KeyError, ValidationError) as error:
        raise UserError(f"'{path}' is not a score network ({type(error).__name__}); train one for this space") from None
    if header.get("space") != space.id:
        made = f"{header.get('space_name')} ({header.get('space')})"
        raise UserError(
            f"'{path}' was trained for {made}, and the space is {space.name} ({space.id}); train one for it"
        )
    network = new_network(space, training)
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False), training
