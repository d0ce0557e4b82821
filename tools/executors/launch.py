"""How the processes of one job are started: the command and what its environment needs, for one machine.

One process runs by itself. `accelerate launch --cpu --num_processes 2` silently runs one, so on CPUs several are
started by `torch.distributed.run`, on GPUs by accelerate. The job checks that it has as many processes as it asks for.
How many find room is checked in `tools.executors.machine`; several machines are a recipe in docs/scaling.md.
"""

import sys
from pathlib import Path
from typing import Literal

Device = Literal["cpu", "cuda"]


def launch_command(module: str, job_path: Path, processes: int, device: Device) -> list[str]:
    """The command that runs ``python -m module --job job_path`` in so many processes on this machine."""
    job = ["-m", module, "--job", str(job_path)]
    if processes == 1:
        return [sys.executable, *job]
    if device == "cpu":
        run = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        return [sys.executable, *run, *job]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    defaults = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return [*launcher, *defaults, *job]


def launch_environment(processes: int, device: Device) -> dict[str, str]:
    """What such processes need in their environment, beside OMP_NUM_THREADS for each of them."""
    environment = {"ACCELERATE_USE_CPU": "true"} if device == "cpu" else {}
    if device == "cpu" and processes > 1:
        environment["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
    return environment
