import pytest
import torch

from diffusion.errors import UserError
from diffusion.nag.graphs import GraphSpace, quantise, scaled
from diffusion.nag.mobilenet_v3 import mobilenet_v3
from diffusion.nag.nasbench201 import nasbench201
from diffusion.nag.unets import unet_graphs
from diffusion.space import SearchSpace, built_in
from diffusion.spec import UNetSpec
from diffusion.streams import generator

SPACES = (nasbench201(), mobilenet_v3(), unet_graphs(built_in("images-32")))
each_space = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)


@each_space
def test_architectures_survive_encoding_and_decoding(space: GraphSpace[object]) -> None:
    graphs = space.sample(200, generator(0, "graphs"))
    architectures = space.decode(graphs, space.id)
    assert None not in architectures and space.valid(graphs).all()
    encoded = space.encode(architectures)
    assert encoded.shape == (200, space.nodes, space.columns) and encoded.dtype == torch.float32
    assert set(encoded.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(quantise(encoded), graphs)


@each_space
def test_edges_go_from_earlier_nodes_to_later_ones(space: GraphSpace[object]) -> None:
    rows, columns = space.adjacency.nonzero()
    assert len(rows) == len(space.edges) and (rows < columns).all()


def test_the_sizes_are_those_of_the_papers() -> None:
    assert [(space.nodes, space.columns) for space in SPACES] == [(8, 7), (20, 9), (6, 19)]
    assert [space.size for space in SPACES] == [5**6, (81 + 729 + 6561) ** 5, 122_880]


def test_the_edges_of_nasbench_201_are_those_of_its_cells() -> None:
    after = {row: {end for start, end in SPACES[0].edges if start == row} for row in range(8)}
    assert after == {0: {1, 2, 3}, 1: {4, 5}, 2: {6}, 3: {7}, 4: {6}, 5: {7}, 6: {7}, 7: set()}


@each_space
def test_a_row_of_two_operators_or_of_none_in_a_needed_place_is_invalid(space: GraphSpace[object]) -> None:
    graphs = space.sample(2, generator(0, "broken"))
    graphs[0, 0] = False
    graphs[1, 1, :] = True
    assert space.valid(graphs).tolist() == [False, False]
    assert space.decode(graphs, space.id) == [None, None]


def test_a_layer_of_mobilenet_v3_follows_one_that_is_there() -> None:
    space = mobilenet_v3()
    stages = tuple(((3, 3),) * 4 for _ in range(5))
    graph = quantise(space.encode([stages]))
    without_last, without_third = graph.clone(), graph.clone()
    without_last[0, 7] = False
    without_third[0, 6] = False
    assert space.valid(torch.cat([without_last, without_third])).tolist() == [True, False]


def test_what_may_stand_in_a_row_is_a_mask() -> None:
    assert nasbench201().allowed.sum(dim=1).tolist() == [1, 5, 5, 5, 5, 5, 5, 1]
    assert mobilenet_v3().allowed.all()
    assert unet_graphs(built_in("images-32")).allowed.sum(dim=1).tolist() == [6, 5, 8, 8, 8, 8]


def test_a_unet_space_with_choices_of_each_stage_keeps_them_apart() -> None:
    space = SearchSpace(
        name="narrow",
        stages=3,
        base_channel=(8,),
        num_blocks=(1, 2),
        channel_mult=((1,), (1, 2), (2, 4)),
        attn=((False,), (False, True), (True,)),
    )
    graphs = unet_graphs(space)
    assert graphs.size == space.size == 16
    assert set(graphs.decode(graphs.members(), graphs.id)) == set(space)
    wrong = UNetSpec.parse("b8-n1-m2.2.2-a001")
    with pytest.raises(UserError, match=r"^b8-n1-m2.2.2-a001 is no graph of narrow: mult_0=2"):
        graphs.places(wrong)


def test_graphs_of_another_space_are_refused_in_one_sentence() -> None:
    cells, layers = nasbench201(), mobilenet_v3()
    with pytest.raises(UserError, match=rf"^'{layers.id}' is not the space nasbench201 \({cells.id}\)"):
        cells.decode(cells.sample(1, generator(0)), layers.id)


def test_spaces_of_one_meaning_are_equal() -> None:
    again, other = unet_graphs(built_in("images-32")), unet_graphs(built_in("digits-8"))
    assert again == SPACES[2] and hash(again) == hash(SPACES[2])
    assert other != SPACES[2]


def test_noise_below_the_threshold_is_rounded_away() -> None:
    graphs = nasbench201().sample(50, generator(0))
    noise = torch.empty(graphs.shape).uniform_(-0.99, 0.99, generator=generator(1))
    assert torch.equal(quantise(scaled(graphs) + noise), graphs)
