import pytest
import torch
from torch import Tensor

from diffusion.nag.closed_form import product_score, set_score
from diffusion.nag.graphs import quantise, scaled
from diffusion.nag.mobilenet_v3 import mobilenet_v3
from diffusion.nag.nasbench201 import nasbench201
from diffusion.nag.sde import Process, denoised, matching_loss, sample
from diffusion.streams import generator

CELLS = nasbench201()


def noisy(sigma: float, count: int = 64) -> tuple[Tensor, Tensor]:
    """Noisy cells and their level."""
    clean = scaled(CELLS.sample(count, generator(0, "cells")))
    return clean + sigma * torch.randn(clean.shape, generator=generator(0, "noise")), torch.full((count,), sigma)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 1.0, 3.0, 10.0])
def test_a_product_of_nodes_and_the_mixture_of_all_cells_are_one_score(sigma: float) -> None:
    x, level = noisy(sigma)
    product, mixture = product_score(CELLS), set_score(CELLS.members())
    assert (product.score(x, level) - mixture.score(x, level)).abs().max() < 2e-6  # as issue 15 asks


def test_two_points_have_the_score_of_the_textbook() -> None:
    graphs = torch.tensor([[[True, False]], [[False, True]]])  # ±(1, -1): E[A_0 | x] is tanh of ⟨x, m⟩ / σ²
    x, sigma = torch.tensor([[[0.3, -0.5]]]), torch.tensor([0.8])
    mean = torch.tanh(torch.tensor((0.3 + 0.5) / 0.8**2))
    found = set_score(graphs).denoised(x, sigma)
    torch.testing.assert_close(found, torch.tensor([[[mean, -mean]]]))
    torch.testing.assert_close(denoised(set_score(graphs).score, x, sigma), found)


def test_the_score_is_the_slope_of_the_log_density() -> None:
    x, sigma = (part.double() for part in noisy(0.7, count=3))
    x.requires_grad_(True)
    members = scaled(CELLS.members()).double().flatten(1)
    log_density = torch.logsumexp(-((x.flatten(1)[:, None] - members) ** 2).sum(dim=2) / (2 * 0.7**2), dim=1)
    (slope,) = torch.autograd.grad(log_density.sum(), x)
    torch.testing.assert_close(product_score(CELLS).score(x.detach(), sigma), slope)


def test_stages_of_mobilenet_v3_are_mixtures_of_their_own() -> None:
    space = mobilenet_v3()
    soft = product_score(space).soft(torch.zeros(1, space.nodes, space.columns), torch.tensor([1e3]))
    of_rows = soft[0, :4].sum(dim=1)  # how likely the layers of a stage are there, before anything is known
    deep, third = 6561 / 7371, (729 + 6561) / 7371
    torch.testing.assert_close(of_rows, torch.tensor([1, 1, third, deep]), atol=1e-4, rtol=0)


def test_sampling_by_the_closed_form_gives_cells_evenly() -> None:
    graphs = quantise(sample(product_score(CELLS).score, (2_000, 8, 7), generator(0), steps=50))
    assert CELLS.valid(graphs).all()
    shares = graphs[:, 1:7, 2:].float().mean(dim=0)
    assert (shares - 0.2).abs().max() < 0.04  # 4.5 standard deviations of a share of 2,000


def test_an_enumerated_set_is_never_left() -> None:
    kept = CELLS.sample(20, generator(0, "set"))
    graphs = quantise(sample(set_score(kept).score, (200, 8, 7), generator(1), steps=50))
    members = {tuple(graph.flatten().tolist()) for graph in kept}
    assert {tuple(graph.flatten().tolist()) for graph in graphs} == members


def test_no_other_score_has_a_smaller_loss() -> None:
    exact = product_score(CELLS)
    clean, sigma = scaled(CELLS.sample(2_000, generator(0))), Process().draw(2_000, generator(1))
    least = matching_loss(exact.score, clean, sigma, generator(2))
    shrunk = matching_loss(lambda x, level: 0.95 * exact.score(x, level), clean, sigma, generator(2))
    few = matching_loss(set_score(CELLS.members()[:5000]).score, clean, sigma, generator(2))
    assert least < shrunk and least < few
