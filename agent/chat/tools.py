"""What a model in a chat can call: tools that read, and tools that the chat carries out itself after it has asked."""

from typing import Annotated

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, Field

from diffusion.spec import UNetSpec
from tools.arguments import SpecArgument, told_tool
from tools.compress_unet import compress_unet
from tools.count_flops import count_flops
from tools.gates.directive_kinds import Directive
from tools.query_memory import query_memory

SAID_CHARACTERS = 300


class DirectiveArguments(BaseModel):
    """What `give_directive` takes."""

    model_config = ConfigDict(extra="forbid")

    instruction: Directive
    said: Annotated[
        str,
        Field(
            min_length=1, max_length=SAID_CHARACTERS, description="The person's own words for this wish, in one line."
        ),
    ]


@told_tool(DirectiveArguments)
def give_directive(instruction: Directive, said: str) -> str:
    """Give the search one directive: a wish of the person about its course, in a typed form.

    The person sees what it means and what it contradicts, and confirms it or not; the answer says which. It then holds
    for every later proposal until the person takes it back, or is carried out once (try, rounds, pause, stop, backend,
    allowance). Do not call it for a question, and not for a wish that the person did not voice.
    """
    raise AssertionError("the chat stores directives itself, after it has asked")


class TakeBackArguments(BaseModel):
    """What `take_back` takes."""

    model_config = ConfigDict(extra="forbid")

    directive: Annotated[int | None, Field(ge=1, lt=2**63, description="its number; the latest if left out")] = None


@told_tool(TakeBackArguments)
def take_back(directive: int | None = None) -> str:
    """Take back a directive that is in force, when the person wishes it; they confirm it.

    The answer says what holds then. What was carried out already (rounds, backend, allowance) is not taken back: give
    another directive for it.
    """
    raise AssertionError("the chat takes directives back itself, after it has asked")


class GoOnArguments(BaseModel):
    """What `go_on` takes: nothing."""

    model_config = ConfigDict(extra="forbid")


@told_tool(GoOnArguments)
def go_on() -> str:
    """Go on with the search, when the person wishes it and it is paused or was interrupted; they confirm it."""
    raise AssertionError("the chat goes on itself, after it has asked")


class LatencyArguments(BaseModel):
    """What `measure_latency` takes."""

    model_config = ConfigDict(extra="forbid")

    spec: SpecArgument


@told_tool(LatencyArguments)
def measure_latency(spec: UNetSpec) -> str:
    """The milliseconds that one image takes through a spec's network on this machine, as a cap on latency measures it.

    It is remembered; the first time takes some seconds, longer values while the machine trains.
    """
    raise AssertionError("the chat measures by the gate's means")


def _answer_person(text: str) -> str:
    """Say something to the person: the answer to the question, or what became of the wish."""
    raise AssertionError("what is said to the person is shown, not run")


ANSWER: BaseTool = StructuredTool.from_function(_answer_person, name="answer_person")
"""For models that can only answer with an object."""

TOOLS: list[BaseTool] = [count_flops, query_memory, give_directive, take_back, go_on, measure_latency, compress_unet]
BY_NAME = {tool.name: tool for tool in TOOLS}
