"""The tool that scores again: images from a trained trial, drawn or compared in another way, and remembered."""

from typing import Annotated

from pydantic import Field

from diffusion.settings import Sampler
from tools.arguments import Arguments, Runtime, model_tool
from tools.jobs.rescoring import score_otherwise

MOST_IMAGES = 100_000


class EvaluateArguments(Arguments):
    """What `evaluate_fid` takes."""

    trial: Annotated[int, Field(ge=1, description="a trained trial")]
    num_images: Annotated[int | None, Field(ge=2, le=MOST_IMAGES, description="images to draw")] = None
    sampler: Annotated[Sampler | None, Field(description="of them")] = None
    sampling_steps: Annotated[int | None, Field(ge=1, description="of the sampler")] = None
    feature_network: Annotated[str | None, Field(description="that compares")] = None


@model_tool("evaluate_fid", EvaluateArguments)
def evaluate_fid(
    trial: int,
    runtime: Runtime,
    num_images: int | None = None,
    sampler: Sampler | None = None,
    sampling_steps: int | None = None,
    feature_network: str | None = None,
) -> tuple[str, dict[str, object]]:
    """Score a trial again under another protocol: more images, another sampler or feature network.

    train_ract scores already. This takes device time, and compares with scores of the same protocol alone.
    """
    context = runtime.context
    asked = {
        "num_images": num_images,
        "sampler": sampler,
        "sampling_steps": sampling_steps,
        "feature_network": feature_network,
    }
    with context.one_at_a_time:
        result = score_otherwise(context, trial, {name: value for name, value in asked.items() if value is not None})
    return result.model_dump_json(exclude_none=True), result.model_dump(mode="json")
