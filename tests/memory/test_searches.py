from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from diffusion.errors import UserError, command
from memory.connection import database_path
from memory.searches import find_protocol, find_search, list_searches, set_state


def test_a_search_without_a_name_gets_a_short_one_of_its_data(fill: Any) -> None:
    for dataset in ("digits", "digits", "/data/My Cats.npz", "huggan/flowers-102", "…"):
        fill.search(protocol=fill.make_protocol(dataset))
    names = [row.name for row in list_searches(fill.db)]
    assert names == ["search-1", "flowers-102-1", "my-cats-1", "digits-2", "digits-1"]


def test_a_default_name_passes_by_the_ones_that_people_gave(fill: Any) -> None:
    fill.search(name="digits-1")
    fill.search()
    assert find_search(fill.db).name == "digits-2"


def test_a_taken_name_says_how_to_go_on(fill: Any) -> None:
    fill.search(name="mine")
    with pytest.raises(UserError) as raised:
        fill.search(name="mine")
    again = command("resume", "mine", db=Path(database_path(fill.db)))
    assert str(raised.value) == f"'mine' is taken; go on with `{again}` or choose another --name"


@pytest.mark.parametrize("name", ["", "12", "a b", "-x", "a/b", "x" * 65])
def test_a_name_that_a_command_line_would_mistake_is_refused(fill: Any, name: str) -> None:
    with pytest.raises(UserError, match=r"cannot name a search") as raised:
        fill.search(name=name)
    assert str(raised.value).startswith(f"'{name}' ")


def test_a_search_is_found_by_name_by_number_or_as_the_latest(fill: Any) -> None:
    first, second = fill.search(name="one"), fill.search(name="two", rounds=7)
    assert find_search(fill.db, "one").id == find_search(fill.db, str(first)).id == find_search(fill.db, first).id
    latest = find_search(fill.db)
    assert (latest.id, latest.rounds, latest.macs_column) == (second, 7, "macs_paper")


@pytest.mark.parametrize("name", ["seven", "99", "9" * 40])
def test_an_unknown_search_lists_at_most_five_that_there_are(fill: Any, name: str) -> None:
    for number in range(7):
        fill.search(name=f"s{number}")
    with pytest.raises(UserError) as raised:
        find_search(fill.db, name)
    assert str(raised.value) == f"'{name}' is not a search of this memory; there are s6, s5, s4, s3, s2 and 2 more"


def test_an_empty_memory_says_how_to_start(db: Database, path: Any) -> None:
    sentence = "': this memory holds no search yet; start one with `diffnas-agent run --budget …`"
    for name, typed in ((None, path), ("x", "x")):
        with pytest.raises(UserError) as raised:
            find_search(db, name)
        assert str(raised.value) == f"'{typed}{sentence}"


def test_a_protocol_is_kept_whole(fill: Any, search: int) -> None:
    assert find_protocol(fill.db, fill.protocol.fingerprint) == fill.protocol
    with pytest.raises(UserError, match=f"known: {fill.protocol.fingerprint}") as raised:
        find_protocol(fill.db, "nothing")
    assert str(raised.value).startswith("'nothing' is not the fingerprint")


def test_a_finished_search_has_an_end_and_a_resumed_one_has_none(db: Database, search: int) -> None:
    set_state(db, search, "finished", "all rounds done")
    row = find_search(db)
    assert (row.state, row.reason, row.finished is None) == ("finished", "all rounds done", False)
    set_state(db, search, "running")
    row = find_search(db)
    assert (row.reason, row.finished) == (None, None)
