"""The chat of a page: what a tab sends goes the way of a line that is typed in `chat`, one line of a search at a time.

A tab gives each line a key of its own and sends it again until it hears that it was dealt with: after the dashboard was
killed, say. What was kept under the key is not done twice:

    an answer is there              it is said again
    a slash form was carried out    nothing is done
    a directive came of the wish    the answer says so, and the model is not asked again
    the message alone               it is answered now

What is said goes to a `Turn`, which any number of tabs may follow from its beginning.
"""

import asyncio
import queue
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.chat.conversation import BY_MEMORY, Chat
from agent.chat.window.agreement import yes_or_no
from agent.chat.window.voice import Voice
from agent.chat.wiring import chat_about, talk_about
from agent.dashboard.paper import paper
from diffusion.errors import UserError
from diffusion.units import printable, visible
from memory.directives import directives_under
from memory.transcript import add_message, find_message
from tools.gates.directive_kinds import described

MOST_TURNS = 200  # that a server remembers of a search
GONE = "That question is not open any more; send the message again."


@dataclass
class Turn:
    """One line and what was said to it, as it comes; the worker adds, tabs follow."""

    key: str
    line: str
    loop: asyncio.AbstractEventLoop
    events: list[dict[str, Any]] = field(default_factory=list)
    is_over: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, **event: Any) -> None:
        """Say something; from any thread."""
        self.events.append(event)
        self._wake()

    def end(self) -> None:
        """Nothing more comes."""
        self.is_over = True
        self._wake()

    async def follow(self) -> AsyncIterator[dict[str, Any]]:
        """Everything that was and will be said, until it is over."""
        heard = 0
        while True:
            news, is_over = self._news, self.is_over
            while heard < len(self.events):
                yield self.events[heard]
                heard += 1
            if is_over:
                return
            await news.wait()

    def _wake(self) -> None:
        def wake() -> None:
            news, self._news = self._news, asyncio.Event()
            news.set()

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(wake)


@dataclass
class Question:
    """A yes or no that is due; None: nobody answers any more."""

    name: str
    text: str
    answer: "queue.Queue[str | None]" = field(default_factory=lambda: queue.Queue(1))
    given: str | None = None


class PageVoice(Voice):
    """What a chat says, into the turn that is being answered."""

    def __init__(self, ask: Callable[[str], str | None]) -> None:
        self.turn: Turn | None = None
        super().__init__(paper(self._print), ask, streams=True)

    def say(self, *lines: str) -> None:
        """Lines of plain text."""
        self._add(say=[printable(line.expandtabs()) for line in lines])

    def asked(self, question: str) -> str | None:
        """The answer that a tab gives."""
        return self.ask(question)

    def hear(self, text: str) -> None:
        """A piece of an answer."""
        if text:
            self._add(word=visible(text))

    def pause_words(self) -> None:
        """Every tab knows where a piece ends."""

    @contextmanager
    def answering(self, name: str) -> Iterator[None]:
        """A model is asked."""
        self._add(asked=printable(name))
        yield

    def _print(self, text: str) -> None:
        self._add(table=visible(text))

    def _add(self, **event: Any) -> None:
        if self.turn is not None:
            self.turn.add(**event)


class Talk:
    """The chat about one search, with a thread that answers."""

    def __init__(self, path: Path, search: int, changed: Callable[[], None]) -> None:
        self.path, self.search, self.changed = path, search, changed
        self.turns: dict[str, Turn] = {}
        self.question: Question | None = None
        self.asked = dict[str, Question]()
        self._lines: queue.Queue[Turn] = queue.Queue()
        self._voice, self._lock, self._is_closing = PageVoice(self._ask), threading.Lock(), False
        self._numbers = 0
        self._chat: Chat | None = None
        threading.Thread(target=self._work, name=f"chat-{search}", daemon=True).start()

    def take(self, key: str, line: str, loop: asyncio.AbstractEventLoop) -> Turn:
        """The turn of a line; of one that was sent before the turn that there is."""
        with self._lock:
            if (known := self.turns.get(key)) is not None:
                return known
            turn = self.turns[key] = Turn(key, line, loop)
            for old in list(self.turns)[:-MOST_TURNS]:
                del self.turns[old]
        if self.question is not None and (meant := yes_or_no(line)) is not None:
            self.reply(self.question.name, meant)
            turn.end()
        else:
            self._lines.put(turn)
        return turn

    def reply(self, name: str, agreed: bool) -> None:
        """Answer a question; the same answer once more changes nothing.

        Raises:
            UserError: it is not open, or was answered otherwise.
        """
        word = "yes" if agreed else "no"
        with self._lock:
            question = self.asked.get(name)
            if question is None:
                raise UserError(GONE)
            if question.given is None:
                question.given = word
                question.answer.put(word)
            elif question.given != word:
                raise UserError(f"That question was answered with {question.given} already.")

    def close(self) -> None:
        """Nobody answers any more."""
        self._is_closing = True
        if self.question is not None:
            self.question.answer.put(None)

    def _ask(self, text: str) -> str | None:
        turn = self._voice.turn
        if turn is None or self._is_closing:
            return None
        self._numbers += 1
        question = Question(f"{turn.key}-{self._numbers}", text.removesuffix("(y/n) ").strip())
        with self._lock:
            self.asked[question.name] = self.question = question
        turn.add(ask=question.name, text=question.text)
        self.changed()
        answer = question.answer.get()
        self.question = None
        turn.add(answered=question.name, answer=answer)
        self.changed()
        return answer

    def _work(self) -> None:
        while True:
            turn = self._lines.get()
            self._voice.turn = turn
            try:
                self._answer(turn)
            except UserError as error:
                turn.add(say=[printable(str(error))])
            except Exception as error:  # a bug of ours: the tab is told, the terminal has the traceback
                turn.add(say=[f"This went wrong and is ours to mend: {printable(repr(error))}"])
                traceback.print_exc()
            finally:
                turn.end()

    def _answer(self, turn: Turn) -> None:
        if self._chat is None:
            self._chat = chat_about(talk_about(self.path, str(self.search)), self._voice, None, None)
        chat, db = self._chat, self._chat.context.db
        known, answer = (find_message(db, self.search, key) for key in (turn.key, f"{turn.key}-answer"))
        given = directives_under(db, self.search, turn.key)
        if answer is not None or (known is not None and turn.line.startswith("/")):
            turn.add(again=True)
        elif known is not None and given:
            text = f"The answer was cut off; given was {'; '.join(map(described, given))}."
            add_message(db, self.search, "assistant", text, author=BY_MEMORY, key=f"{turn.key}-answer")
            turn.add(say=[text])
        else:
            chat.take(turn.line, turn.key)


class Talks:
    """The chats of all searches, begun when they are first needed."""

    def __init__(self, path: Path, changed: Callable[[], None]) -> None:
        self.path, self.changed = path, changed
        self._talks: dict[int, Talk] = {}

    def about(self, search: int) -> Talk:
        """The chat about a search."""
        if search not in self._talks:
            self._talks[search] = Talk(self.path, search, self.changed)
        return self._talks[search]

    def questions(self, search: int | None) -> list[dict[str, str]]:
        """What is asked of whoever looks at a search."""
        talk = self._talks.get(search or 0)
        return [{"name": talk.question.name, "text": talk.question.text}] if talk and talk.question else []

    def close(self) -> None:
        """Nobody answers any more."""
        for talk in self._talks.values():
            talk.close()
