"""What the arguments of the tools have in common."""

from typing import Annotated, Any

from langchain.tools import ToolRuntime
from pydantic import BaseModel, ConfigDict, Field

from diffusion.spec import SpecField
from tools.context import SearchContext

Runtime = ToolRuntime[SearchContext]

SpecArgument = Annotated[
    SpecField,
    Field(
        description="The UNet as ten numbers, for example "
        '{"base_channel": 128, "num_blocks": 2, "channel_mult": [1, 2, 2, 2], "attn": [false, true, false, false]}; '
        "the short text form b128-n2-m1.2.2.2-a0100 is understood as well."
    ),
]


class Arguments(BaseModel):
    """Arguments of a tool: unknown names are refused. `runtime` is injected and hidden from the model."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    runtime: ToolRuntime[Any, Any]  # pydantic would look into our context if it were named here
