"""The assistant of a chat: a model that answers from memory with the read tools, and that may give directives.

It is asked as every model is (`agent.backends.asking`), at the cost of the search. The person is asked before a
directive is stored; that, and the words on the screen, are the caller's (`agent.chat.conversation`).
"""

import json
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolCall, ToolMessage

from agent.backends.asking import Asking
from agent.backends.chain import Chain
from agent.backends.recorder import Recorder
from agent.backends.registry import Backend
from agent.backends.repair import problems_of, repair, with_calls, wrong_arguments
from agent.chat.prompt import chat_values
from agent.chat.tools import (
    ANSWER,
    BY_NAME,
    SAID_CHARACTERS,
    TOOLS,
    LatencyArguments,
    TakeBackArguments,
    give_directive,
    go_on,
    measure_latency,
    take_back,
)
from agent.config.backend import OFFLINE
from diffusion.errors import UserError
from memory.journal import snapshot
from prompts.origin import origin
from prompts.render import render
from tools.compress_unet import CompressArguments, compress_unet
from tools.context import SearchContext
from tools.gates.directive_kinds import parse_directive

if TYPE_CHECKING:
    from agent.chat.steering import Steering

CALLS_PER_ANSWER = 12
ATTEMPTS = 3  # a person waits
RETRY_SECONDS = 1.0


class Assistant:
    """Answers one message after the other; `hear` gets the words as they come."""

    def __init__(self, backends: Sequence[Backend], context: SearchContext, hear: Callable[[str], None]) -> None:
        models = [backend for backend in backends if backend.llm != OFFLINE]
        self.chain, self.context, self.hear = Chain(models, ATTEMPTS - 1, RETRY_SECONDS), context, hear

    @property
    def name(self) -> str:
        """Who is asked first."""
        return self.chain.backends[0].llm

    def answer(self, text: str, earlier: Sequence[dict[str, Any]], steering: "Steering", key: str) -> tuple[str, str]:
        """The whole answer to a message, after what was said before, and which backend gave it last.

        What the person wishes goes through `steering`, under keys that begin with that of the message.

        Raises:
            BackendError: no backend gives a usable answer, retries included.
            AllowanceSpent: with the next call a limit of the search might be passed.
            Interrupted: the search in whose terminal this is said is being stopped.
        """
        recorder = Recorder(self.context, "chat", TOOLS)
        asking = Asking(self.chain, TOOLS, recorder, self.context.services.stop, in_words_only=[ANSWER], hear=self.hear)
        messages, words = self._opening(text, earlier), list[str]()
        done = _Hands(self.context, steering, text, key)
        for _ in range(CALLS_PER_ANSWER):
            message = _unwrapped(asking.answer(messages))
            if not asking.heard:
                self.hear(message.text)
            words += [message.text.strip()] if message.text.strip() else []
            if not message.tool_calls and not message.invalid_tool_calls:
                break
            asked = with_calls(message, message.tool_calls)
            messages += [asked, *map(done, asked.tool_calls)]
            if not message.tool_calls:
                messages.append(repair([sentence for _, sentence, _ in problems_of(message, BY_NAME)], BY_NAME))
        return "\n".join(words) or "(no answer)", self.chain.backends[asking.at].llm

    def _opening(self, text: str, earlier: Sequence[dict[str, Any]]) -> list[AnyMessage]:
        db = self.context.db
        with snapshot(db) as moment:
            values = chat_values(db, self.context)
        told = origin("chat", moment=moment, seen={"state": values["state"]})
        opening = SystemMessage(render("chat", **values), additional_kwargs=told)
        return [opening, *map(_said_before, earlier), HumanMessage(text)]


class _Hands:
    """Carries out what a model calls for in the answer to one message."""

    def __init__(self, context: SearchContext, steering: "Steering", text: str, key: str) -> None:
        self.context, self.steering, self.text, self.key = context, steering, text, key
        self.numbers = count(1)

    def __call__(self, call: ToolCall) -> ToolMessage:
        """What a tool answers; what is wrong with a call is said so that the model can mend it."""
        if (tool := BY_NAME.get(call["name"])) is None:
            return _told(call, f"There is no tool {call['name']!r}; there are {', '.join(BY_NAME)}.", "error")
        try:
            if tool is give_directive:
                return _told(call, self._given(call["args"]))
            if sentence := wrong_arguments(tool, call["args"]):
                return _told(call, sentence, "error")
            if tool.name in self._wishes:
                return _told(call, self._wishes[tool.name](call["args"]))
            found = tool.invoke({**call, "args": {**call["args"], "runtime": self._runtime(call["id"])}})
        except UserError as error:
            return _told(call, str(error), "error")
        assert isinstance(found, ToolMessage)
        return found

    @property
    def _wishes(self) -> dict[str, Callable[[dict[str, Any]], str]]:
        """What is asked about and done by the chat itself."""
        return {
            take_back.name: self._taken_back,
            go_on.name: self._gone_on,
            measure_latency.name: self._measured,
            compress_unet.name: self._compressed,
        }

    def _given(self, arguments: dict[str, Any]) -> str:
        """Hand a directive on; what became of it.

        Raises:
            UserError: it cannot be understood.
        """
        instruction = arguments.get("instruction")
        if not isinstance(instruction, dict) or not isinstance(instruction.get("kind"), str):
            raise UserError(f"'{json.dumps(arguments)[:200]}' lacks the instruction, an object with its kind")
        rest = {name: value for name, value in instruction.items() if name != "kind"}
        parsed = parse_directive(instruction["kind"], rest, self.context.limits.space)
        said = str(arguments.get("said") or parsed.say())[:SAID_CHARACTERS]
        return self.steering.give(parsed, said, self._key(), always_ask=True)

    def _taken_back(self, arguments: dict[str, Any]) -> str:
        asked = TakeBackArguments.model_validate(arguments)
        return self.steering.take_back(asked.directive, self.text, self._key(), always_ask=True)

    def _gone_on(self, arguments: dict[str, Any]) -> str:
        return self.steering.go_on(self.text, self._key(), always_ask=True)

    def _measured(self, arguments: dict[str, Any]) -> str:
        return self.steering.latency(LatencyArguments.model_validate(arguments).spec)

    def _compressed(self, arguments: dict[str, Any]) -> str:
        asked = CompressArguments.model_validate(arguments)
        return self.steering.compress(asked.trial, asked.target, self.text)

    def _key(self) -> str:
        return f"{self.key}-{next(self.numbers)}"

    def _runtime(self, call: str | None) -> ToolRuntime[SearchContext, Any]:
        return ToolRuntime(
            state={}, context=self.context, config={}, stream_writer=lambda _: None, tool_call_id=call, store=None
        )


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
