import os
from typing import Any

import pytest
from sqlite_utils import Database

from diffusion.errors import UserError
from memory.leases import LeaseLost, process_start, release_lease, renew_lease, take_lease, this_host
from memory.searches import find_search, set_state

DRIVE = (
    "import sys; from pathlib import Path; from memory.connection import opened\n"
    "from memory.leases import take_lease\n"
    "with opened(Path(sys.argv[1])) as db: print(take_lease(db, 1), flush=True)\n"
    "input()"
)


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
