"""How jobs share a machine: never more threads than cores, never more processes than there is room for."""

from pathlib import Path

import pytest

from diffusion.errors import UserError
from tools.executors import machine
from tools.executors.machine import Machine, Node, Share, share, side_by_side

TWO_CORES, EIGHT_CORES = Machine((Node(2),)), Machine((Node(8),))
FOUR_GPUS = Machine((Node(32, 4),))
CLUSTER = Machine((Node(4), Node(8)), name="the largest node of the cluster")


@pytest.mark.parametrize(
    ("has", "parallel", "processes", "rounds", "expected"),
    [
        (TWO_CORES, "auto", 1, 10, Share(2, 1, 1)),
        (TWO_CORES, "auto", 1, 9, Share(1, 1, 2)),  # few rounds: each proposal should see all results
        (TWO_CORES, "auto", 1, 0, Share(1, 1, 2)),
        (TWO_CORES, 1, 2, 10, Share(1, 2, 1)),
        (TWO_CORES, 4, 1, 10, Share(4, 1, 1)),
        (EIGHT_CORES, "auto", 1, 20, Share(4, 1, 2)),
        (EIGHT_CORES, "auto", 4, 100, Share(2, 4, 1)),
        (EIGHT_CORES, 3, 1, 10, Share(3, 1, 2)),
        (FOUR_GPUS, "auto", 2, 100, Share(2, 2, 8, "cuda")),
        (FOUR_GPUS, "auto", 1, 5, Share(1, 1, 32, "cuda")),
        (CLUSTER, "auto", 3, 100, Share(3, 3, 1)),
        (CLUSTER, 1, 1, 0, Share(1, 1, 4)),  # any node may be the one
        (CLUSTER, 1, 6, 0, Share(1, 6, 1)),  # only the larger one is
        (Machine((Node(8),), surely=False), "auto", 1, 100, Share(1, 1, 8)),
    ],
)
def test_jobs_share_cores_and_gpus(
    has: Machine, parallel: int | str, processes: int, rounds: int, expected: Share
) -> None:
    assert share(has, parallel, processes, rounds) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("has", "parallel", "processes", "jobs", "expected"),
    [
        (TWO_CORES, "auto", 1, 0, Share(1, 1, 2)),
        (TWO_CORES, "auto", 1, 1, Share(1, 1, 2)),
        (TWO_CORES, "auto", 1, 2, Share(2, 1, 1)),
        (TWO_CORES, "auto", 1, 3, Share(3, 1, 1)),  # the third would idle a core by itself
        (TWO_CORES, "auto", 1, 4, Share(2, 1, 1)),
        (TWO_CORES, "auto", 2, 3, Share(1, 2, 1)),  # processes that wait for one another need their cores
        (TWO_CORES, 1, 1, 3, Share(1, 1, 2)),  # a person said so
        (EIGHT_CORES, "auto", 1, 3, Share(3, 1, 2)),
        (EIGHT_CORES, "auto", 2, 9, Share(4, 2, 1)),
        (FOUR_GPUS, "auto", 1, 3, Share(3, 1, 10, "cuda")),
        (FOUR_GPUS, "auto", 1, 5, Share(4, 1, 8, "cuda")),
        (Machine((Node(1),)), "auto", 1, 3, Share(1, 1, 1)),
        (Machine((Node(8),), surely=False), "auto", 1, 3, Share(1, 1, 8)),
    ],
)
def test_jobs_that_do_not_wait_for_one_another_take_the_whole_machine(
    has: Machine, parallel: int | str, processes: int, jobs: int, expected: Share
) -> None:
    assert side_by_side(has, parallel, processes, jobs) == expected  # type: ignore[arg-type]


def test_no_more_jobs_run_side_by_side_than_the_memory_holds() -> None:
    assert side_by_side(EIGHT_CORES, "auto", 1, 3, fitting=2) == Share(2, 1, 4)
    assert side_by_side(EIGHT_CORES, "auto", 1, 3, fitting=100) == Share(3, 1, 2)


@pytest.mark.parametrize(
    ("has", "sentence"),
    [
        (TWO_CORES, "--nproc 9: this machine has 2 cores; take at most 2"),
        (Machine((Node(1),)), "--nproc 9: this machine has 1 core; take at most 1"),
        (FOUR_GPUS, "--nproc 9: this machine has 4 GPUs; take at most 4"),
        (CLUSTER, "--nproc 9: the largest node of the cluster has 8 cores; take at most 8"),
    ],
)
def test_more_processes_than_a_node_has_are_refused(has: Machine, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        share(has, "auto", 9, 10)
    assert str(refused.value) == sentence


def test_without_a_driver_there_are_no_gpus_and_torch_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "NVIDIA_DRIVER", (tmp_path / "none",))
    monkeypatch.setitem(__import__("sys").modules, "torch", None)  # an import would raise
    assert machine.visible_gpus() == ()


def test_gpus_are_named_as_the_user_listed_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(machine, "NVIDIA_DRIVER", (tmp_path,))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machine.visible_gpus() == ("0", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-8f2c")
    assert machine.visible_gpus() == ("3", "GPU-8f2c")


def test_an_accelerator_that_is_not_counted_is_not_shared_by_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "OTHER_ACCELERATOR", tmp_path)
    assert not machine.this_machine().surely
