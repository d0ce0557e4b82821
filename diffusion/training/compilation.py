"""When compiling a network pays: only where it was measured to, for trainings longer than the measured break-even.

``python benchmarks/train_step.py`` prints the break-even; docs/benchmarks.md has the figures. On two CPU cores a small
network at 8×8, where overhead rules, pays from 23,407 steps on; DDPM's at 32×32, where convolutions rule, never does.
No GPU was measured, so there compiling is left to whoever asks for it. No torch is imported here.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from diffusion.settings import Precision
from diffusion.training.settings import Compile

BREAK_EVEN_STEPS = 23_407  # a warm-up of 66.8 s against 2.86 ms saved a step
SAFETY = 1.5  # the saving is small beside its noise
MEASURED_MACS_PER_STEP = 128 * 4_088_896  # the small case; of what lies between it and DDPM nothing is known
CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")  # where torch and Triton look for what was compiled
COMPILERS = ("g++", "clang++", "c++")  # of which torch's inductor needs one on a CPU


def is_compiled(
    compile: Compile, device: Literal["cpu", "cuda"], macs_per_step: int, train_steps: int, precision: Precision
) -> bool:
    """Whether a training is to be compiled; `macs_per_step` are those of a forward pass of a whole batch."""
    if compile != "auto":
        return compile == "on"
    measured = device == "cpu" and precision == "fp32" and macs_per_step <= MEASURED_MACS_PER_STEP
    return measured and train_steps > SAFETY * BREAK_EVEN_STEPS and has_compiler()


def has_compiler() -> bool:
    """Whether a C++ compiler is at hand."""
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "", *COMPILERS) if name)


@contextmanager
def cache_of_its_own(folder: Path) -> Iterator[None]:
    """What is compiled meanwhile goes into this folder, empty at first and gone at the end.

    Compilers write libraries in place, and torch takes a file that is there for a whole one: what a killed process left
    half written would fail in every later training of the same network.
    """
    shutil.rmtree(folder, ignore_errors=True)
    before = {name: os.environ.get(name) for name in CACHES}
    os.environ.update(dict.fromkeys(CACHES, str(folder)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        shutil.rmtree(folder, ignore_errors=True)
