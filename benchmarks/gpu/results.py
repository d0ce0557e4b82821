"""What a part found: rows in a JSON file that is whole at every moment, and the same rows as a table in markdown."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import Field

from diffusion.cost.throughput import device_name
from diffusion.settings import Frozen
from diffusion.training.checkpoint import write_json

PACKAGES = ("torch", "diffusers", "accelerate", "torch-fidelity", "triton")
GIB = 2**30

Figure = float | int | str | bool | None


class Row(Frozen):
    """One measurement, in words as a table shows it and in figures; `is_right` is false where it failed."""

    what: str
    said: str
    figures: dict[str, Figure] = Field(default_factory=dict)
    is_right: bool = True
    trace: str | None = None  # of a failure that is nobody's lack of memory or packages


class Machine(Frozen):
    """Where a part ran."""

    name: str
    gib: float | None  # of the device's memory
    driver: str | None
    cuda: str | None
    cudnn: int | None
    cores: int
    versions: dict[str, str]

    @classmethod
    def here(cls, device: str, cores: int) -> "Machine":
        """This machine, as the libraries tell it."""
        is_gpu = device == "cuda"
        return cls(
            name=device_name(device),
            gib=round(torch.cuda.get_device_properties(device).total_memory / GIB, 1) if is_gpu else None,
            driver=_driver() if is_gpu else None,
            cuda=torch.version.cuda if is_gpu else None,
            cudnn=torch.backends.cudnn.version() if is_gpu else None,
            cores=cores,
            versions={"Python": platform.python_version()} | {name: found for name in PACKAGES if (found := _of(name))},
        )

    def __str__(self) -> str:
        memory = f", {self.gib} GiB" if self.gib else ""
        driver = f", driver {self.driver}, CUDA {self.cuda}, cuDNN {self.cudnn}" if self.cuda else ""
        versions = ", ".join(f"{name} {found}" for name, found in self.versions.items())
        return f"{self.name}{memory}, {self.cores} cores{driver}, {versions}"


class Result(Frozen):
    """A part: its file is ``NAME.json`` once it ended, and ``NAME.part.json`` until then."""

    part: str
    command: str
    date: str
    machine: Machine
    seconds: float
    rows: tuple[Row, ...] = ()
    skipped: tuple[str, ...] = ()  # for want of time


def save(result: Result, folder: Path, ended: bool) -> Path:
    """Write the part's file; the unfinished one goes when the finished one is there."""
    unfinished, finished = (folder / f"{result.part}{ending}" for ending in (".part.json", ".json"))
    path = finished if ended else unfinished
    write_json(path, result.model_dump(mode="json"))
    if ended:
        unfinished.unlink(missing_ok=True)
    return path


def found(part: str, folder: Path) -> Result | None:
    """What is known of a part, finished or not."""
    for ending in (".json", ".part.json"):
        path = folder / f"{part}{ending}"
        if path.exists():
            return Result.model_validate_json(path.read_text())
    return None


def is_finished(part: str, folder: Path) -> bool:
    """Whether a part ran to its end, with or without failed rows."""
    return (folder / f"{part}.json").exists()


def markdown(results: list[Result], folder: Path) -> str:
    """A table for each part, as docs/benchmarks.md has them: the command above, machine and date in its head."""
    tables = []
    for one in results:
        unfinished = "" if is_finished(one.part, folder) else ", cut off"
        lines = [f"`{one.command}`, {one.seconds:.0f} s{unfinished}:", ""]
        lines += [f"| {one.part} | {one.machine}, {one.date} |", "| --- | --- |"]
        lines += [f"| {row.what} | {row.said if row.is_right else f'**{row.said}**'} |" for row in one.rows]
        lines += ["", f"Skipped for want of time: {'; '.join(one.skipped)}."] if one.skipped else []
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"


def _of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    """The driver's version, which torch does not tell."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, IndexError, subprocess.SubprocessError):
        return None
