"""What the messages of a round tell: who spoke, and how often a model was asked again."""

from collections.abc import Sequence
from typing import Any

from langchain.agents.middleware import AgentState
from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage

Update = dict[str, Any] | None


State = AgentState[Any]


def repairs_in_a_row(messages: Sequence[AnyMessage]) -> int:
    """How often the model was asked again since the last tool call."""
    count = 0
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            break
        count += isinstance(message, HumanMessage) and message.name == "repair"
    return count


def spoken_by(message: AnyMessage) -> str | None:
    """The backend that gave an answer, as `agent.backends.chain` signed it."""
    return message.response_metadata.get("backend")
