"""The commands that start a job in one process, in several on CPUs, in several on GPUs."""

import sys
from pathlib import Path

import pytest

from tools.executors.launch import Device, launch_command, launch_environment

JOB = Path("runs/a b/job.json")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_one_process_is_started_without_a_launcher(device: Device) -> None:
    expected = [sys.executable, "-m", "diffusion.training.job", "--job", "runs/a b/job.json"]
    assert launch_command("diffusion.training.job", JOB, 1, device) == expected


def test_several_on_cpus_are_started_by_torch() -> None:
    """accelerate launch --cpu would run one and say nothing."""
    command = launch_command("diffusion.training.job", JOB, 3, "cpu")
    assert command[1:7] == ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "3", "-m"]
    assert command[7:] == ["diffusion.training.job", "--job", str(JOB)]


def test_several_on_gpus_are_started_by_accelerate_on_a_free_port_with_nothing_left_to_its_questions() -> None:
    command = launch_command("diffusion.training.job", JOB, 2, "cuda")
    assert command[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    options = dict(zip(command[4:14:2], command[5:14:2], strict=True))
    assert "--multi_gpu" in command and options == {
        "--num_processes": "2",
        "--num_machines": "1",
        "--mixed_precision": "no",
        "--dynamo_backend": "no",
        "--main_process_port": "0",
    }
    assert command[14:] == ["-m", "diffusion.training.job", "--job", str(JOB)]


def test_accelerate_knows_these_options() -> None:
    from accelerate.commands.launch import launch_command_parser

    parsed = launch_command_parser().parse_args(launch_command("diffusion.training.job", JOB, 2, "cuda")[3:])
    assert (parsed.module, parsed.training_script) == (True, "diffusion.training.job")
    assert parsed.training_script_args == ["--job", str(JOB)] and parsed.num_processes == 2 and parsed.multi_gpu


def test_processes_on_cpus_are_kept_there_and_talk_over_loopback() -> None:
    assert launch_environment(1, "cpu") == {"ACCELERATE_USE_CPU": "true"}
    loopback = "lo" if sys.platform == "linux" else "lo0"
    assert launch_environment(2, "cpu") == {"ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": loopback}
    assert launch_environment(2, "cuda") == {}
