"""Values of many images in parts: what a kill leaves, what several processes share, what is not trusted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diffusion.scores.parts import MOST_PARTS, Parts, images_in

COUNT, BATCH = 23, 4  # six parts, the last one short
SLICES = [slice(start, min(start + BATCH, COUNT)) for start in range(0, COUNT, BATCH)]
VALUES = np.random.default_rng(0).random((COUNT, 3))  # float64 that no float32 holds

WORKER = f"""
import sys, time
from pathlib import Path
import numpy as np
import diffusion.scores.parts as parts

parts.WORTH_KEEPING_SECONDS, parts.POLL_SECONDS = 0.0, 0.01
values, into = np.random.default_rng(0).random(({COUNT}, 3)), np.zeros(({COUNT}, 3))

def compute(part, tell):
    print(part.start, flush=True)
    time.sleep(float(sys.argv[2]))
    return values[part]

parts.Parts(Path(sys.argv[1]), {COUNT}, {BATCH}).gather(into, compute, lambda done: None)
assert np.array_equal(into, values)
print("same", flush=True)
"""


@pytest.fixture(autouse=True)
def _all_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusion.scores.parts.WORTH_KEEPING_SECONDS", 0.0)
    monkeypatch.setattr("diffusion.scores.parts.POLL_SECONDS", 0.01)


def gathered(parts: Parts, compute: Callable[[slice], NDArray[Any]] = lambda part: VALUES[part]) -> list[int]:
    """Where the parts begin that had to be computed; what is gathered is right."""
    into, computed = np.zeros_like(VALUES), []

    def tell(part: slice, _: Any) -> NDArray[Any]:
        values = compute(part)
        computed.append(part.start)
        return values

    assert parts.gather(into, tell, lambda done: None)
    np.testing.assert_array_equal(into, VALUES)
    return computed


def worker(folder: Path, seconds: float = 0.0) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), str(seconds)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(process: "subprocess.Popen[str]") -> Iterator[str]:
    assert process.stdout
    yield from (line.strip() for line in process.stdout)


def ended(process: "subprocess.Popen[str]") -> list[str]:
    """All that it still says; it ended well."""
    said = list(lines(process))
    assert process.wait() == 0
    assert process.stdout
    process.stdout.close()
    return said


def killed(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout
    process.stdout.close()


def test_parts_are_whole_batches_and_few() -> None:
    assert list(Parts(Path(), COUNT, BATCH).slices) == SLICES
    many = Parts(Path(), 60_000, 16).slices
    assert len(many) <= MOST_PARTS and {part.start % 16 for part in many} == {0}
    assert (many[0].start, many[-1].stop) == (0, 60_000)
    assert all(first.stop == second.start for first, second in pairwise(many))


def test_what_was_computed_before_an_end_is_not_computed_again(tmp_path: Path) -> None:
    parts, done = Parts(tmp_path / "parts", COUNT, BATCH), []

    def compute(part: slice) -> NDArray[Any]:
        if part.start in (8, 16) and part.start not in done:
            done.append(part.start)
            raise KeyboardInterrupt
        return VALUES[part]

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            gathered(parts, compute)
    assert images_in(parts.folder) == 16
    assert gathered(parts, compute) == [16, 20]
    assert gathered(parts) == []
    parts.remove()
    assert not list(tmp_path.iterdir())


def test_work_of_a_few_seconds_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusion.scores.parts.WORTH_KEEPING_SECONDS", 60.0)
    assert len(gathered(Parts(tmp_path / "parts", COUNT, BATCH))) == 6
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "empty", "nonsense", "a flipped bit", "another shape"])
def test_a_part_that_is_damaged_is_computed_anew(damage: str, tmp_path: Path) -> None:
    parts = Parts(tmp_path, COUNT, BATCH)
    gathered(parts)
    path = parts.path(SLICES[2])
    content = path.read_bytes()
    middle = len(content) // 2  # within the values
    spoiled = {
        "cut": content[:-20],
        "empty": b"",
        "nonsense": b"nonsense",
        "a flipped bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "another shape": parts.path(SLICES[5]).read_bytes(),
    }
    path.write_bytes(spoiled[damage])
    assert gathered(parts) == [8]
    assert path.read_bytes() == content


def test_half_the_bytes_hold_what_is_exact_in_them(tmp_path: Path) -> None:
    parts = Parts(tmp_path, COUNT, BATCH)
    for values, kind in ((VALUES, np.float64), (VALUES.astype(np.float32).astype(np.float64), np.float32)):
        parts.keep(SLICES[0], values[SLICES[0]])
        read = parts.read(SLICES[0], (3,))
        assert read is not None and read.dtype == kind
        np.testing.assert_array_equal(read, values[SLICES[0]])


def test_where_nothing_can_be_kept_the_work_is_done_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert len(gathered(Parts(tmp_path / "file" / "parts", COUNT, BATCH))) == 6


@pytest.mark.parametrize("worth_keeping_seconds", [0.0, 60.0])
def test_two_at_once_share_the_parts_and_get_the_same(
    worth_keeping_seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where each holds what the other one waits for, since it has not been worth keeping yet."""
    monkeypatch.setattr("diffusion.scores.parts.WORTH_KEEPING_SECONDS", worth_keeping_seconds)
    parts, both = Parts(tmp_path, COUNT, BATCH), Event()
    computed: dict[str, list[int]] = {"first": [], "second": []}

    def work(name: str) -> None:
        def compute(part: slice) -> NDArray[Any]:
            computed[name].append(part.start)
            if all(computed.values()):
                both.set()
            assert both.wait(10), "the other one has begun, too"
            time.sleep(0.01)
            return VALUES[part]

        gathered(parts, compute)

    threads = [Thread(target=work, args=(name,), daemon=True) for name in computed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads), "nobody waits for ever"
    assert sorted(computed["first"] + computed["second"]) == [part.start for part in SLICES], "each part once"
    assert all(computed.values())


def test_the_whole_that_appears_ends_the_work(tmp_path: Path) -> None:
    made: list[int] = []
    parts = Parts(tmp_path, COUNT, BATCH, is_over=lambda: bool(made))

    def compute(part: slice, _: Any) -> NDArray[Any]:
        made.append(part.start)
        return VALUES[part]

    assert not parts.gather(np.zeros_like(VALUES), compute, lambda done: None)
    assert made == [0]


def test_nobody_waits_for_a_process_that_was_killed(tmp_path: Path) -> None:
    dead = worker(tmp_path, seconds=60)
    assert next(lines(dead)) == "0"
    waiting = worker(tmp_path)
    assert [next(lines(waiting)) for _ in range(5)] == ["4", "8", "12", "16", "20"], "the first part is taken"
    killed(dead)
    assert ended(waiting) == ["0", "same"]


def test_progress_begins_with_what_is_kept_and_is_told_while_others_compute(tmp_path: Path) -> None:
    parts, told = Parts(tmp_path, COUNT, BATCH), []
    parts.keep(SLICES[1], VALUES[SLICES[1]])
    other = worker(tmp_path, seconds=60)
    assert next(lines(other)) == "0"

    def tell(done: int) -> None:
        told.append(done)
        if told[-2:] == [19, 19]:  # all but what the other one has
            killed(other)

    assert parts.gather(np.zeros_like(VALUES), lambda part, _: VALUES[part], tell)
    assert told[:6] == [4, 8, 12, 16, 19, 19]


@pytest.mark.chaos
def test_kills_at_random_instants_lose_at_most_a_part_and_change_nothing(tmp_path: Path) -> None:
    draws, computed = np.random.default_rng(7), 0
    for kill in range(20):
        folder = tmp_path / str(kill)
        first, second = worker(folder, seconds=0.05), worker(folder, seconds=0.05)
        next(lines(first))
        time.sleep(draws.uniform(0, 0.25))
        killed(first)
        assert ended(second)[-1] == "same"
        left = ended(worker(folder))
        assert left[-1] == "same"
        computed += len(left) - 1
    assert computed == 0, "what was gathered is kept"
