"""When compiling a network pays: only where it was measured to, for trainings longer than the measured break-even.

``python benchmarks/train_step.py`` prints the break-even; docs/benchmarks.md has the figures. On two CPU cores a small
network at 8×8, where overhead rules, pays from 23,407 steps on; DDPM's at 32×32, where convolutions rule, never does.
No GPU was measured, so there compiling is left to whoever asks for it. No torch is imported here.
"""

import os
import shutil
from typing import Literal

from diffusion.settings import Precision
from diffusion.training.settings import Compile

BREAK_EVEN_STEPS = 23_407  # a warm-up of 66.8 s against 2.86 ms saved a step
SAFETY = 1.5  # the saving is small beside its noise
MEASURED_MACS_PER_STEP = 128 * 4_088_896  # the small case; of what lies between it and DDPM nothing is known
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
