"""How large the parts are: `FULL` for a GPU (and for a patient CPU), `TINY` to try the command out."""

from dataclasses import dataclass

from diffusers_recipe import Case
from train_step import CPU_CASES, CUDA_CASES

DDPM, SMALL = "b128-n2-m1.2.2.2-a0100", "b16-n1-m1.2.2.2-a0100"


@dataclass(frozen=True)
class Sizes:
    """What each part takes. Steps are those of training, images those of one measurement."""

    images: int  # made up, where none are given
    resolution: int
    channels: int
    smoke_spec: str
    smoke_steps: int  # with a checkpoint at every quarter
    batch_size: int
    scored_images: int
    memory: tuple[tuple[str, int], ...]  # specs with the images of a batch
    sampled: tuple[tuple[str, int], ...]  # specs with the images that are drawn at once
    sampling_steps: int
    feature_images: int
    feature_batches: tuple[int | None, ...]  # None: what the product takes
    together_spec: str
    together: tuple[int, ...]  # trainings at once
    together_seconds: float
    turns: int
    cases: dict[str, dict[str, Case]]  # by device


FULL = Sizes(
    images=8192,
    resolution=32,
    channels=3,
    smoke_spec="b32-n1-m1.2.2.2-a0100",
    smoke_steps=400,
    batch_size=128,
    scored_images=2048,
    memory=((DDPM, 128), (DDPM, 32), ("b64-n1-m1.2.2.2-a0100", 128), ("b128-n2-m1.2.2.2-a1000", 64), (DDPM, 512)),
    sampled=((SMALL, 256), (SMALL, 1024), (DDPM, 64), (DDPM, 256), (DDPM, 1024)),
    sampling_steps=50,
    feature_images=4096,
    feature_batches=(None, 64, 1024),
    together_spec="b32-n1-m1.2.2.2-a0100",
    together=(1, 2, 4, 8),
    together_seconds=20.0,
    turns=15,
    cases={"cpu": CPU_CASES, "cuda": CUDA_CASES},
)
TINY_CASE = Case("b4-n1-m1.2.2.2-a0100", 8, 1, batch_size=4, steps_a_turn=1, num_images=8)
TINY = Sizes(
    images=24,
    resolution=8,
    channels=1,
    smoke_spec="b4-n1-m1.2.2.2-a0100",
    smoke_steps=40,
    batch_size=8,
    scored_images=16,
    memory=(("b4-n1-m1.2.2.2-a0100", 4),),
    sampled=(("b4-n1-m1.2.2.2-a0100", 4),),
    sampling_steps=2,
    feature_images=16,
    feature_batches=(None,),
    together_spec="b4-n1-m1.2.2.2-a0100",
    together=(1, 2),
    together_seconds=1.0,
    turns=2,
    cases={device: {"ddpm": TINY_CASE, "small": TINY_CASE} for device in ("cpu", "cuda")},
)
