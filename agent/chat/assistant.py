"""The assistant of a chat: a model that answers from memory with the read tools, and that may give directives.

It is asked as every model is (`agent.backends.asking`), at the cost of the search. The person is asked before a
directive is stored; that, and the words on the screen, are the caller's (`agent.chat.conversation`).
"""

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, Field

from agent.backends.asking import Asking
from agent.backends.chain import Chain
from agent.backends.recorder import Recorder
from agent.backends.registry import Backend
from agent.backends.repair import problems_of, repair, with_calls, wrong_arguments
from agent.chat.prompt import chat_values
from agent.config.backend import OFFLINE
from diffusion.errors import UserError
from diffusion.space import SearchSpace
from memory.journal import snapshot
from prompts.origin import origin
from prompts.render import render
from tools.arguments import told_tool
from tools.compress_unet import CompressArguments, compress_unet
from tools.context import SearchContext
from tools.count_flops import count_flops
from tools.gates.directive_kinds import Directive, parse_directive
from tools.query_memory import query_memory

CALLS_PER_ANSWER = 12
SAID_CHARACTERS = 300
ATTEMPTS = 3  # a person waits
RETRY_SECONDS = 1.0

Give = Callable[[Directive, str], str]  # shows a directive, asks, stores; what became of it, for the model
Compress = Callable[[int, float], str]  # asks whether a trial is to be compressed, begins it; what became of it


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


def _answer_person(text: str) -> str:
    """Say something to the person: the answer to the question, or what became of the wish."""
    raise AssertionError("what is said to the person is shown, not run")


ANSWER: BaseTool = StructuredTool.from_function(_answer_person, name="answer_person")
"""For models that can only answer with an object."""

TOOLS: list[BaseTool] = [count_flops, query_memory, give_directive, compress_unet]
BY_NAME = {tool.name: tool for tool in TOOLS}


class Assistant:
    """Answers one message after the other; `hear` gets the words as they come."""

    def __init__(self, backends: Sequence[Backend], context: SearchContext, hear: Callable[[str], None]) -> None:
        models = [backend for backend in backends if backend.llm != OFFLINE]
        self.chain, self.context, self.hear = Chain(models, ATTEMPTS - 1, RETRY_SECONDS), context, hear

    @property
    def name(self) -> str:
        """Who is asked first."""
        return self.chain.backends[0].llm

    def answer(self, text: str, earlier: Sequence[dict[str, Any]], give: Give, compress: Compress) -> tuple[str, str]:
        """The whole answer to a message, after what was said before, and which backend gave it last.

        Raises:
            BackendError: no backend gives a usable answer, retries included.
            AllowanceSpent: with the next call a limit of the search might be passed.
            Interrupted: the search in whose terminal this is said is being stopped.
        """
        recorder = Recorder(self.context, "chat", TOOLS)
        asking = Asking(self.chain, TOOLS, recorder, self.context.services.stop, in_words_only=[ANSWER], hear=self.hear)
        messages, words = self._opening(text, earlier), list[str]()
        for _ in range(CALLS_PER_ANSWER):
            message = _unwrapped(asking.answer(messages))
            if not asking.heard:
                self.hear(message.text)
            words += [message.text.strip()] if message.text.strip() else []
            if not message.tool_calls and not message.invalid_tool_calls:
                break
            asked = with_calls(message, message.tool_calls)
            messages += [asked, *(self._done(call, give, compress) for call in asked.tool_calls)]
            if not message.tool_calls:
                messages.append(repair([sentence for _, sentence, _ in problems_of(message, BY_NAME)], BY_NAME))
        return "\n".join(words) or "(no answer)", self.chain.backends[asking.at].llm

    def _opening(self, text: str, earlier: Sequence[dict[str, Any]]) -> list[AnyMessage]:
        db = self.context.db
        with snapshot(db) as moment:
            system = render("chat", **chat_values(db, self.context))
        opening = SystemMessage(system, additional_kwargs=origin("chat", moment=moment))
        return [opening, *map(_said_before, earlier), HumanMessage(text)]

    def _done(self, call: ToolCall, give: Give, compress: Compress) -> ToolMessage:
        """What a tool answers; what is wrong with a call is said so that the model can mend it."""
        if (tool := BY_NAME.get(call["name"])) is None:
            return _told(call, f"There is no tool {call['name']!r}; there are {', '.join(BY_NAME)}.", "error")
        try:
            if tool is give_directive:
                return _told(call, _given(call["args"], give, self.context.limits.space))
            if sentence := wrong_arguments(tool, call["args"]):
                return _told(call, sentence, "error")
            if tool is compress_unet:
                asked = CompressArguments.model_validate(call["args"])
                return _told(call, compress(asked.trial, asked.target))
            found = tool.invoke({**call, "args": {**call["args"], "runtime": self._runtime(call["id"])}})
        except UserError as error:
            return _told(call, str(error), "error")
        assert isinstance(found, ToolMessage)
        return found

    def _runtime(self, call: str | None) -> ToolRuntime[SearchContext, Any]:
        return ToolRuntime(
            state={}, context=self.context, config={}, stream_writer=lambda _: None, tool_call_id=call, store=None
        )


def _given(arguments: dict[str, Any], give: Give, space: SearchSpace) -> str:
    """Hand a directive on; what became of it.

    Raises:
        UserError: it cannot be understood.
    """
    instruction = arguments.get("instruction")
    if not isinstance(instruction, dict) or not isinstance(instruction.get("kind"), str):
        raise UserError(f"'{json.dumps(arguments)[:200]}' lacks the instruction, an object with its kind")
    rest = {name: value for name, value in instruction.items() if name != "kind"}
    parsed = parse_directive(instruction["kind"], rest, space)
    return give(parsed, str(arguments.get("said") or parsed.say())[:SAID_CHARACTERS])


def _unwrapped(message: AIMessage) -> AIMessage:
    """A message in which an answer that came as a call of `answer_person` is the text."""
    said = [call["args"].get("text", "") for call in message.tool_calls if call["name"] == ANSWER.name]
    if not said:
        return message
    calls = [call for call in message.tool_calls if call["name"] != ANSWER.name]
    return message.model_copy(update={"content": "\n".join(map(str, said)), "tool_calls": calls})


def _said_before(row: dict[str, Any]) -> AnyMessage:
    return HumanMessage(row["text"]) if row["role"] == "user" else AIMessage(row["text"])


def _told(call: ToolCall, text: str, status: Literal["success", "error"] = "success") -> ToolMessage:
    return ToolMessage(text, tool_call_id=call["id"], name=call["name"], status=status)
