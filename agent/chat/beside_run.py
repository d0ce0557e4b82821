"""A conversation in the terminal of the search itself: typed lines beside the bar, and the questions of ``--approve``.

On a terminal every line is answered as in chat; elsewhere standard input is read only where questions will be asked,
and its lines are the answers.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from agent.chat.approval import Approver
from agent.chat.commands import carry_out
from agent.chat.conversation import Chat
from agent.chat.window.inbox import Inbox, reading
from agent.chat.window.terminal import Complete, history_beside, prompt_session
from agent.chat.window.voice import Voice
from agent.chat.wiring import assistant_of
from agent.config.settings import RunConfig
from agent.report.console import is_plain
from agent.report.progress import Lines
from tools.context import SearchContext


def approver_of(config: RunConfig, inbox: Inbox) -> Approver | None:
    """Who is asked before each training, if anybody is to be."""
    return Approver(inbox.ask) if config.backend.approve else None


@contextmanager
def listening(
    config: RunConfig, context: SearchContext, lines: Lines, inbox: Inbox, takes_lines: bool = True
) -> Iterator[None]:
    """Hear what is typed until the block ends; with `takes_lines` as a conversation, where this is a terminal."""
    is_conversation = takes_lines and sys.stdin.isatty() and (lines.console.is_terminal or is_plain(lines.console))
    if not is_conversation and not config.backend.approve:
        yield
        return
    complete: Complete = lambda line: []  # noqa: E731
    if is_conversation:
        voice = Voice(lines.console, inbox.ask)
        chat = Chat(context, voice, carry_out, assistant_of(config, voice))
        inbox.handle, complete = _handler(chat), chat.completions
    with reading(inbox, lines, partial(prompt_session, lines.console, history_beside(config.places.db), complete)):
        yield


def _handler(chat: Chat) -> Callable[[str], None]:
    def handle(line: str) -> None:
        if not chat.take(line):
            chat.voice.say("The search goes on here; /stop ends it, Ctrl-C interrupts it.")

    return handle
