"""Several backends in order: one that fails for good, or stays silent through its retries, is followed by the next.

A round goes on with the backend that answered last, so that its conversation stays with one model; the next round asks
the first again, once and without retries if it was silent before. A backend that refuses every call (a wrong key, no
such model) is not asked again by this process. The last of a chain may be `offline`, which knows nothing of what
another model asked. `agent.backends.asking` asks them.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import TypeVar

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from agent.backends.errors import BackendError
from agent.backends.registry import Backend
from tools.errors import Interrupted

RETRY_CEILING_SECONDS = 60.0
JITTER = 0.25  # of a wait, up or down, so that several searches do not come back at the same instant

T = TypeVar("T")


@dataclass
class Chain:
    """The backends of a purpose and what became of them in this process; shared by all rounds."""

    backends: Sequence[Backend]
    retries: int = 5
    retry_seconds: float = 1.0
    failures: dict[str, BackendError] = field(default_factory=dict)  # by address, until it answers

    def attempts(self, backend: Backend) -> int:
        """How often it is asked before the next one is."""
        was_silent = str(backend.address) in self.failures and len(self.backends) > 1
        return 1 if was_silent else 1 + self.retries

    def answered(self, backend: Backend) -> None:
        """It may be asked with patience again."""
        self.failures.pop(str(backend.address), None)

    def failed(self, backend: Backend, error: BackendError) -> None:
        """Remember how it failed."""
        self.failures[str(backend.address)] = error

    def refusal(self, backend: Backend) -> BackendError | None:
        """Why it is not asked any more."""
        error = self.failures.get(str(backend.address))
        return error if error and error.refused else None

    def verdict(self) -> BackendError:
        """Of the failures of all, the first that may pass; a refusal only where every backend refuses."""
        return min(self.failures.values(), key=lambda error: error.refused)


def with_retries(call: Callable[[], T], *, attempts: int, first_seconds: float, stop: Event) -> T:
    """Make a call again, after a growing wait, as long as its failure may pass.

    Raises:
        BackendError: the last failure.
        Interrupted: the user stops the search, also in the middle of a wait.
    """
    for attempt in range(attempts):
        try:
            return call()
        except BackendError as error:
            if not error.transient or attempt == attempts - 1:
                raise
            if stop.wait(wait_seconds(attempt, first_seconds, error.retry_after_seconds)):
                raise Interrupted from None
    raise AssertionError("a call is attempted at least once")


def wait_seconds(attempt: int, first_seconds: float, asked_for: float | None = None) -> float:
    """The wait before the next attempt: doubled each time, jittered, and not shorter than the server asked for."""
    wait: float = min(first_seconds * 2**attempt, RETRY_CEILING_SECONDS) * random.uniform(1 - JITTER, 1 + JITTER)
    return min(max(wait, asked_for or 0.0), RETRY_CEILING_SECONDS)


def signed(message: AIMessage, llm: str) -> AIMessage:
    """The answer with the name of the backend that gave it."""
    message.response_metadata = {**message.response_metadata, "backend": llm}
    return message


def spoken_by(message: AnyMessage) -> str | None:
    """The backend that gave an answer."""
    return message.response_metadata.get("backend")


def own_words(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """A conversation as `offline` understands it: its own calls, and the training that another model brought about."""
    kept: list[AnyMessage] = []
    trained = {m.tool_call_id for m in messages if isinstance(m, ToolMessage) and _has_trained(m)}
    known: set[str] = set()
    for message in messages:
        if isinstance(message, AIMessage):
            own = spoken_by(message) == "offline"
            calls = [call for call in message.tool_calls if own or call["id"] in trained]
            known |= {call["id"] or "" for call in calls}
            if calls:
                kept.append(AIMessage("", id=message.id, tool_calls=calls, response_metadata=message.response_metadata))
        elif not isinstance(message, ToolMessage) or message.tool_call_id in known:
            kept.append(message)
    return kept


def _has_trained(message: ToolMessage) -> bool:
    return message.name == "train_ract" and message.status == "success"
