"""Searches as real processes: started with small trainings, listened to, killed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

STEPS = 400
ARGUMENTS = [
    "--rounds", "1", "--baseline", "b8-n1-m1.1.1.1-a0000", "--budget", "2M", "--train-steps", str(STEPS),
    "--batch-size", "16", "--num-images", "32", "--sampling-steps", "2", "--set", "checkpoint_steps=50",
    "--set", "replicas=1", "--set", "race_trainings=0",  # what they train has tests of its own
]  # fmt: skip
COMMAND = [sys.executable, "-m", "agent"]
PLANTED = [sys.executable, str(Path(__file__).with_name("planted_agent.py"))]  # the same without real trainings


def on_one_core() -> None:
    """Keep a process, and so its jobs, to the core of the tests that start it: two threads beside other tests spin."""
    if hasattr(os, "sched_setaffinity"):
        cores, worker = sorted(os.sched_getaffinity(0)), os.environ.get("PYTEST_XDIST_WORKER", "gw0")
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def start(
    folder: Path, *arguments: str, command: Sequence[str] = COMMAND, **environment: str
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        preexec_fn=on_one_core,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def events(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    assert process.stdout
    for line in process.stdout:
        yield json.loads(line)


def wait_for(process: "subprocess.Popen[str]", name: str, **values: Any) -> dict[str, Any]:
    """The next event of that name with at least these values."""
    for event in events(process):
        if event["event"] == name and all(event[key] >= value for key, value in values.items()):
            return event
    raise AssertionError(f"no {name}: {process.stderr and process.stderr.read()}")


def finish(process: "subprocess.Popen[str]") -> tuple[list[dict[str, Any]], str]:
    """All further events and what people read."""
    seen = list(events(process))
    assert process.stderr
    said = process.stderr.read()
    process.wait()
    process.stdout and process.stdout.close()
    process.stderr.close()
    return seen, said


def shell(folder: Path, line: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a line of a shell, in which AGENT is the program."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line.replace("AGENT", " ".join(COMMAND))],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", **environment},
        preexec_fn=on_one_core,
        capture_output=True,
        check=False,
        timeout=300,
    )
