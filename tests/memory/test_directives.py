"""Directives in the memory: kept once, obeyed or taken back, and cited where they changed a decision."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from diffusion.errors import UserError
from memory.directives import (
    LONGEST_NAME,
    active_directives,
    add_directive,
    all_directives,
    citations,
    cite,
    find_directive,
    finish_directive,
    see_directive,
    undo_directive,
)

FREEZE = {"parameter": "attn_0", "value": 0}


def told(db: Database, search: int, text: str = "no attention at stage 0", **more: Any) -> int:
    return add_directive(db, search, "freeze", FREEZE, text, **more)


def test_a_directive_comes_back_as_it_was_told(db: Database, search: int) -> None:
    number = told(db, search, author="chat")
    (found,) = active_directives(db, search)
    assert (found.id, found.kind, found.arguments, found.author) == (number, "freeze", FREEZE, "chat")
    assert (found.text, found.state, found.seen_round, found.ended) == ("no attention at stage 0", "active", None, None)
    assert found.name == f'directive {number}: "no attention at stage 0"'


def test_a_message_that_is_delivered_twice_adds_nothing(db: Database, search: int, fill: Any) -> None:
    first = told(db, search, key="message-7")
    assert told(db, search, "other words", key="message-7") == first
    finish_directive(db, first)
    assert told(db, search, key="message-7") == first
    assert [each.text for each in all_directives(db, search)] == ["no attention at stage 0"]
    other = fill.search()
    assert told(db, other, key="message-7") != first
    assert told(db, search) != told(db, search)  # without a key each is a directive of its own


def test_undo_takes_back_the_latest_active_one_or_the_one_that_is_named(db: Database, search: int) -> None:
    one, two, three = (told(db, search, text) for text in ("one", "two", "three"))
    assert undo_directive(db, search, None).id == three
    assert undo_directive(db, search, one).state == "undone"
    assert [each.id for each in active_directives(db, search)] == [two]
    with pytest.raises(UserError, match=f"^'{one}' is undone already; only an active directive can be taken back$"):
        undo_directive(db, search, one)
    with pytest.raises(UserError, match=f"^'99' is not a directive of this search; active now: {two}$"):
        undo_directive(db, search, 99)
    undo_directive(db, search, None)
    with pytest.raises(UserError, match=r"^'undo': no directive is active; list all of them with /directives"):
        undo_directive(db, search, None)


def test_the_directive_of_another_search_is_not_found(db: Database, search: int, fill: Any) -> None:
    elsewhere = told(db, fill.search())
    with pytest.raises(UserError, match=f"^'{elsewhere}' is not a directive of this search; active now: none$"):
        find_directive(db, search, elsewhere)


def test_what_is_over_stays_as_it_ended_and_the_first_round_that_obeyed_stays(db: Database, search: int) -> None:
    number = told(db, search)
    see_directive(db, number, 3)
    see_directive(db, number, 5)
    finish_directive(db, number)
    ended = find_directive(db, search, number).ended
    finish_directive(db, number)
    found = find_directive(db, search, number)
    assert (found.state, found.seen_round, found.ended) == ("done", 3, ended)


def test_a_citation_is_a_row_once_and_is_never_rewritten(db: Database, search: int) -> None:
    number = told(db, search)
    for _ in range(2):
        cite(db, number, 2, "refused b8")
    cite(db, number, 3, "refused b8")
    assert [(row["directive"], row["round"], row["what"]) for row in citations(db, search)] == [
        (number, 2, "refused b8"),
        (number, 3, "refused b8"),
    ]
    assert [row["text"] for row in citations(db, search, 3)] == ["no attention at stage 0"]
    with pytest.raises(Exception, match="citations is append-only"):
        db.conn.execute("DELETE FROM citations")


def test_no_secret_is_kept_and_a_name_is_one_short_line(db: Database, search: int) -> None:
    number = told(db, search, "use sk-1234567890abcdef\n" + "x" * 500)
    found = find_directive(db, search, number)
    assert "sk-1234567890abcdef" not in json.dumps([found.text, found.name])
    assert "\n" not in found.name
    assert len(found.name) <= LONGEST_NAME + len(f'directive {number}: ""')


def test_the_second_process_that_delivers_a_message_finds_it_there(path: Path, db: Database, search: int) -> None:
    from memory.connection import opened

    first = told(db, search, key="m")
    with opened(path) as other:
        assert told(other, search, key="m") == first
