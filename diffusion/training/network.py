"""The network that a job trains: that of its spec, or a student made out of a teacher's.

As it begins, and as a structure into which trained weights are loaded. A student's teacher is read from its folder
without trust, and has to be the one that the job means.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from diffusion.cost.closed_form import cost
from diffusion.distill.costs import StudentCost, student_cost
from diffusion.distill.retraining import Student
from diffusion.distill.student import ranked_channels, skeleton, sliced
from diffusion.distill.teacher import load_teacher, network_of, teacher_sha256, weights_file
from diffusion.distill.units import units_of
from diffusion.errors import TrainingFailed, UserError
from diffusion.scores.networks import file_sha256
from diffusion.settings import TrainJob
from diffusion.streams import stream_seed
from diffusion.training.weights import load_weights
from diffusion.unet import build_unet, close

AGAIN = "put the file back, or compress the teacher again"

if TYPE_CHECKING:
    from diffusers import UNet2DModel


def first_network(job: TrainJob) -> "UNet2DModel":
    """The network as its training begins, on the CPU: (N,C,R,R), (N,) → (N, C or 2C, R, R).

    Raises:
        TrainingFailed: the teacher, or the weights that a student begins with, are not those that are meant.
    """
    torch.manual_seed(stream_seed(job.seed, "init"))
    dropout, student = job.strategy.dropout, job.student
    if student is None:
        return build_unet(job.spec, job.settings, dropout)
    with _said():
        whole = network_of(student.teacher, dropout)
        if student.start is None:
            return _at_random(skeleton(whole, student.choices))
        if student.start.is_file() and file_sha256(student.start) != student.start_sha256:
            raise UserError(f"'{student.start}' holds other weights than those that were to be compressed; {AGAIN}")
        weights = load_weights(student.start, whole, whose="of another network than the teacher", again=AGAIN)
        whole.load_state_dict(weights, assign=True)
        teacher = teacher_of(student)
        return sliced(whole.requires_grad_(True), student.choices, ranked_channels(teacher, units_of(teacher)))


def empty_network(job: TrainJob) -> "UNet2DModel":
    """The structure that the trained weights of a job are loaded into.

    Raises:
        TrainingFailed: the teacher of a student is not to be had.
    """
    if job.student is None:
        return build_unet(job.spec, job.settings)
    with _said():
        return skeleton(network_of(job.student.teacher, 0.0), job.student.choices)


def teacher_of(student: Student) -> "UNet2DModel":
    """What a student learns from, on the CPU, for evaluation.

    Raises:
        TrainingFailed: its folder holds another one, or none.
    """
    with _said():
        if weights_file(student.teacher).is_file() and teacher_sha256(student.teacher) != student.teacher_sha256:
            raise UserError(
                f"'{student.teacher}' holds another network than the one that was to be compressed; {AGAIN}"
            )
        return load_teacher(student.teacher)


def macs_of(job: TrainJob) -> int:
    """The multiply-accumulates of one image, attention's products among them; of a student its own alone."""
    if job.student is None:
        return cost(job.spec, job.settings.family, job.settings.resolution, job.settings.channels).macs.total
    return cost_of_student(job.student).macs_total


def cost_of_student(student: Student) -> StudentCost:
    """What a student costs for one image.

    Raises:
        TrainingFailed: its teacher is not to be had.
    """
    with _said():
        return student_cost(network_of(student.teacher), student.choices)


def whole_of(student: Student) -> Student:
    """The teacher itself, as it came.

    Raises:
        TrainingFailed: it is not to be had.
    """
    with _said():
        whole = {unit.name: unit.whole for unit in units_of(network_of(student.teacher))}
        weights = weights_file(student.teacher)
        own = {"start": weights, "start_sha256": file_sha256(weights)}
    return student.model_copy(update={"choices": whole, "retrained": False, **own})


def _at_random(student: "UNet2DModel") -> "UNet2DModel":
    """A student with weights as a network of its own would begin with; what closes its blocks is zero."""
    student.to_empty(device="cpu")
    for module in student.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.GroupNorm):
            module.reset_parameters()
    close(student)
    return student


@contextmanager
def _said() -> Iterator[None]:
    """What is wrong with the files of a teacher is the reason for which a job has no result."""
    try:
        yield
    except UserError as error:
        raise TrainingFailed(str(error)) from None
