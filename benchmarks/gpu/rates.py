"""Images a second: drawn from a network by each sampler, and looked at by each feature network."""

import time
from functools import partial

import numpy as np

from diffusion.scores.networks import FEATURE_NETWORKS
from diffusion.settings import Family, Sampler, Settings, choose_sampling
from diffusion.spec import UNetSpec
from gpu.bench import Bench, Measured
from gpu.sizes import DDPM, Sizes

FEW_STEPS = 2  # of a sampling that warms up
DIFFUSION_STEPS = 1000
SAMPLERS: tuple[tuple[Family, Sampler], ...] = (
    ("ddpm", "ddim"), ("ddpm", "dpm-solver++"), ("ddpm", "ddpm"), ("iddpm", "iddpm"),
)  # fmt: skip


def sampling(bench: Bench) -> None:
    """Untrained networks: their weights do not change the time. Ancestral samplers draw noise on the CPU each step."""
    steps = bench.sizes.sampling_steps
    for spec, count in bench.sizes.sampled:
        for family, sampler in SAMPLERS[:1] if count != bench.sizes.sampled[-1][1] else SAMPLERS:
            what = f"{spec} ({family}), {sampler}, {steps} steps, {count} images at once"
            bench.row(what, partial(_drawn, bench, spec, family, sampler, count))


def _drawn(bench: Bench, spec: str, family: Family, sampler: Sampler, count: int) -> Measured:
    from diffusion.samplers import sample_images
    from diffusion.unet import build_unet

    settings = _settings(bench.sizes, spec, family)
    model = build_unet(UNetSpec.parse(spec), settings).to(bench.device)
    seconds = 0.0
    for steps in (FEW_STEPS, bench.sizes.sampling_steps):
        chosen = choose_sampling(sampler, steps, family, DIFFUSION_STEPS)
        bench.wait()
        started = time.perf_counter()
        sample_images(
            model, settings, chosen, diffusion_steps=DIFFUSION_STEPS, indices=range(count), seed=0, batch_size=count,
            device=bench.device,
        )  # fmt: skip
        seconds = time.perf_counter() - started  # the images have come back, so the device is done
    return f"{count / seconds:,.1f} images/s", {"images_per_second": count / seconds, "seconds": seconds}


def _settings(sizes: Sizes, spec: str, family: Family) -> Settings:
    """DDPM's network at its 32×32, small ones at 8×8."""
    resolution, channels = (sizes.resolution, sizes.channels) if spec == DDPM else (8, 1)
    return Settings(dataset="benchmark", resolution=resolution, channels=channels, family=family)


def features(bench: Bench) -> None:
    """Noise at the images' own size; each network enlarges it to what it takes."""
    for name in FEATURE_NETWORKS:
        for batch_size in bench.sizes.feature_batches:
            batches = "the product's batches" if batch_size is None else f"batches of {batch_size}"
            bench.row(f"{name}, {batches}", partial(_seen, bench, name, batch_size))


def _seen(bench: Bench, name: str, batch_size: int | None) -> Measured:
    from diffusion.errors import UserError
    from diffusion.scores.fid import extract_features

    if name == "inception-v3-compat" and bench.inception is None:
        raise UserError("'--inception FILE' was not given, and nothing is downloaded here")
    sizes = bench.sizes
    shape = (sizes.feature_images, sizes.channels, sizes.resolution, sizes.resolution)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)  # (N,C,R,R)
    moments: list[tuple[int, float]] = []  # images done, and when: the first batch warms up
    extract_features(
        images, name, batch_size, bench.device, weights=bench.inception,
        on_progress=lambda done: moments.append((done, time.perf_counter())),
    )  # fmt: skip
    (first, began), (last, ended) = moments[0], moments[-1]
    if first == last:
        return f"{last} images in one batch, which tells no rate", {"images": last}
    rate = (last - first) / (ended - began)
    return f"{rate:,.0f} images/s", {"images_per_second": rate, "batch_size": first}
