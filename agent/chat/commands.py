"""The slash commands that a chat carries out itself: looks into the memory, and taking directives back."""

import json
from collections.abc import Callable

from sqlite_utils import Database

from agent.chat import answers as chat_answers
from agent.chat.conversation import QUIT, Chat
from agent.chat.slash import SLASH_HELP, Command
from agent.chat.spawn import start
from agent.config.kinds import KINDS
from agent.report.curve import draw_png, drawn
from agent.report.status import print_rows, print_status, search_status
from agent.report.trials import trial_rows
from diffusion.errors import UserError
from diffusion.errors import command as pasted
from diffusion.files.paths import user_path
from diffusion.units import format_size, parse_size
from memory.connection import transaction
from memory.directives import active_directives, undo_directive
from memory.leases import is_driven
from memory.queries.progress import remaining
from memory.queries.records import best
from memory.queries.sql import SqlRefused, read_only_sql
from memory.searches import SearchRow
from memory.transcript import add_message

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
    for row in drawn(ranking, chat.voice.console.width):
        chat.voice.console.print(row, markup=False, no_wrap=True, crop=True)


def _sql(chat: Chat, command: Command, line: str, key: str) -> None:
    try:
        found = read_only_sql(chat.context.db_path, command.text, max_rows=SQL_ROWS)
    except SqlRefused as error:
        raise UserError(f"'{line}': {error}") from None
    print_rows(chat.voice.console, found)


def _undo(chat: Chat, command: Command, line: str, key: str) -> None:
    _take_back(chat, command.number, line, key)


def _take_back(chat: Chat, directive: int | None, line: str, key: str) -> None:
    db = chat.context.db
    with transaction(db):
        add_message(db, chat.context.search, "user", line, key=key)
        undone = undo_directive(db, chat.context.search, directive)
    chat.voice.say(f"Taken back: {undone.name}.")


def _resume(chat: Chat, command: Command, line: str, key: str) -> None:
    row = chat.row
    db = chat.context.db
    pauses = [each for each in active_directives(db, row.id) if each.kind == "pause"]
    held = is_driven(db, row.id)
    if not pauses and held:
        raise UserError(f"'{line}': {row.name} is {row.state}, not paused")
    for number, pause in enumerate(pauses):
        _take_back(chat, pause.id, line, f"{key}-{number}")
    if not held:
        _go_on(chat, row, line)


def _go_on(chat: Chat, row: SearchRow, line: str) -> None:
    """Have a process go on with a search that none drives."""
    db = chat.context.db
    left = remaining(db, row.id)[0]["rounds_left"]
    more = any(each.kind == "rounds" for each in active_directives(db, row.id))
    if not left and not more:
        raise UserError(f"'{line}': all rounds of {row.name} are played; give it more first, such as /rounds 20")
    approves = json.loads(row.config_json).get("approve")
    if approves or not KINDS[row.kind].takes_directives:
        why = "asks before each training" if approves else "is no search with proposals"
        again = pasted("resume", row.name, db=chat.context.db_path)
        raise UserError(f"'{line}': {row.name} {why}; go on with it on a terminal: {again}")
    chat.voice.say("No process drives the search; one is started.")
    chat.voice.say(start(["resume", row.name], chat.context.db_path).sentence())


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
    chat.compress(command.number or 0, float(command.text), line)


def _help(chat: Chat, command: Command, line: str, key: str) -> None:
    chat.voice.say(*(f"{name}  {text}" for name, text in SLASH_HELP.items()), f"{QUIT}  leave the chat")


COMMANDS: dict[str, Callable[[Chat, Command, str, str], None]] = {
    "status": _status,
    "best": _answered_by(chat_answers.best),
    "directives": _answered_by(chat_answers.directives),
    "why": _why,
    "plot": _plot,
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
