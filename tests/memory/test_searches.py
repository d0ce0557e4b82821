import os
from typing import Any

import pytest
from sqlite_utils import Database

from diffusion.errors import UserError
from memory.searches import (
    LeaseLost,
    find_protocol,
    find_search,
    list_searches,
    process_start,
    release_lease,
    renew_lease,
    set_state,
    take_lease,
    this_host,
)

DRIVE = (
    "import sys; from pathlib import Path; from memory.connection import opened\n"
    "from memory.searches import take_lease\n"
    "with opened(Path(sys.argv[1])) as db: print(take_lease(db, 1), flush=True)\n"
    "input()"
)


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
    sentence = "'mine' is taken; go on with `diffnas-agent resume mine` or choose another --name"
    assert str(raised.value) == sentence


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


def test_a_running_search_that_nobody_drives_is_seen_as_interrupted(db: Database, search: int) -> None:
    assert find_search(db).state == "interrupted"
    token = take_lease(db, search)
    assert find_search(db).state == "running"
    release_lease(db, search, token)
    assert find_search(db).state == "interrupted"
    set_state(db, search, "paused")
    assert find_search(db).state == "paused"


def test_a_live_lease_is_refused_and_a_dead_one_taken_over(db: Database, search: int, child: Any) -> None:
    process = child(DRIVE)
    theirs = process.stdout.readline().strip()
    with pytest.raises(UserError, match=f"is being driven by process {process.pid}") as raised:
        take_lease(db, search)
    assert str(raised.value).startswith("'digits-1' ")
    assert find_search(db).state == "running"
    process.kill()
    process.wait()
    assert find_search(db).state == "interrupted"
    assert take_lease(db, search) != theirs


def test_a_paused_search_that_is_held_says_how_it_goes_on(db: Database, search: int, child: Any) -> None:
    process = child(DRIVE)
    process.stdout.readline()
    set_state(db, search, "paused")
    with pytest.raises(UserError, match=rf"^'digits-1' is paused and held by process {process.pid} .*/resume in `diff"):
        take_lease(db, search)


def test_a_killed_process_that_nobody_has_waited_for_is_dead(db: Database, search: int, child: Any) -> None:
    process = child(DRIVE)
    process.stdout.readline()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie, with its number and start time
    take_lease(db, search)


def test_another_process_with_the_number_of_a_dead_one_holds_nothing(db: Database, search: int, child: Any) -> None:
    process = child(DRIVE)
    process.stdout.readline()
    db.conn.execute("UPDATE searches SET lease_pid_start = lease_pid_start - 1")
    take_lease(db, search)


@pytest.mark.parametrize(("age_seconds", "lives"), [(0, True), (59, True), (61, False)])
def test_on_another_host_a_heartbeat_counts(db: Database, search: int, age_seconds: int, lives: bool) -> None:
    take_lease(db, search)
    db.conn.execute(
        "UPDATE searches SET lease_host = 'elsewhere', lease_heartbeat = strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', ?)",
        [f"-{age_seconds} seconds"],
    )
    assert find_search(db).state == ("running" if lives else "interrupted")
    if lives:
        with pytest.raises(UserError, match="on elsewhere"):
            take_lease(db, search)
    else:
        take_lease(db, search)


def test_a_lost_lease_can_neither_be_renewed_nor_released(db: Database, search: int) -> None:
    first = take_lease(db, search)
    renew_lease(db, search, first)
    second = take_lease(db, search)  # the same process may take its own lease anew
    with pytest.raises(LeaseLost):
        renew_lease(db, search, first)
    release_lease(db, search, first)
    renew_lease(db, search, second)


def test_without_proc_a_process_that_answers_is_alive(db: Database, search: int, child: Any) -> None:
    process = child(DRIVE)
    process.stdout.readline()
    db.conn.execute("UPDATE searches SET lease_pid_start = NULL")
    with pytest.raises(UserError, match="is being driven"):
        take_lease(db, search)
    process.kill()
    process.wait()
    take_lease(db, search)


def test_a_process_has_one_start_and_a_dead_one_has_none(child: Any) -> None:
    assert process_start(os.getpid()) == process_start(os.getpid()) is not None
    process = child("pass")
    process.wait()
    assert process_start(process.pid) is None
    assert this_host() == this_host()
