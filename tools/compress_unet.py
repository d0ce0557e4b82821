"""The tool that lightens a network that was found: a chat begins its compression in a process of its own."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tools.arguments import told_tool

TARGET = 0.5


class CompressArguments(BaseModel):
    """What `compress_unet` takes."""

    model_config = ConfigDict(extra="forbid")

    trial: Annotated[int, Field(ge=1, description="Number of a trained trial, such as the best one.")]
    target: Annotated[
        float, Field(gt=0, lt=1, description="The most of its multiply-accumulates, and of its parameters.")
    ] = TARGET


@told_tool(CompressArguments)
def compress_unet(trial: int, target: float = TARGET) -> str:
    """Make the network of a trained trial cheaper, block by block, and train what is left of it.

    It takes as long as a training and runs in a process of its own beside the search; teacher and student are scored
    side by side. The person is asked before it begins; the answer says what became of it. Call it only when the person
    asks for a cheaper, smaller or faster version of a network that was found.
    """
    raise AssertionError("the chat begins a compression itself, after it has asked")
