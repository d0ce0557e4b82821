import numpy as np
import pytest
import torch

from diffusion.cost.closed_form import costs
from diffusion.nag.unets import ExpectedCost, unet_graphs
from diffusion.settings import Family
from diffusion.space import built_in
from diffusion.streams import generator

SPACE = built_in("images-32")
GRAPHS = unet_graphs(SPACE)


@pytest.mark.parametrize("family", ["ddpm", "iddpm"])
@pytest.mark.parametrize("what", ["macs_paper", "macs_total", "params"])
def test_the_cost_of_a_graph_that_is_certain_is_the_exact_one(what: str, family: Family) -> None:
    expected = ExpectedCost(GRAPHS, lambda rows: getattr(costs(rows, family), what))
    sample = GRAPHS.sample(3_000, generator(0, what, family))
    rows = np.array([spec.row for spec in GRAPHS.decode(sample, GRAPHS.id) if spec])
    exact = torch.from_numpy(getattr(costs(rows, family), what)).double()
    torch.testing.assert_close(expected(sample), exact, rtol=1e-12, atol=0)


def test_the_cost_of_not_knowing_anything_is_the_mean_of_the_space() -> None:
    expected = ExpectedCost(GRAPHS, lambda rows: costs(rows).macs_paper)
    even = GRAPHS.allowed.double() / GRAPHS.allowed.sum(dim=1, keepdim=True)
    assert float(expected(even[None])) == pytest.approx(costs(SPACE.rows()).macs_paper.mean(), rel=1e-9)


def test_an_expected_cost_has_a_slope() -> None:
    expected = ExpectedCost(GRAPHS, lambda rows: costs(rows).macs_paper)
    soft = (GRAPHS.allowed.double() / GRAPHS.allowed.sum(dim=1, keepdim=True))[None].requires_grad_(True)
    (slope,) = torch.autograd.grad(expected(soft).sum(), soft)
    base = slope[0, 0, :6]
    assert (base.diff() > 0).all()  # wider is dearer
    assert (slope[~GRAPHS.allowed[None]] == 0).all()
