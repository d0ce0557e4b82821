"""The commands that pages show, made small, and a folder in which what they speak of is there."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pretended
import pytest
from PIL import Image
from typed import seat, typed_in

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")])
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:printf '(?P<typed>[^']*)' \| )?(?:\.venv/bin/)?diffnas-agent (?P<words>.*)$")

SMALL = {  # what a number of an option is here
    "--train-steps": "2", "--num-images": "16", "--sampling-steps": "2", "--snapshot-steps": "1", "--specs": "6",
    "--seeds": "2", "--top": "1", "--supernet-steps": "1", "--parallel": "1", "--score-steps": "1",
    "--strategy": "digits-standard,train_steps=2", "--max-latency": "100000", "--step": "2",
}  # fmt: skip
ROUNDS = {"run": "1", "compare": "2", "strategy": "1", "resume": "8"}  # those in the memory have seven
MORE = {  # what else keeps a command small
    "run": ["--set", "batch_size=8"],
    "train": ["--set", "batch_size=8", "--train-steps", "2", "--num-images", "16", "--sampling-steps", "2"],
    "confirm": ["--search", "first", "--strategy", "digits-standard,train_steps=2", "--num-images", "16"],
    "compress": ["--candidates", "4", "--train-steps", "1", "--supernet-steps", "1"],
    "rank-study": ["--specs", "6"],
    "compare": ["--seeds", "2", "--parallel", "1"],
}
NOT_HERE = {  # a part of a command, and why it is not run here; that its options exist is tested for all
    "--executor ray": "starts a cluster: tests/tools/executors",
    "google/ddpm-cifar10-32": "a download",
    "CompVis/": "a download",
    "half": "goes on with what a download began",
    "--begin": "begins a search that outlives it: tests/agent/chat",
}
TINY = {"TRAIN_STEPS": 2, "BATCH_SIZE": 8, "NUM_IMAGES": 16, "SAMPLING_STEPS": 2, "REPLICAS": 1, "RACE_TRAININGS": 0}


class Pretending(pretended.PretendedExecutor):
    """Trains at once, where a page speaks of more than this machine computes in a test."""

    def __init__(self, stop: Event) -> None:
        super().__init__()


def shown(path: Path) -> Iterator[list[tuple[str, str | None]]]:
    """Of each block of shell the commands of this program, with what is typed into each."""
    for body in FENCE.findall(path.read_text(encoding="utf-8")):
        lines = body.replace("\\\n", " ").replace(" && ", "\n").splitlines()
        found = [(match["words"], match["typed"]) for line in lines if (match := COMMAND.match(line))]
        if found:
            yield found


def words_of(command: str, url: str) -> list[str] | None:
    """A command as it is typed here, small; None for one that cannot be run here."""
    command = command.partition(" > ")[0]
    if any(part in command for part in NOT_HERE):
        return None
    words = shlex.split(command.replace("http://127.0.0.1:8000/v1", url).replace("MODEL", "scripted"), comments=True)
    first = words[0]
    for place, word in enumerate(words[:-1]):
        value = words[place + 1]
        if word in SMALL:
            words[place + 1] = SMALL[word]
        elif word == "--rounds" and first in ROUNDS:
            words[place + 1] = ROUNDS[first]
        elif word == "--count" and value.isdigit():
            words[place + 1] = "2"
        elif word in ("--searcher", "--searchers"):
            words[place + 1] = value.replace("examples/", f"{ROOT}/examples/")
        elif word == "--name" and first == "run":
            words[place + 1] = f"{value}-here"  # the others are there already
    for name, value in zip(MORE.get(first, [])[::2], MORE.get(first, [])[1::2], strict=True):
        is_said = name in words and name != "--set"
        if not is_said and not (name == "--set" and "--bench" in words):  # a table has its own batches
            words += [name, value]
    return words


def is_pretended(commands: list[str]) -> bool:
    """Whether a block needs no weights, so that nothing has to be computed for it."""
    return not re.search(r"\b(export|sample|evaluate|compress)\b", " ".join(commands))


def prepare(folder: Path, patch: pytest.MonkeyPatch, executor: Any) -> None:
    """A folder with images, a rank study and two searches of seven rounds, played by an executor, all of them tiny."""
    seat(folder, patch)
    for name, value in TINY.items():
        patch.setenv(f"DIFFNAS_{name}", str(value))
    rng = np.random.default_rng(0)
    for place in ("pictures", "data", "examples"):
        (folder / place).mkdir()
    for number in range(24):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / "pictures" / f"{number}.png")
    np.savez(folder / "images.npz", x_train=rng.integers(0, 256, (32, 8, 8), dtype=np.uint8))
    np.savez(folder / "data" / "cifar10.npz", x_train=rng.integers(0, 256, (160, 32, 32, 3), dtype=np.uint8))
    small = ["--set", "batch_size=8"]
    tiny = ["--budget", "2M", "--baseline", "b8-n1-m1.1.1.1-a0000", "--rounds", "7", *small]
    execute(patch, executor)
    assert typed_in(patch, "run", "--preset", "digits", "--name", "first", *tiny) == 0  # its trials are 1 to 8
    execute(patch, Pretending)
    assert typed_in(patch, "rank-study", "first", "--specs", "6", *small) == 0
    execute(patch, executor)
    assert typed_in(patch, "run", "--preset", "digits", "--name", "narrow", *tiny) == 0


def execute(patch: pytest.MonkeyPatch, executor: Any) -> None:
    """Who trains from now on."""
    for module in ("agent.search.wiring", "agent.trials.evaluate"):
        patch.setattr(f"{module}.LocalExecutor", executor)


def keys(patch: pytest.MonkeyPatch, url: str) -> None:
    """OpenAI is the scripted server."""
    patch.setenv("OPENAI_API_KEY", "none")
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
        patch.setenv(name, url)
    os.environ.pop("DIFFNAS_DB", None)
