"""The slash commands that a chat carries out itself: looks into the memory, and taking directives back."""

from collections.abc import Callable

from sqlite_utils import Database

from agent.chat import answers as chat_answers
from agent.chat.conversation import QUIT, Chat
from agent.chat.slash import SLASH_HELP, Command
from agent.report.console import is_plain
from agent.report.curve import draw_png, drawn, in_words
from agent.report.status import print_rows, print_status, search_status
from agent.report.trials import trial_rows
from diffusion.errors import UserError
from diffusion.errors import command as pasted
from diffusion.files.paths import user_path
from diffusion.spec import UNetSpec
from diffusion.units import format_size, parse_size
from memory.queries.records import best
from memory.queries.sql import SqlRefused, read_only_sql

SQL_ROWS = 20
LESS = 2 / 3  # of its budget, an example of another one


def _status(chat: Chat, command: Command, line: str, key: str) -> None:
    found = search_status(chat.context.db, str(chat.context.search))
    print_status(chat.voice.console, found, chat.context.db_path)


def _answered_by(told: Callable[[Database, int], list[str]]) -> Callable[[Chat, Command, str, str], None]:
    def answered(chat: Chat, command: Command, line: str, key: str) -> None:
        chat.voice.say(*told(chat.context.db, chat.context.search))

    return answered


def _why(chat: Chat, command: Command, line: str, key: str) -> None:
    chat.voice.say(*chat_answers.why(chat.context.db, chat.context.search, command.number or 0))


def _plot(chat: Chat, command: Command, line: str, key: str) -> None:
    ranking = trial_rows(best(chat.context.db, chat.context.search, limit=None))
    if command.text:
        draw_png(ranking, user_path(command.text))
        chat.voice.say(f"Drawn: {command.text}")
        return
    if is_plain(chat.voice.console):
        chat.voice.say(*in_words(ranking))
        return
    for row in drawn(ranking, chat.voice.console.width):
        chat.voice.console.print(row, no_wrap=True, crop=True)


def _latency(chat: Chat, command: Command, line: str, key: str) -> None:
    chat.voice.say(chat.steering.latency(UNetSpec.parse(command.text)))


def _sql(chat: Chat, command: Command, line: str, key: str) -> None:
    try:
        found = read_only_sql(chat.context.db_path, command.text, max_rows=SQL_ROWS)
    except SqlRefused as error:
        raise UserError(f"'{line}': {error}") from None
    print_rows(chat.voice.console, found)


def _undo(chat: Chat, command: Command, line: str, key: str) -> None:
    chat.steering.take_back(command.number, line, key, message=line)


def _resume(chat: Chat, command: Command, line: str, key: str) -> None:
    chat.steering.go_on(line, key)


def _budget(chat: Chat, command: Command, line: str, key: str) -> None:
    budget = chat.row.budget_macs
    new = command.text.split()[0] if command.text else format_size(float(f"{LESS * budget:.1g}"))
    narrower = f", or lower what this one may try with /cap macs {new}" if parse_size(new) < budget else ""
    another = pasted("run", "--budget", new, db=chat.context.db_path)
    raise UserError(
        f"'{line}': the budget of a search, {format_size(budget)} here, is fixed, since all its trials are compared "
        f"under it; start another search with `{another}`{narrower}"
    )


def _compress(chat: Chat, command: Command, line: str, key: str) -> None:
    chat.steering.compress(command.number or 0, float(command.text), line)


def _help(chat: Chat, command: Command, line: str, key: str) -> None:
    chat.voice.say(*(f"{name}  {text}" for name, text in SLASH_HELP.items()), f"{QUIT}  leave the chat")


COMMANDS: dict[str, Callable[[Chat, Command, str, str], None]] = {
    "status": _status,
    "best": _answered_by(chat_answers.best),
    "directives": _answered_by(chat_answers.directives),
    "why": _why,
    "plot": _plot,
    "latency": _latency,
    "sql": _sql,
    "undo": _undo,
    "resume": _resume,
    "compress": _compress,
    "budget": _budget,
    "help": _help,
}


def carry_out(chat: Chat, command: Command, line: str, key: str) -> None:
    """What a command asks for; `key` is that of the message which it may become.

    Raises:
        UserError: it cannot be done, with the remedy.
    """
    COMMANDS[command.name](chat, command, line, key)
