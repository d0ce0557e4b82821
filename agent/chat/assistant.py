"""The assistant of a chat: a model that answers from memory with the read tools, and that may give directives.

Each exchange with the model is recorded and charged to the search. The person is asked before a directive is stored;
that, and the words on the screen, are the caller's (`agent.chat.conversation`).
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from inspect import cleandoc
from typing import Annotated, Any

from langchain.tools import ToolRuntime
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    message_chunk_to_message,
    messages_to_dict,
)
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.backends.errors import BackendError
from agent.backends.pricing import OFFLINE
from agent.backends.recorder import record_exchange, told_of
from agent.backends.registry import Backend
from agent.backends.structured import in_words, read, rejects, spoken
from agent.chat.prompt import chat_values
from agent.searchers.middleware import check_arguments, what_is_wrong
from diffusion.errors import UserError
from memory.connection import opened
from memory.journal import snapshot
from prompts.origin import origin
from prompts.render import render
from tools.allowance import estimated_tokens
from tools.context import SearchContext
from tools.count_flops import count_flops
from tools.gates.directive_kinds import Directive, parse_directive
from tools.query_memory import query_memory

CALLS_PER_ANSWER = 12
SAID_CHARACTERS = 300
ATTEMPTS = 3  # a person waits
RETRY_SECONDS = 1.0

Give = Callable[[Directive, str], str]  # shows a directive, asks, stores; what became of it, for the model


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


def _give_directive(instruction: Directive, said: str) -> str:
    """Give the search one directive: a wish of the person about its course, in a typed form.

    The person sees what it means and what it contradicts, and confirms it or not; the answer says which. It then holds
    for every later proposal until the person takes it back, or is carried out once (try, rounds, pause, stop, backend,
    allowance). Do not call it for a question, and not for a wish that the person did not voice.
    """
    raise AssertionError("the chat stores directives itself, after it has asked")


GIVE_DIRECTIVE: BaseTool = StructuredTool.from_function(
    _give_directive,
    name="give_directive",
    description=cleandoc(_give_directive.__doc__ or ""),
    args_schema=DirectiveArguments,
)


def _answer_person(text: str) -> str:
    """Say something to the person: the answer to the question, or what became of the wish."""
    raise AssertionError("what is said to the person is shown, not run")


ANSWER: BaseTool = StructuredTool.from_function(_answer_person, name="answer_person")
"""For models that can only answer with an object."""

TOOLS: list[BaseTool] = [count_flops, query_memory, GIVE_DIRECTIVE]


@dataclass
class Assistant:
    """Answers one message after the other; `hear` gets the words as they come."""

    backends: Sequence[Backend]
    context: SearchContext
    hear: Callable[[str], None]
    refused: dict[str, BackendError] = field(default_factory=dict)  # by address, in this process

    @property
    def name(self) -> str:
        """Who is asked first."""
        return self.backends[0].llm

    def answer(self, text: str, earlier: Sequence[dict[str, Any]], give: Give) -> tuple[str, str]:
        """The whole answer to a message, after what was said before, and which backend gave it.

        Raises:
            BackendError: no backend gives a usable answer, retries included.
        """
        failure: BackendError | None = None
        for backend in self.backends:
            if backend.llm == OFFLINE or str(backend.address) in self.refused:
                continue
            try:
                return self._conversed(backend, self._opening(text, earlier), give), backend.llm
            except BackendError as error:
                failure = error
                if error.refused:
                    self.refused[str(backend.address)] = error
        raise failure or next(iter(self.refused.values()))

    def _opening(self, text: str, earlier: Sequence[dict[str, Any]]) -> list[AnyMessage]:
        with opened(self.context.db_path, read_only=True) as db, snapshot(db) as moment:
            system = render("chat", **chat_values(db, self.context))
        opening = SystemMessage(system, additional_kwargs=origin("chat", moment=moment))
        return [opening, *map(_said_before, earlier), HumanMessage(text)]

    def _conversed(self, backend: Backend, messages: list[AnyMessage], give: Give) -> str:
        """Ask and run tools until the model answers in words."""
        words: list[str] = []
        for _ in range(CALLS_PER_ANSWER):
            message = self._asked(backend, messages)
            words += [message.text.strip()] if message.text.strip() else []
            calls = [{**call, "id": call["id"] or f"call_{number}"} for number, call in enumerate(message.tool_calls)]
            if not calls and not message.invalid_tool_calls:
                break
            messages.append(AIMessage(message.text or ("" if calls else "(a broken call)"), tool_calls=calls))
            messages += [self._done(call, give) for call in calls]
            if not calls:
                bad = message.invalid_tool_calls[0]
                problem = f"Your call of {bad['name']} had arguments that are not valid JSON."
                values = {"problem": problem, "tools": [tool.name for tool in TOOLS]}
                messages.append(
                    HumanMessage(render("repair", **values), additional_kwargs=origin("repair", values=values))
                )
        return "\n".join(words) or "(no answer)"

    def _asked(self, backend: Backend, messages: list[AnyMessage]) -> AIMessage:
        """One exchange, retried while its failure may pass and nothing was heard of the answer yet."""
        for attempt in range(ATTEMPTS):
            heard = list[str]()
            try:
                return self._exchanged(backend, messages, heard)
            except BackendError as error:
                if not error.transient or heard or attempt == ATTEMPTS - 1:
                    raise
                if self.context.services.stop.wait(RETRY_SECONDS * 2**attempt):
                    raise
        raise AssertionError("a call is attempted at least once")

    def _exchanged(self, backend: Backend, messages: list[AnyMessage], heard: list[str]) -> AIMessage:
        ticket = self._reserve(backend, messages)
        started, message, failure = time.monotonic(), None, None
        try:
            message = self._answered(backend, messages, heard)
        except Exception as error:
            failure = BackendError(error)
            raise failure from error
        finally:  # also an answer that Ctrl-C broke off is a row
            self._record(backend, messages, message, failure, time.monotonic() - started)
            if self.context.services.allowance is not None:
                self.context.services.allowance.settle(ticket)
        return message

    def _reserve(self, backend: Backend, messages: list[AnyMessage]) -> int:
        """Ask for what the call may take at most.

        Raises:
            AllowanceSpent: with it a limit of the search might be passed.
        """
        if self.context.services.allowance is None:
            return 0
        sent = [message.text for message in messages] + [told_of(tool) for tool in TOOLS]
        address = backend.address
        return self.context.services.allowance.check_before_call(
            estimated_tokens(*sent), llm=address.llm, base_url=address.base_url
        )

    def _answered(self, backend: Backend, messages: list[AnyMessage], heard: list[str]) -> AIMessage:
        """One answer, in the way in which the model answers; one that takes no tools is asked in words."""
        if backend.way == "tools":
            try:
                return read(self._streamed(backend, messages, heard), TOOLS, len(messages))
            except Exception as error:
                if heard or not rejects("tools", BackendError(error)):
                    raise
                backend.way = "fenced_json"
        tools = [*TOOLS, ANSWER]
        sent = [SystemMessage(in_words(messages[0].text, tools)), *spoken(messages[1:])]
        message = read(backend.model.invoke(sent), tools, len(messages))
        message = _unwrapped(message)
        self.hear(message.text)
        return message

    def _streamed(self, backend: Backend, messages: list[AnyMessage], heard: list[str]) -> AIMessage:
        whole: AIMessageChunk | None = None
        for chunk in streaming(backend.model).bind_tools(TOOLS).stream(messages):
            part = chunk if isinstance(chunk, AIMessageChunk) else AIMessageChunk(**chunk.model_dump(exclude={"type"}))
            whole = part if whole is None else whole + part
            if part.text:
                heard.append(part.text)
                self.hear(part.text)
        message = message_chunk_to_message(whole) if whole is not None else AIMessage("")
        assert isinstance(message, AIMessage)
        return message

    def _record(
        self,
        backend: Backend,
        messages: list[AnyMessage],
        message: AIMessage | None,
        failure: BackendError | None,
        seconds: float,
    ) -> None:
        record_exchange(
            self.context,
            backend.address,
            None,
            "chat",
            {"messages": messages_to_dict(messages), "tools": sorted(tool.name for tool in TOOLS)},
            message,
            failure,
            seconds,
            error=str(failure) if failure else None if message else "broken off by the user",
        )

    def _done(self, call: dict[str, Any], give: Give) -> ToolMessage:
        """What a tool answers; what is wrong with a call is said so that the model can mend it."""
        tool = next((tool for tool in TOOLS if tool.name == call["name"]), None)
        if tool is None:
            known = ", ".join(tool.name for tool in TOOLS)
            return _told(call, f"There is no tool {call['name']!r}; there are {known}.", "error")
        try:
            if tool is GIVE_DIRECTIVE:
                return _told(call, _given(call["args"], give))
            check_arguments(tool, call["args"])
            found = tool.invoke({**call, "args": {**call["args"], "runtime": self._runtime(call["id"])}})
        except ValidationError as error:
            return _told(call, f"{call['name']}: {what_is_wrong(error)}", "error")
        except UserError as error:
            return _told(call, str(error), "error")
        assert isinstance(found, ToolMessage)
        return found

    def _runtime(self, call: str) -> ToolRuntime[SearchContext, Any]:
        return ToolRuntime(
            state={}, context=self.context, config={}, stream_writer=lambda _: None, tool_call_id=call, store=None
        )


def _given(arguments: dict[str, Any], give: Give) -> str:
    """Hand a directive on; what became of it.

    Raises:
        UserError: it cannot be understood.
    """
    instruction = arguments.get("instruction")
    if not isinstance(instruction, dict) or not isinstance(instruction.get("kind"), str):
        raise UserError(f"'{json.dumps(arguments)[:200]}' lacks the instruction, an object with its kind")
    rest = {name: value for name, value in instruction.items() if name != "kind"}
    parsed = parse_directive(instruction["kind"], rest)
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


def streaming(model: BaseChatModel) -> BaseChatModel:
    """The model, told to count the tokens of a streamed answer, too; by default a server of one's own does not."""
    if "stream_usage" in type(model).model_fields:
        with suppress(ValueError):
            return model.model_copy(update={"stream_usage": True})
    return model


def _told(call: dict[str, Any], text: str, status: str = "success") -> ToolMessage:
    return ToolMessage(
        text, tool_call_id=call["id"], name=call["name"], status="error" if status == "error" else "success"
    )
