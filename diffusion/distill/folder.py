"""A student as a folder, and such a folder read back without trust.

| file | holds |
| --- | --- |
| ``student/config.json`` | the configuration of the teacher's `UNet2DModel`, and what is left of each unit |
| ``student/model.safetensors`` | the student's weights |

No configuration of a `UNet2DModel` has units of different widths, so diffusers alone cannot build a student. One line
does: ``load_student(folder)`` is a `UNet2DModel` like any other, to be sampled by `DDPMPipeline`. Reading uses no
pickle and takes no more memory than the weights' file warrants: its header is compared with the structure first.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors.torch import save_file

from diffusion.distill.student import skeleton
from diffusion.distill.teacher import arguments_of, structure
from diffusion.distill.units import Choice, Choices
from diffusion.errors import UserError
from diffusion.files.writing import whole
from diffusion.frozen import Frozen
from diffusion.training.checkpoint import write_json
from diffusion.training.weights import load_weights

if TYPE_CHECKING:
    from diffusers import UNet2DModel

CONFIG = Path("student", "config.json")
WEIGHTS = Path("student", "model.safetensors")
AGAIN = "compress the teacher again"


class StudentConfig(Frozen):
    """What ``student/config.json`` holds."""

    format: Literal[1] = 1
    teacher: dict[str, Any]
    """arguments of the teacher's `UNet2DModel`"""
    choices: dict[str, Choice]
    """what is left of each unit, by name"""


def save_student(folder: Path, student: "UNet2DModel", choices: Choices) -> None:
    """Write a student of these choices into a folder."""
    (folder / CONFIG).parent.mkdir(parents=True, exist_ok=True)
    config = StudentConfig(teacher=arguments_of(student.config), choices=dict(choices))
    write_json(folder / CONFIG, config.model_dump(mode="json"))
    state = {name: tensor.detach().contiguous().cpu() for name, tensor in student.state_dict().items()}
    with whole(folder / WEIGHTS) as part:
        save_file(state, part)


def load_student(folder: Path) -> "UNet2DModel":
    """A student from its folder, on the CPU, for evaluation.

    Raises:
        UserError: a file is missing, damaged, or of another network.
    """
    config = _config(folder / CONFIG)
    student = _structure(folder / CONFIG, config)
    weights = load_weights(folder / WEIGHTS, student, whose="of another network", again=AGAIN)
    student.load_state_dict(weights, assign=True)
    return student.eval().requires_grad_(False)


def _config(path: Path) -> StudentConfig:
    try:
        return StudentConfig.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"'{path}' is missing; name a folder that `diffnas-agent compress` wrote") from None
    except (OSError, ValueError):
        raise UserError(f"'{path}' is damaged or not what a student's folder has; {AGAIN}") from None


def _structure(path: Path, config: StudentConfig) -> "UNet2DModel":
    """The structure that a configuration describes, on the meta device."""
    teacher = structure(path, config.teacher, noun="network", again=AGAIN)
    try:
        return skeleton(teacher, config.choices)
    except UserError as error:
        raise UserError(f"'{path}' describes no student: {error}") from None
