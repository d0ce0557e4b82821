import numpy as np

from diffusion.nag.nasbench201 import NONE, OPERATIONS, canonical, every_cell, number, parse
from diffusion.nag.search.encodings import INPUT, output_terms, path_counts, subterm_counts

CONV1, CONV3, POOL = (OPERATIONS.index(name) for name in ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))
CELL = parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|")


def test_a_cell_puts_out_the_terms_that_one_reads_off_it() -> None:
    once = (CONV3, (INPUT,))
    twice = (CONV3, (once,))
    assert output_terms(CELL) == tuple(sorted([INPUT, (CONV1, (once,)), (POOL, (twice,))]))
    assert output_terms((NONE,) * 6) == ()


def test_cells_of_one_network_are_one_row_and_others_another() -> None:
    numbers = canonical(every_cell(), thorough=True)
    for encode, rows in ((subterm_counts, 4930), (path_counts, None)):
        encoded = encode(every_cell())
        assert (encoded == encoded[numbers]).all()
        if rows:
            assert len(np.unique(encoded, axis=0)) == rows


def test_paths_are_counted_by_what_they_pass() -> None:
    row = path_counts([CELL])[0]
    assert row.sum() == 3
    assert row[0] == 1  # straight through the skip
    doubled = path_counts([(3, 0, 1, 3, 3, 1)])[0]  # two ways through two 3×3
    assert doubled.max() == 2 and doubled.sum() == 3
    assert path_counts([]).shape == (0, 40)


def test_parts_of_a_computation_are_counted() -> None:
    one, with_more = subterm_counts([(0, 0, 3, 0, 0, 0), (3, 0, 3, 0, 1, 0)])  # a 3×3, and twice the same 3×3
    assert one.tolist() == [1, 1, 1, 1, 1, 0]  # 3×3 first, 3×3 of the input, that term, the input at depth 1, the sum
    assert with_more.tolist() == [2, 2, 2, 2, 0, 1]
    assert number([CELL]).shape == (1,)
