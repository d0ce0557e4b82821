"""Opens the search for a student: what is asked for, checked before anything is computed, as a row in memory."""

import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError
from sqlite_utils import Database

from agent.compress.teachers import Teacher
from agent.config.backend import WITHOUT_MODEL
from agent.config.kinds import COMPRESS
from agent.search.plan import Plan, open_search, plan
from diffusion.distill.plan import FEWEST_CANDIDATES, SEARCHED, Method
from diffusion.distill.retraining import NOISE_ALONE, JointLoss, Ramp
from diffusion.errors import UserError
from diffusion.frozen import Frozen
from memory.connection import check_memory, opened
from memory.searches import find_search

NOISE_TAUGHT = ("magnitude", "torch-pruning", "scratch")
COMPRESSION = "compression"  # the key of its stored settings
BETA = re.compile(r"(\d*\.?\d+)(?:\.\.(\d*\.?\d+))?")

Start = Literal["supernet", "teacher", "random"]


class Compression(Frozen):
    """What is asked for, with the teacher as it is kept."""

    teacher: str
    """as it was typed"""
    sha256: str
    """digest of its structure and weights"""
    spec: str
    """of its shape"""
    method: Method = "blockwise"
    """who chooses what is left"""
    target: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """the most of the teacher's multiply-accumulates, and of its parameters"""
    supernet_steps: Annotated[int, Field(ge=0)] = 0
    """steps in which the pool of students learns; 0 judges slices of the teacher"""
    candidates: Annotated[int, Field(ge=FEWEST_CANDIDATES)] = 1_000
    """students that are judged at most, of each block or, by `global`, of the whole network"""
    start: Start = "teacher"
    """what the student's weights begin as"""
    loss: JointLoss = JointLoss()


@dataclass(frozen=True)
class Wanted:
    """What is typed; None where nothing is said."""

    teacher: str
    method: str = "blockwise"
    target: float = 0.5
    supernet_steps: int = 0
    candidates: int = 1_000
    start: str | None = None
    beta: str | None = None
    ramp: str = "early"
    seeds: int = 1


def check(wanted: Wanted) -> None:
    """What can be wrong whatever the teacher is.

    Raises:
        UserError: no such method, or a value outside its bounds.
    """
    target, steps = wanted.target, wanted.supernet_steps
    if wanted.method not in get_args(Method):
        raise UserError(f"'{wanted.method}' is not a method; there are {', '.join(get_args(Method))}")
    if wanted.method == "torch-pruning" and find_spec("torch_pruning") is None:
        raise UserError("'torch-pruning' is not installed; run: pip install 'diffnas-agent[compress]'")
    if not 0 < target < 1:
        raise UserError(
            f"'--target {target:g}' is no share of the teacher; write a number between 0 and 1, such as 0.5"
        )
    if steps < 0:
        raise UserError(f"'--supernet-steps {steps}' is below 0; 0 judges slices of the teacher")
    if wanted.candidates < FEWEST_CANDIDATES:
        raise UserError(f"'--candidates {wanted.candidates}' leaves no choice; take {FEWEST_CANDIDATES} or more")
    if wanted.seeds < 1:
        raise UserError(f"'--seeds {wanted.seeds}' trains nothing; take 1, or 3 for an interval")
    if wanted.start is not None and wanted.start not in get_args(Start):
        raise UserError(f"'{wanted.start}' is no beginning; there are {', '.join(get_args(Start))}")
    if wanted.start == "supernet" and not (steps and wanted.method in SEARCHED):
        raise UserError("'--start supernet' needs supernets; train them with --method blockwise --supernet-steps 250")
    _loss(wanted)


def chosen(teacher: Teacher, wanted: Wanted) -> Compression:
    """What is asked for of a teacher, with what suits the method where nothing is said."""
    steps = wanted.supernet_steps if wanted.method in SEARCHED else 0
    usual = "random" if wanted.method == "scratch" else "supernet" if steps else "teacher"
    return Compression.model_validate(
        {
            "teacher": teacher.named,
            "sha256": teacher.sha256,
            "spec": str(teacher.spec),
            "method": wanted.method,
            "target": wanted.target,
            "supernet_steps": steps,
            "candidates": wanted.candidates,
            "start": wanted.start or usual,
            "loss": _loss(wanted),
        }
    )


def _loss(wanted: Wanted) -> JointLoss:
    """β as ``0..1``, rising by the ramp, or as one fixed number; pruned and new networks learn from the noise alone."""
    beta, ramp = wanted.beta, wanted.ramp
    if ramp not in get_args(Ramp):
        raise UserError(f"'{ramp}' is no ramp; there are {', '.join(get_args(Ramp))}")
    if beta is None:
        return NOISE_ALONE if wanted.method in NOISE_TAUGHT else JointLoss.model_validate({"ramp": ramp})
    match = BETA.fullmatch(beta.strip())
    try:
        if match is None:
            raise ValueError
        first, last = float(match[1]), float(match[2] or match[1])
        fixed = {"ramp": "constant"} if match[2] is None else {"ramp": ramp}
        return JointLoss.model_validate({**fixed, "first": first, "last": last})
    except (ValueError, ValidationError):
        raise UserError(
            f"'--beta {beta}' is not within 0 and 1; write 0..1 for a rising one, or 0.5 for a fixed one"
        ) from None


def planned(teacher: Teacher, seeds: int = 1) -> Plan:
    """The data and the protocol under which teacher and students are scored; a round for each seed of a student.

    Raises:
        UserError: one sentence with the remedy.
    """
    config = teacher.config.changed(searcher=COMPRESS.proposer, rounds=seeds, prune=False, bench=None, **WITHOUT_MODEL)
    found = plan(config, teacher.spec, COMPRESS)
    settings, network = found.protocol.settings, teacher.network
    asks = (network["sample_size"], network["in_channels"])
    if asks != (settings.resolution, settings.channels):
        draws, side = f"{asks[0]}×{asks[0]} with {asks[1]} channels", settings.resolution
        raise UserError(
            f"'{teacher.named}' draws images of {draws}, and '{settings.dataset}' has {side}×{side} with "
            f"{settings.channels}; name the data it was trained on"
        )
    protocol = found.protocol.model_copy(update={"teacher": teacher.sha256})
    return Plan(config, protocol, teacher.spec, found.card, found.notes)


def open_compression(found: Plan, asked: Compression, macs: int) -> int:
    """Write the search into memory; its number. `macs` are those of the teacher.

    Raises:
        UserError: its name is taken.
    """
    budget = max(1, int(asked.target * macs))
    limited = Plan(found.config.changed(budget=budget), found.protocol, found.baseline, found.card, found.notes)
    check_memory(found.config.places.db)
    with opened(found.config.places.db) as db:
        return open_search(db, limited, COMPRESS, told={COMPRESSION: asked.model_dump(mode="json")})


def stored_compression(db: Database, search: int) -> Compression:
    """What a stored search was asked for."""
    told: dict[str, Any] = json.loads(find_search(db, search).config_json)
    return Compression.model_validate(told[COMPRESSION])
