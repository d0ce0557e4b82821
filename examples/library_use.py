"""`diffusion` on its own: the cost of a spec, the network that it becomes, and images from that network.

The network is untrained, so its images are noise: the point is which functions there are and what they take. Where
training and scoring begin stands in `diffusion.training.job` and `diffusion.scores.job`.
"""

import tempfile
from pathlib import Path

from diffusion.cost.closed_form import cost, costs
from diffusion.neighbourhood import neighbours
from diffusion.samplers import sample_images
from diffusion.scores.grids import save_grid
from diffusion.settings import Sampling, Settings
from diffusion.space import built_in
from diffusion.spec import UNetSpec
from diffusion.unet import build_unet
from diffusion.units import format_size


def main() -> None:
    spec = UNetSpec.parse("b16-n1-m1.2.2.2-a0100")
    settings = Settings(dataset="digits", resolution=8, channels=1)

    found = cost(spec, settings.family, settings.resolution, settings.channels)
    print(f"{spec}: {found.params:,} params, {format_size(found.macs.paper)} MACs, with attention's products "
          f"{format_size(found.macs.total)}")  # fmt: skip

    near = neighbours(built_in("digits-8"), spec)  # (N, 10)
    macs = costs(near, settings.family, settings.resolution, settings.channels).macs_paper
    cheaper = map(UNetSpec.from_row, near[macs < found.macs.paper])
    print(f"one step away and cheaper: {', '.join(map(str, cheaper))}")

    model = build_unet(spec, settings)
    print(f"built: {sum(parameter.numel() for parameter in model.parameters()):,} params")

    images = sample_images(
        model, settings, Sampling(sampler="ddim", steps=4), diffusion_steps=400, indices=range(20), seed=0
    )  # (20, 1, 8, 8)
    path = Path(tempfile.mkdtemp(prefix="diffnas-")) / "grid.png"
    save_grid(images, path)
    print(f"images: {path}")


if __name__ == "__main__":
    main()
