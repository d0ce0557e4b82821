"""The search for what is left of a teacher, as values that a job holds; no torch is imported here."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from diffusion.cost.closed_form import Convention
from diffusion.distill.retraining import Sha256
from diffusion.frozen import Frozen
from diffusion.settings import Settings, digest

FEWEST_CANDIDATES = 4
SUPERNETS = "supernets.safetensors"  # the teacher with the weights of the supernets in its blocks

Method = Literal["blockwise", "global", "magnitude", "torch-pruning", "random", "scratch"]
WAYS = ("teacher", "data_folder", "run_folder", "threads", "checkpoint_steps")  # how it is computed
SEARCHED: tuple[Method, ...] = ("blockwise", "global")  # by supernets

JUDGED = "in place"  # how students are: what was found in another way is another search's


class SupernetTraining(Frozen):
    """How supernets are trained."""

    steps: int = 250
    drawn: int = 2  # students a step, beside the smallest and the largest
    learning_rate: float = 1e-3
    seed: int = 0


class Evolution(Frozen):
    """How large a population is, and how much is judged."""

    evaluations: int = 500
    population: int = 50
    contestants: int = 10
    seed: int = 0


class DistillJob(Frozen):
    """One search: a teacher, by whom what is left is chosen, and on which images students are judged.

    Where things lie, how many threads compute and how often it saves is no part of its keys. Searches of one `pool_key`
    share a run folder: their candidates are trained and judged once, whatever the target is.
    """

    teacher: Path
    teacher_sha256: Sha256
    settings: Settings
    diffusion_steps: int
    data_folder: Path
    data_fingerprint: str
    run_folder: Path
    method: Method = "blockwise"
    target: Annotated[float, Field(gt=0, le=1)] = 0.5
    convention: Convention = "paper"
    training: SupernetTraining = SupernetTraining()
    evolution: Evolution = Evolution()
    batch_size: Annotated[int, Field(ge=1)] = 64
    calibration_images: Annotated[int, Field(ge=1)] = 256  # that no supernet learns from
    candidates: Annotated[int, Field(ge=FEWEST_CANDIDATES)] = 1_000  # of a block that are judged, at most
    seed: int = 0
    threads: Annotated[int, Field(ge=1)] = 1
    checkpoint_steps: Annotated[int, Field(ge=1)] = 50

    @property
    def key(self) -> str:
        """Identity of the result."""
        return digest(self._told(set(WAYS)))

    @property
    def pool_key(self) -> str:
        """Identity of the candidates and their errors."""
        return digest(self._told(set(WAYS) | {"method", "target", "convention", "evolution"}))

    def _told(self, left_out: set[str]) -> dict[str, Any]:
        return {**self.model_dump(mode="json", exclude=left_out), "judged": JUDGED}

    @property
    def found(self) -> Path:
        """The file with what was found."""
        return self.run_folder / f"found-{self.key}.json"
