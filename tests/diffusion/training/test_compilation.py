"""Compiling is chosen where it was measured to pay, and nowhere else."""

import os
from pathlib import Path

import pytest

from diffusion.cost.closed_form import cost
from diffusion.spec import UNetSpec
from diffusion.training import compilation
from diffusion.training.compilation import (
    BREAK_EVEN_STEPS,
    CACHES,
    MEASURED_MACS_PER_STEP,
    cache_of_its_own,
    is_compiled,
)

LONG = 2 * BREAK_EVEN_STEPS


@pytest.fixture(autouse=True)
def a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation.shutil, "which", lambda name: f"/usr/bin/{name}")


def test_a_long_training_of_the_network_that_was_measured_is_compiled() -> None:
    known = cost(UNetSpec.parse("b16-n1-m1.2.2.2-a0100"), "ddpm", 8, 1)
    assert 128 * known.macs.total == MEASURED_MACS_PER_STEP
    assert is_compiled("auto", "cpu", MEASURED_MACS_PER_STEP, LONG, "fp32")


def test_short_large_and_unmeasured_trainings_are_not() -> None:
    assert not is_compiled("auto", "cpu", MEASURED_MACS_PER_STEP, BREAK_EVEN_STEPS, "fp32")
    assert not is_compiled("auto", "cpu", MEASURED_MACS_PER_STEP + 1, LONG, "fp32")
    assert not is_compiled("auto", "cuda", MEASURED_MACS_PER_STEP, LONG, "bf16")
    assert not is_compiled("auto", "cpu", MEASURED_MACS_PER_STEP, LONG, "bf16")


def test_whoever_asks_is_obeyed() -> None:
    assert is_compiled("on", "cuda", 10**15, 1, "bf16")
    assert not is_compiled("off", "cpu", 1, LONG, "fp32")


def test_without_a_compiler_nothing_is_compiled_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation.shutil, "which", lambda name: None)
    assert not is_compiled("auto", "cpu", 1, LONG, "fp32")


def test_nothing_that_a_killed_process_left_half_compiled_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHES[0], "/elsewhere")
    monkeypatch.delenv(CACHES[1], raising=False)
    torn = tmp_path / "compiled" / "torn.so"
    torn.parent.mkdir()
    torn.touch()
    with cache_of_its_own(torn.parent):
        assert not torn.exists() and {os.environ[name] for name in CACHES} == {str(torn.parent)}
        torn.parent.mkdir()
    assert not torn.parent.exists()
    assert os.environ[CACHES[0]] == "/elsewhere" and CACHES[1] not in os.environ
