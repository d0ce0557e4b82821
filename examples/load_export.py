"""An exported model without this project: diffusers alone loads it and draws.

    diffnas-agent export TRIAL my-model
    python examples/load_export.py my-model

The README.md in the folder says the same for that very model; a student of `compress` takes a line more.
"""

import json
import sys
from pathlib import Path

import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline


def main() -> None:
    folder = Path(sys.argv[1])
    pipeline = DDPMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    trained_steps = pipeline.scheduler.config.num_train_timesteps
    parameters = sum(parameter.numel() for parameter in pipeline.unet.parameters())
    print(f"{parameters:,} params, {trained_steps} diffusion steps")

    # All steps, as it was trained: one generator for each image makes an image independent of its batch.
    generators = [torch.Generator().manual_seed(seed) for seed in range(4)]
    whole = pipeline(batch_size=4, num_inference_steps=trained_steps, generator=generators).images

    # A fraction of the steps: DDIM from the last step on, which is what most scores of this project are taken with.
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    quick = DDIMPipeline(pipeline.unet, scheduler)
    quick.set_progress_bar_config(disable=True)
    few = quick(batch_size=4, num_inference_steps=50, generator=generators).images

    for name, images in (("whole", whole), ("few", few)):
        for number, image in enumerate(images):
            image.save(folder.parent / f"{name}-{number}.png")
    print(f"images: {folder.parent.resolve()}")

    # What it is, where it comes from: beside the weights, as JSON.
    told = json.loads((folder / "diffnas.json").read_text(encoding="utf-8"))
    print(f"{told['spec']} from search {told['lineage']['search']}, trial {told['lineage']['trial']}")


if __name__ == "__main__":
    main()
