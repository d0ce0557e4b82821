import gzip
import os
from pathlib import Path

import pytest

from diffusion.errors import UserError
from diffusion.nag.nasbench201 import Table, canonical, every_cell, nasbench201, number, parse, text

RESULTS = os.environ.get("NASBENCH201_TABLE", "")
needs_results = pytest.mark.skipif(not RESULTS, reason="NASBENCH201_TABLE names no table of NAS-Bench-201's results")


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table in the form of the real one: the accuracy of a cell is its number, and the rows are shuffled."""
    path = tmp_path_factory.mktemp("table") / "cells.csv.gz"
    rows = [f"{text(cell)},{place}" for place, cell in enumerate(every_cell())]
    path.write_bytes(gzip.compress("\n".join(["arch_str,cifar10_test", *reversed(rows)]).encode()))
    return path


def test_a_cell_is_written_as_the_benchmark_writes_it() -> None:
    written = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|"
    assert text((3, 0, 1, 3, 2, 4)) == written
    assert parse(written) == (3, 0, 1, 3, 2, 4)
    assert all(parse(text(cell)) == cell for cell in every_cell())


def test_numbers_count_the_cells() -> None:
    assert number(every_cell()).tolist() == list(range(5**6))
    space = nasbench201()
    assert tuple(space.decode(space.members(), space.id)) == every_cell()


@pytest.mark.parametrize("written", ["|nor_conv_3x3~0|", "|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|"])
def test_what_is_no_cell_is_refused(written: str) -> None:
    with pytest.raises(UserError, match="is not a cell of NAS-Bench-201; write it like"):
        parse(written)


def test_as_many_networks_differ_as_the_benchmark_counts() -> None:
    assert len(set(canonical(every_cell()))) == 6466
    assert len(set(canonical(every_cell(), thorough=True))) == 4930


def test_cells_that_compute_the_same_are_one_network() -> None:
    first, detour, other = (1, 0, 3, 0, 3, 0), (0, 1, 3, 0, 0, 3), (1, 0, 3, 0, 2, 0)
    assert len(set(canonical([first, detour], thorough=True))) == 1  # 3×3 from the input twice, by node 1 or 2
    assert len(set(canonical([first, other], thorough=True))) == 2
    assert len(set(canonical([(0,) * 6, (3, 0, 0, 0, 0, 0)], thorough=True))) == 1  # nothing arrives
    passed_on, direct = (1, 0, 0, 0, 3, 0), (0, 0, 3, 0, 0, 0)
    assert len(set(canonical([passed_on, (1, 2, 0, 0, 3, 0)]))) == 1  # the 1×1 at a node that leads nowhere
    assert len(set(canonical([passed_on, direct]))) == 1


def test_a_table_is_read_by_the_numbers_of_its_cells(synthetic: Path) -> None:
    table = Table.read(synthetic)
    assert table.columns["cifar10_test"].tolist() == list(range(5**6))
    assert table.of("cifar10_test", [(0, 0, 0, 0, 1, 0), (0,) * 6]).tolist() == [5, 0]
    with pytest.raises(UserError, match=r"^'svhn' is not a column of the table; there are cifar10_test"):
        table.of("svhn", [(0,) * 6])


def test_a_table_that_is_not_whole_is_refused_in_one_sentence(synthetic: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing.csv' does not exist"):
        Table.read(tmp_path / "nothing.csv")
    lines = gzip.decompress(synthetic.read_bytes()).decode().splitlines()
    short, headless = tmp_path / "short.csv", tmp_path / "headless.csv"
    short.write_text("\n".join(lines[:-1]))
    headless.write_text("\n".join(lines[1:]))
    with pytest.raises(UserError, match="has 15624 rows of 15624 cells; the table is 15625, each once"):
        Table.read(short)
    with pytest.raises(UserError, match="has no column arch_str"):
        Table.read(headless)


@needs_results
def test_the_real_table_has_the_published_figures() -> None:
    table = Table.read(Path(RESULTS))
    best = {name: round(float(table.columns[name].max()), 2) for name in ("cifar10_test", "cifar100_test")}
    assert best == {"cifar10_test": 94.37, "cifar100_test": 73.51}  # DiffusionNAG, Table 3, oracle
