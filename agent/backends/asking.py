"""Asking a model is one thing, whoever asks: a search for specs or for a strategy, a chat, the doctor's exam.

An answer: each backend of the chain in turn, each again as long as its failure may pass, each in the way in which it
answers. One exchange of it: reserve, send, write down, find the call in what came back. What a call means, and what is
said of one that cannot be obeyed, is the caller's.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from threading import Event

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, message_chunk_to_message
from langchain_core.tools import BaseTool

from agent.backends.chain import Chain, own_words, signed, with_retries
from agent.backends.errors import BackendError
from agent.backends.gate import admitted
from agent.backends.offline import OfflineModel
from agent.backends.recorder import Exchange, Recorder
from agent.backends.registry import Backend
from agent.backends.repair import repairs_in_a_row
from agent.backends.structured import NEXT_WAY, in_words, read, rejects, schema_settings
from memory.backends import Way
from tools.errors import Interrupted

WORDLESS_ANSWERS = 2  # in a row without a tool call, before a model that never called one is asked in another way


@dataclass
class Asking:
    """One round, one answer of a chat, or one exam; it stays with the backend that answered last.

    Messages are a whole conversation, the system prompt first if there is any.
    """

    chain: Chain
    tools: Sequence[BaseTool]
    recorder: Recorder | None = None  # None: nothing is written down
    stop: Event = field(default_factory=Event)
    in_words_only: Sequence[BaseTool] = ()  # further tools for a model that can answer with nothing but an object
    hear: Callable[[str], None] | None = None  # gets an answer in words piece by piece, where it comes so
    heard: bool = False  # something of the last exchange
    at: int = 0  # the place of who answered last

    def answer(self, messages: Sequence[AnyMessage]) -> AIMessage:
        """The answer of the first backend that gives one, as a message with tool calls whichever way they came.

        Raises:
            BackendError: none does; it is a refusal only if every one of them refuses.
            AllowanceSpent: with the next call a limit of the search might be passed.
            Interrupted: the user stops the search.
        """
        for place, backend in list(enumerate(self.chain.backends))[self.at :]:
            try:
                message = self._patiently(backend, messages)
            except BackendError as error:
                self.chain.failed(backend, error)
                continue
            self.at = place
            self.chain.answered(backend)
            return signed(message, backend.llm)
        self.at = 0
        raise self.chain.verdict()

    def exchange(self, backend: Backend, way: Way, messages: Sequence[AnyMessage]) -> AIMessage:
        """Ask one backend once in one way; what a client raises becomes a `BackendError`, a bug of ours stays one.

        Raises:
            BackendError: it gave no usable answer.
            AllowanceSpent, Interrupted: it was not asked.
        """
        if self.stop.is_set():
            raise Interrupted  # also between two attempts of a retry
        tools = [*self.tools, *(self.in_words_only if way != "tools" else ())]
        sent = None if way == "tools" else in_words(messages, tools)
        self.heard = False
        if (line := getattr(backend.model, "line", None)) is not None:
            line.stop = self.stop
        recording = (
            self.recorder.exchange(backend.address, messages, sent) if self.recorder else nullcontext(Exchange())
        )
        with recording as found:
            try:
                found.message = admitted(self._sent(backend, way, messages if sent is None else sent, tools))
            except Exception as error:
                found.failure = BackendError(error, begun=self.heard)
                if isinstance(backend.model, OfflineModel):
                    raise
                raise found.failure from error
        return read(found.message, tools, len(messages))

    def _patiently(self, backend: Backend, messages: Sequence[AnyMessage]) -> AIMessage:
        if refusal := self.chain.refusal(backend):
            raise refusal
        ready = own_words(messages) if isinstance(backend.model, OfflineModel) else messages
        return with_retries(
            lambda: self._in_its_way(backend, ready),
            attempts=self.chain.attempts(backend),
            first_seconds=self.chain.retry_seconds,
            stop=self.stop,
        )

    def _in_its_way(self, backend: Backend, messages: Sequence[AnyMessage]) -> AIMessage:
        """The answer in the way that is known, or in the next where the server rejects it; that is remembered."""
        way, is_rejected = self._way(backend, messages), False
        while True:
            try:
                message = self.exchange(backend, way, messages)
                break
            except BackendError as error:
                if backend.has_called or not rejects(way, error):
                    raise
                way, is_rejected = NEXT_WAY[way], True
        backend.has_called |= bool(message.tool_calls)
        if way != backend.way and (message.tool_calls or is_rejected):
            backend.way = way
            if self.recorder is not None:
                self.recorder.remember(backend)
        return message

    def _way(self, backend: Backend, messages: Sequence[AnyMessage]) -> Way:
        """The way that is known; another one for a model that was told twice and still only talks."""
        if backend.has_called or repairs_in_a_row(messages) < WORDLESS_ANSWERS:
            return backend.way
        return NEXT_WAY.get(backend.way, backend.way)

    def _sent(self, backend: Backend, way: Way, messages: Sequence[AnyMessage], tools: Sequence[BaseTool]) -> AIMessage:
        if way != "tools":
            settings = schema_settings(backend, tools) if way == "json_schema" else {}
            return backend.model.bind(**settings).invoke(list(messages))
        if self.hear is None:
            return backend.model.bind_tools(list(tools)).invoke(list(messages))
        return self._streamed(backend.model, messages)

    def _streamed(self, model: BaseChatModel, messages: Sequence[AnyMessage]) -> AIMessage:
        whole: AIMessageChunk | None = None
        for chunk in counting_tokens(model).bind_tools(list(self.tools)).stream(list(messages)):
            part = chunk if isinstance(chunk, AIMessageChunk) else AIMessageChunk(**chunk.model_dump(exclude={"type"}))
            whole = part if whole is None else whole + part
            if part.text and self.hear is not None:
                self.heard = True
                self.hear(part.text)
        message = message_chunk_to_message(whole) if whole is not None else AIMessage("")
        assert isinstance(message, AIMessage)
        return message


def counting_tokens(model: BaseChatModel) -> BaseChatModel:
    """The model, told to count the tokens of a streamed answer, too; by default a server of one's own does not."""
    if "stream_usage" in type(model).model_fields:
        with suppress(ValueError):
            return model.model_copy(update={"stream_usage": True})
    return model
