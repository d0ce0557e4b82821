"""What the arguments of the tools have in common."""

from collections.abc import Callable
from inspect import cleandoc
from typing import Annotated, Any

from langchain.tools import ToolRuntime
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, WithJsonSchema

from diffusion.spec import SpecField
from tools.context import SearchContext

Runtime = ToolRuntime[SearchContext]

SpecArgument = Annotated[
    SpecField,  # takes an object of its numbers, too; the schema of one is ten times as long, in every tool
    WithJsonSchema({"type": "string", "description": "a spec in short, such as b128-n2-m1.2.2.2-a0100"}),
]


class Arguments(BaseModel):
    """Arguments of a tool: unknown names are refused. `runtime` is injected and hidden from the model."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    runtime: ToolRuntime[Any, Any]  # pydantic would look into our context if it were named here


def model_tool(name: str, schema: type[Arguments]) -> Callable[[Callable[..., Any]], BaseTool]:
    """Make a function the tool of that name. Its docstring is what the model reads; it returns text and plain values.

    `Refused` and `Unavailable` become error messages to the model; everything else leaves the agent.
    """

    def made(function: Callable[..., Any]) -> BaseTool:
        return StructuredTool.from_function(
            function,
            name=name,
            description=cleandoc(function.__doc__ or ""),
            args_schema=schema,
            response_format="content_and_artifact",
            handle_tool_error=True,
        )

    return made


def told_tool(schema: type[BaseModel]) -> Callable[[Callable[..., Any]], BaseTool]:
    """Make a function the tool of its name which whoever is told of a call carries out himself: it has no body."""

    def made(function: Callable[..., Any]) -> BaseTool:
        return StructuredTool.from_function(function, description=cleandoc(function.__doc__ or ""), args_schema=schema)

    return made
