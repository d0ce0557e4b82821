import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion.streams import Order, generator, stream_seed


def test_a_seed_is_the_hash_of_what_it_is_for() -> None:
    expected = int(hashlib.sha256(b"7/noise/12").hexdigest()[:16], 16) // 2
    assert stream_seed(7, "noise", 12) == expected
    assert 0 <= expected < 2**63


def test_streams_differ_by_every_part_and_by_their_order() -> None:
    parts: list[tuple[int | str, ...]] = [
        (0, "noise", 0),
        (0, "noise", 1),
        (1, "noise", 0),
        (0, "dropout", 0),
        ("noise", 0, 0),
        (0, "noise", 0, 0),
    ]
    assert len({stream_seed(*part) for part in parts}) == len(parts)
    assert stream_seed(1, 11) != stream_seed(11, 1)


def test_generators_of_one_stream_start_alike_and_leave_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (torch.randn(4, generator=generator(0, "noise", step)) for step in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@given(seed=st.integers(0, 2**31), count=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_every_image_comes_exactly_once_an_epoch(seed: int, count: int, batch_size: int) -> None:
    steps = -(-3 * count // batch_size)
    order = Order(seed, count)
    listed = np.concatenate([order.batch(step, batch_size) for step in range(steps)])
    for epoch in range(3):
        assert sorted(listed[epoch * count : (epoch + 1) * count]) == list(range(count))


@given(st.lists(st.integers(0, 60), min_size=1, max_size=12))
def test_any_step_can_be_asked_for_in_any_order(steps: list[int]) -> None:
    sequential = Order(5, 23)
    expected = [sequential.batch(step, 8) for step in range(61)]
    jumping = Order(5, 23)
    for step in steps:
        assert (jumping.batch(step, 8) == expected[step]).all()
        assert (Order(5, 23).batch(step, 8) == expected[step]).all()


def test_batches_are_cuts_of_one_sequence_whatever_their_size() -> None:
    small = np.concatenate([Order(0, 50).batch(step, 10) for step in range(6)])
    large = np.concatenate([Order(0, 50).batch(step, 30) for step in range(2)])
    assert (small == large).all()


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = [tuple(Order(seed, 100).batch(epoch, 100)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9
    assert tuple(range(100)) not in orders


def test_indices_are_whole_numbers_for_indexing() -> None:
    assert Order(0, 10).batch(0, 4).dtype == np.int64


@pytest.mark.parametrize("count", [1, 2])
def test_a_batch_may_hold_several_epochs(count: int) -> None:
    assert sorted(Order(0, count).batch(0, 4 * count)) == sorted([*range(count)] * 4)
