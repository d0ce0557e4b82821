"""Which specs are one network: against the arguments of the built network, and by hand."""

import json
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion.networks import distinct, network, networks, networks_in, spellings
from diffusion.settings import Family, Settings
from diffusion.space import SearchSpace, built_in
from diffusion.spec import UNetSpec
from diffusion.unet import build_unet, unet_arguments

WIDE, NARROW = (UNetSpec.parse(text) for text in ("b16-n1-m2.1.1.1-a0010", "b8-n1-m4.2.2.2-a0010"))
MEMBERS = st.sampled_from(built_in("digits-8").rows().tolist()).map(UNetSpec.from_row)
FAMILIES = st.sampled_from(get_args(Family))


def built(spec: UNetSpec, family: Family) -> str:
    """Everything that the network is made from."""
    arguments: dict[str, Any] = unet_arguments(spec, Settings(dataset="none", resolution=8, channels=1, family=family))
    return json.dumps(arguments, sort_keys=True, default=str)


def test_two_spellings_of_one_network_are_named_alike() -> None:
    assert network(WIDE, "ddpm") == network(NARROW, "ddpm") == "w32.16.16.16-n1-a0010"
    assert network(WIDE, "iddpm") == "w32.16.16.16-n1-a0010-h16" != network(NARROW, "iddpm")
    assert [str(each) for each in spellings(NARROW, "ddpm")] == [
        "b16-n1-m2.1.1.1-a0010", "b8-n1-m4.2.2.2-a0010", "b4-n1-m8.4.4.4-a0010",
    ]  # fmt: skip
    assert spellings(NARROW, "iddpm") == (NARROW,)


@given(MEMBERS, MEMBERS, FAMILIES)
def test_equal_names_mean_equal_networks(one: UNetSpec, other: UNetSpec, family: Family) -> None:
    for another in (other, *spellings(one, family)):
        same = network(one, family) == network(another, family)
        assert same == (built(one, family) == built(another, family))
        rows = networks(np.array([one.row, another.row]), family)
        assert same == bool((rows[0] == rows[1]).all())


def test_two_spellings_start_from_the_same_weights() -> None:
    settings = Settings(dataset="none", resolution=8, channels=1)
    weights = []
    for spec in (WIDE, NARROW):
        torch.manual_seed(0)
        weights.append(build_unet(spec, settings).state_dict())
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize("family", get_args(Family))
def test_of_a_huge_space_networks_are_counted_by_a_sample(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    space = SearchSpace(
        name="copies", stages=4, base_channel=(8, 16, 32), num_blocks=(1, 2), channel_mult=(1, 2, 4, 8), attn=(False,)
    )
    counted = networks_in(space, family)
    assert counted == len({network(UNetSpec.from_row(row), family) for row in space.rows().tolist()})
    assert (counted == space.size) == (family == "iddpm")  # there a base is also the width of a head
    monkeypatch.setattr("diffusion.space.ENUMERABLE", 100)
    assert not space.is_enumerable
    assert networks_in(space, family) == pytest.approx(counted, rel=0.03)


@pytest.mark.parametrize(("space", "copies"), [("digits-8", 1_680), ("images-32", 4_080)])
def test_a_space_counts_each_network_once(space: str, copies: int) -> None:
    rows = built_in(space).rows()
    once = distinct(rows, "ddpm")
    assert len(rows) - len(once) == copies
    assert len(np.unique(networks(once, "ddpm"), axis=0)) == len(once) == len(np.unique(networks(rows, "ddpm"), axis=0))
    assert {tuple(row) for row in once.tolist()} <= {tuple(row) for row in rows.tolist()}


@given(st.lists(MEMBERS, max_size=8), FAMILIES)
def test_of_each_network_the_spelling_of_the_widest_base_is_kept(specs: list[UNetSpec], family: Family) -> None:
    every = [each for spec in specs for each in spellings(spec, family)]
    rows = np.array([each.row for each in every], dtype=np.int64).reshape(-1, 10)
    kept = [UNetSpec.from_row(row) for row in distinct(rows, family)]
    widest = {network(each, family): max(e.base_channel for e in every if network(e, family) == network(each, family))
              for each in every}  # fmt: skip
    assert {network(each, family): each.base_channel for each in kept} == widest
