"""What is to be known of a machine before a search: the installation, the accelerator, the data, the backends.

Each check is looked at by itself: what fails is a line with a remedy, and the others are looked at all the same. The
exam of a language model is `agent.doctor.exam`'s; nothing is trained, and nothing is sent, here.
"""

import importlib
import importlib.metadata
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from agent.config.settings import RunConfig
from diffusion.errors import UserError

State = Literal["ok", "warning", "failed"]

OLDEST_PYTHON, OLDEST_SQLITE = (3, 11), (3, 37, 0)  # SQLite's: STRICT tables
LEAST_FREE_BYTES = 2**30
ANOTHER_OUT = "name another folder: export DIFFNAS_OUT=FOLDER"
MUST_IMPORT = ("torch", "torchvision", "diffusers.models", "torch_fidelity", "accelerate", "langchain.agents")
EXTRAS = {
    "anthropic": "langchain_anthropic",
    "compress": "torch_pruning",
    "efficientnet": "efficientnet_lite_pytorch",
    "ollama": "langchain_ollama",
    "ray": "ray",
}
TRACKERS = ("tensorboard", "wandb", "trackio")  # packages of their own, each by its name
DISTRIBUTION = "diffnas-agent"
AGAIN = f"pip install --force-reinstall {DISTRIBUTION}"


@dataclass(frozen=True)
class Check:
    """What was looked at, and what was found; `remedy` is None where nothing is wrong."""

    name: str
    state: State
    found: str
    remedy: str | None = None


def checks(config: RunConfig) -> Iterator[Check]:
    """Every check with these settings, one after the other."""
    looks: dict[str, Callable[[], Check]] = {
        "python": python,
        "sqlite": sqlite,
        "packages": packages,
        "imports": imports,
        "extras": lambda: extras(config),
        "prompts": templates,
        "accelerator": accelerator,
        "data": lambda: data(config),
        "features": lambda: features(config),
        "memory": lambda: memory(config),
        "output": lambda: output(config),
        "backends": lambda: backends(config),
    }
    for name, look in looks.items():
        yield looked_at(name, look)


def looked_at(name: str, look: Callable[[], Check]) -> Check:
    """A check, whatever goes wrong in it."""
    try:
        return look()
    except UserError as mistake:
        found, semicolon, remedy = str(mistake).partition("; ")
        return Check(name, "failed", found, remedy if semicolon else "change the setting that is named")
    except Exception as error:  # a broken installation raises anything; it is said, and the doctor goes on
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return Check(name, "failed", said, f"install again: {AGAIN}")


def python() -> Check:
    """The interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Check("python", "failed", version, f"take Python {oldest} or newer: make run PYTHON=python{oldest}")
    return Check("python", "ok", f"{version} in {sys.prefix}")


def sqlite() -> Check:
    """The library that holds the memory."""
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        remedy = "take a Python whose SQLite is 3.37 or newer, such as that of: uv venv --managed-python"
        return Check("sqlite", "failed", version, remedy)
    return Check("sqlite", "ok", version)


def packages() -> Check:
    """Whether all that is required is there, by the distribution's own list."""
    try:
        required = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return Check("packages", "warning", f"{DISTRIBUTION} itself is not installed", "pip install -e .")
    names = [match[0] for line in required if "extra ==" not in line and (match := re.match(r"[\w.-]+", line))]
    missing = [name for name in names if not _is_installed(name)]
    if missing:
        return Check("packages", "failed", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Check("packages", "ok", f"{len(names)} of {len(names)} are installed")


def imports() -> Check:
    """Whether the large packages can be imported together; beside a wrong torch some of them cannot."""
    versions = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in MUST_IMPORT:
            try:
                importlib.import_module(name)
            except Exception as error:  # whatever a package raises while it is imported
                said = " ".join(f"{type(error).__name__}: {error}".split())
                remedy = "install torch and torchvision together, as one pair: pip install torch torchvision"
                return Check("imports", "failed", f"{name} cannot be imported ({said})", remedy)
            package = name.partition(".")[0].replace("_", "-")
            versions.append(f"{package} {importlib.metadata.version(package)}")
    return Check("imports", "ok", ", ".join(versions))


def extras(config: RunConfig) -> Check:
    """Which optional packages are there, and whether those are that the settings ask for."""
    there = [extra for extra, package in EXTRAS.items() if find_spec(package) is not None]
    asked, tracker = config.jobs.executor, config.jobs.log_with
    if asked in EXTRAS and asked not in there:
        return Check("extras", "failed", f"executor {asked} is not installed", f"pip install '{DISTRIBUTION}[{asked}]'")
    if tracker is not None and find_spec(tracker) is None:
        return Check("extras", "failed", f"log_with {tracker} is not installed", f"pip install {tracker}")
    absent = ", ".join(extra for extra in EXTRAS if extra not in there)
    missed = f"; not needed and not there: {absent}" if absent else ""
    return Check("extras", "ok", f"{', '.join(there) or 'none'}{missed}")


def templates() -> Check:
    """Whether the prompts are complete and can be read."""
    from prompts.render import environment

    names = [name for name in environment().list_templates() if name.endswith(".j2")]
    for name in names:
        environment().get_template(name)
    again = None if names else f"install again: {AGAIN}"
    return Check("prompts", "ok" if names else "failed", f"{len(names)} templates", again)


def accelerator() -> Check:
    """The GPUs, each having multiplied two small matrices; without one trainings run on the cores."""
    import torch

    from tools.executors.machine import NVIDIA_DRIVER, cores

    if not torch.cuda.is_available():
        if any(path.exists() for path in NVIDIA_DRIVER):
            return Check("accelerator", "warning", "a driver is there, but torch sees no GPU", _unseen())
        return Check("accelerator", "ok", f"no GPU: trainings run on {cores()} cores")
    found = []
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        square = torch.ones(256, 256, device=f"cuda:{number}")
        if (square @ square)[0, 0].item() != 256:  # a row of ones times a column of ones
            return Check("accelerator", "failed", f"{about.name} multiplies wrongly", "look at the driver's log")
        found.append(f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
    return Check("accelerator", "ok", "; ".join(found))


def _unseen() -> str:
    """What makes torch see a GPU whose driver is there."""
    import torch

    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return "take away what hides it: unset CUDA_VISIBLE_DEVICES"
    if torch.version.cuda is None:
        return "this torch is built for CPUs: pip install --force-reinstall torch torchvision"
    return f"this torch is built for CUDA {torch.version.cuda}; see whether the driver is as new: nvidia-smi"


def data(config: RunConfig) -> Check:
    """Whether the data set can be read and prepared, in a folder that is thrown away."""
    from diffusion.data.images import prepare_images

    with tempfile.TemporaryDirectory(prefix="diffnas-doctor-") as folder:
        card = prepare_images(
            config.data.dataset, Path(folder), data_dir=config.data.data_dir, resolution=config.data.resolution
        )
    size = f"{card.resolution}×{card.resolution}, {card.channels} channel(s)"
    return Check("data", "ok", f"{card.name}: {card.train_count:,} and {card.test_count:,} images of {size}")


def features(config: RunConfig) -> Check:
    """Whether the network that scores are taken with can be loaded."""
    from diffusion.scores.features import feature_extractor
    from diffusion.scores.networks import score_network

    network = score_network(config.score.feature_network)
    feature_extractor(network.name, weights=config.score.feature_weights)
    return Check("features", "ok", f"{network.name}, {network.num_features:,} features")


def memory(config: RunConfig) -> Check:
    """Whether the memory is one, or can be made."""
    from memory.connection import check_memory

    there = config.places.db.exists()
    check_memory(config.places.db, read_only=True)
    return Check("memory", "ok", f"{config.places.db}" + ("" if there else ", not there yet"))


def output(config: RunConfig) -> Check:
    """Whether there is room for checkpoints."""
    place = config.places.out.absolute()
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        return Check("output", "failed", f"{config.places.out} cannot be written", ANOTHER_OUT)
    free = shutil.disk_usage(place).free
    found = f"{config.places.out}: {free / 2**30:.0f} GiB free"
    if free < LEAST_FREE_BYTES:
        return Check("output", "warning", found, f"make room, or {ANOTHER_OUT}")
    return Check("output", "ok", found)


def backends(config: RunConfig) -> Check:
    """Whether the packages and keys of the backends are there; whether they answer is the exam's to say."""
    from agent.backends.registry import addresses_of, check_backends

    check_backends(config)
    addresses = dict.fromkeys(addresses_of(config) + addresses_of(config, "chat"))
    return Check("backends", "ok", ", ".join(map(str, addresses)))


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
