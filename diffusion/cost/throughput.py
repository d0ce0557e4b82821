"""How fast this machine multiplies matrices, and which share of that a training reaches.

The peak is measured with `torch.matmul` on matrices large enough to fill the device, once for a device, a number of
threads and a precision, and then read from a small JSON file. It is what this machine reaches, not what a data sheet
promises. Nothing is measured of memory bandwidth, and no network is run here.
"""

import json
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion.files.writing import whole
from diffusion.settings import Precision

if TYPE_CHECKING:
    import torch

WINOGRAD = 2.25  # so many times fewer products of a 3×3 convolution by F(2×2, 3×3) (Lavin & Gray 2016)
FLOPS_PER_MAC = 2  # one multiplication, one addition
PASSES = 3  # forward, and backward for the inputs and for the weights
WORTH_MEASURING_MACS = 5 * 10**11  # of a whole training: seconds on two cores, beside which measuring is not much
CPU_SIDES, CUDA_SIDES = (1024, 2048), (8192,)  # below, calls and caches rule; above, the rate stays the same
FEWEST_REPEATS = 3  # the best counts: another process can only slow this one down
SECONDS = 1.0  # for each size, and longer where the repeats need it


@dataclass(frozen=True)
class Speed:
    """What a training computes in a second, from what its spec costs.

    `macs_total` are those of one image by the convention ``total``, `batch_size` is that of a whole step over all
    processes, `peak` the FLOP/s of all devices together, None where it is not known. A step counts 6 FLOPs per MAC and
    image: 2 for each of forward, backward for the inputs and backward for the weights. Normalisation, activations, the
    optimiser and the averaging count nothing, as is usual for this measure (Chowdhery et al. 2022, Appendix B).

    A share of 0.9 says that a step takes 1.1 times as long as its products alone would take at the measured peak. It
    can pass 1, since a convolution may be computed with fewer operations than the products it is counted as. Other
    processes on the machine lower it while they compute, and would raise it had they run while the peak was measured.
    """

    macs_total: int
    batch_size: int
    peak: float | None

    def flops_per_second(self, seconds_a_step: float) -> float:
        """The FLOP/s of a training whose steps take so long."""
        return FLOPS_PER_MAC * PASSES * self.macs_total * self.batch_size / seconds_a_step

    def peak_share(self, seconds_a_step: float) -> float | None:
        """The share of the measured peak; None without one, or where it is more than a convolution can save.

        Then something else computed while the peak was measured.
        """
        share = self.flops_per_second(seconds_a_step) / self.peak if self.peak else None
        return share if share is not None and share <= WINOGRAD else None


def matmul_peak(
    device: str, threads: int, precision: Precision, cache_folder: Path, measure: bool = True
) -> float | None:
    """The FLOP/s of matrix products on a device, for example ``cpu`` or ``cuda:0``; measured the first time only.

    On a GPU in fp32 the products may use TF32, as convolutions do by default. Measuring takes a few seconds, leaves the
    random generators and the number of threads as they were, and counts too little while something else computes.

    Returns:
        FLOP/s of one device; None if it was not measured before and `measure` is off.
    """
    name = device_name(device)
    settings = [precision] if device.startswith("cuda") else [f"{threads}-threads", precision]
    path = cache_folder / f"matmul-peak-{_slug('-'.join([name, *settings]))}.json"
    found = _read(path)
    if found is not None or not measure:
        return found
    flops_per_second = measure_matmul(device, threads, precision)
    _write(path, {"flops_per_second": flops_per_second, "device": name, "threads": threads, "precision": precision})
    return flops_per_second


def device_name(device: str) -> str:
    """The name of a GPU's model, or of the CPU's as far as the system tells it."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def measure_matmul(device: str, threads: int, precision: Precision) -> float:
    """The FLOP/s of the fastest of several matrix products, now."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    sides = CUDA_SIDES if device.startswith("cuda") else CPU_SIDES
    with _threads(threads), _tf32(device):
        return max(FLOPS_PER_MAC * side**3 / _best_seconds(device, side, dtype) for side in sides)


def _best_seconds(device: str, side: int, dtype: "torch.dtype") -> float:
    """The shortest time of one product of two square matrices."""
    import torch

    draws = torch.Generator(device).manual_seed(0)
    one, other = (torch.randn(side, side, generator=draws, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(one)  # (side, side), as the others

    def seconds() -> float:
        _wait(device)
        started = time.perf_counter()
        torch.matmul(one, other, out=out)
        _wait(device)
        return time.perf_counter() - started

    seconds()  # the first call chooses its kernel
    times: list[float] = []
    while len(times) < FEWEST_REPEATS or sum(times) < SECONDS:
        times.append(seconds())
    return min(times)


def _wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for what is inside."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _tf32(device: str) -> Iterator[None]:
    """On a GPU, TF32 for products in fp32."""
    import torch

    before = torch.get_float32_matmul_precision()
    if device.startswith("cuda"):
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _slug(text: str) -> str:
    """A text as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _read(path: Path) -> float | None:
    """A figure that was measured before; a file that is not ours counts as none."""
    try:
        value = json.loads(path.read_text())["flops_per_second"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _write(path: Path, value: dict[str, object]) -> None:
    """The whole file at once, or none: where it cannot be written, the next process measures again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            part.write_text(json.dumps(value, indent=1))
