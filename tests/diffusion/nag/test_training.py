from pathlib import Path

import pytest
import torch

from diffusion.errors import UserError
from diffusion.nag.closed_form import product_score
from diffusion.nag.graphs import quantise, scaled
from diffusion.nag.mobilenet_v3 import mobilenet_v3
from diffusion.nag.nasbench201 import nasbench201
from diffusion.nag.score_network import NetworkSize, ScoreNetwork
from diffusion.nag.sde import matching_loss, sample
from diffusion.nag.training import ScoreTraining, load_score, new_network, save_score, train_score
from diffusion.streams import generator

CELLS = nasbench201()
SHORT = ScoreTraining(steps=250, batch_size=64, learning_rate=1e-2)


@pytest.fixture(scope="module")
def trained() -> ScoreNetwork:
    network = new_network(CELLS, SHORT)
    losses = [progress.loss for progress in train_score(network, CELLS.members()[::2], SHORT)]
    assert len(losses) == SHORT.steps and sum(losses[-20:]) < 0.5 * sum(losses[:20])
    return network


def test_a_network_gets_near_the_least_loss_there_is(trained: ScoreNetwork) -> None:
    clean, sigma = scaled(CELLS.sample(1_000, generator(0))), SHORT.process.draw(1_000, generator(1))
    found = float(matching_loss(trained.score, clean, sigma, generator(2)))
    least = float(matching_loss(product_score(CELLS).score, clean, sigma, generator(2)))
    assert least < found < 1.4 * least  # trained in full it is within 1 % (docs/diffusionnag.md)


def test_a_network_generates_cells(trained: ScoreNetwork) -> None:
    graphs = quantise(sample(trained.score, (100, 8, 7), generator(0), process=SHORT.process, steps=30))
    assert CELLS.valid(graphs).float().mean() > 0.9


def test_the_same_seed_trains_the_same_network(trained: ScoreNetwork) -> None:
    short = SHORT.model_copy(update={"steps": 3})
    weights = []
    for seed in (0, 0, 1):
        network = new_network(CELLS, short.model_copy(update={"seed": seed}))
        assert len(list(train_score(network, CELLS.members()[::2], short))) == 3
        weights.append(network.operators.weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_the_network_of_the_published_size() -> None:
    assert new_network(CELLS, ScoreTraining()).parameter_count == 22_343


def test_attention_follows_the_graph() -> None:
    """With one block, a node's output changes with the nodes beside it on an edge and with itself alone."""
    for mask, reached in ((True, {0, 1, 2, 3}), (False, set(range(8)))):
        network = new_network(CELLS, ScoreTraining(size=NetworkSize(blocks=1, mask=mask)))
        x = torch.randn(1, 8, 7, generator=generator(0)).requires_grad_(True)
        (slope,) = torch.autograd.grad(network(x, torch.ones(1))[0, 0].sum(), x)
        assert set(slope[0].abs().sum(dim=1).nonzero().flatten().tolist()) == reached


def test_without_positions_and_mask_nodes_cannot_be_told_apart() -> None:
    network = new_network(CELLS, ScoreTraining(size=NetworkSize(positions=False, mask=False)))
    x, order = torch.randn(1, 8, 7, generator=generator(0)), torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    torch.testing.assert_close(network(x[:, order], torch.ones(1)), network(x, torch.ones(1))[:, order])


def test_a_file_gives_the_network_back(trained: ScoreNetwork, tmp_path: Path) -> None:
    path = tmp_path / "score.safetensors"
    save_score(path, trained, CELLS, SHORT)
    network, training = load_score(path, CELLS)
    x, sigma = torch.randn(2, 8, 7, generator=generator(0)), torch.tensor([0.3, 2.0])
    assert training == SHORT and torch.equal(network.score(x, sigma), trained.score(x, sigma))
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_another_space_or_of_none_is_refused_in_one_sentence(trained: ScoreNetwork, tmp_path: Path) -> None:
    path, other = tmp_path / "score.safetensors", mobilenet_v3()
    save_score(path, trained, CELLS, SHORT)
    said = (
        rf"score.safetensors' was trained for nasbench201 \({CELLS.id}\), and the space is mobilenet-v3 \({other.id}\)"
    )
    with pytest.raises(UserError, match=said):
        load_score(path, other)
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"score.safetensors' is not a score network \(SafetensorError\)"):
        load_score(path, CELLS)
    with pytest.raises(UserError, match=r"nothing' is not a score network \(FileNotFoundError\)"):
        load_score(tmp_path / "nothing", CELLS)
