import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from diffusion.errors import UserError
from memory.connection import APPLICATION_ID, Memory, checkpoint_connection, connect, database_path, opened, transaction
from memory.schema.migrations import migration_names

ROOT = Path(__file__).parents[2]
CHARGE = "from memory.connection import *; from memory.ledger import charge; import sys; from pathlib import Path\n"
REMEDY = "name another file with --db"


def pragma(db: Database, name: str) -> Any:
    return db.conn.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_connection_is_durable_and_keeps_references(db: Database) -> None:
    assert pragma(db, "journal_mode") == "wal"
    assert pragma(db, "synchronous") == 2  # FULL
    assert pragma(db, "foreign_keys") == 1
    assert pragma(db, "busy_timeout") == 1_000  # a slice of what memory.file.waiting waits
    assert pragma(db, "application_id") == APPLICATION_ID
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        db.conn.execute("INSERT INTO messages (search, role, author, text, created) VALUES (99, 'user', 'a', 'b', 'c')")


def test_odd_characters_in_a_path_are_part_of_its_name(tmp_path: Path) -> None:
    odd = tmp_path / "a b?mode=memory#%41.db"
    with opened(odd) as db:
        assert database_path(db) == str(odd)
    assert odd.exists()
    with opened(odd, read_only=True) as db:
        assert db.conn.execute("SELECT count(*) FROM searches").fetchone()[0] == 0


def test_an_error_inside_a_transaction_undoes_it(db: Database, fill: Any) -> None:
    def fail() -> None:
        with transaction(db):
            fill.search()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert fill.rows("SELECT * FROM searches") == []


def test_a_transaction_inside_another_is_undone_alone(db: Database, fill: Any) -> None:
    def fail() -> None:
        with transaction(db):
            fill.search(name="gone")
            raise ZeroDivisionError

    with transaction(db):
        fill.search(name="kept")
        with pytest.raises(ZeroDivisionError):
            fail()
    assert fill.rows("SELECT name FROM searches") == [("kept",)]


def test_a_killed_process_leaves_nothing_of_its_transaction(fill: Any, search: int, child: Any) -> None:
    code = CHARGE + (
        "with opened(Path(sys.argv[1])) as db, transaction(db):\n"
        "    charge(db, 1, 'train', device_seconds=5.0); print('written', flush=True); input()"
    )
    process = child(code)
    assert process.stdout.readline() == "written\n"
    process.kill()
    process.wait()
    assert fill.rows("SELECT * FROM ledger") == []
    assert pragma(fill.db, "integrity_check") == "ok"


def test_three_processes_write_at_once_and_lose_nothing(fill: Any, search: int, child: Any) -> None:
    code = CHARGE + (
        "input()\n"
        "for _ in range(50):\n"
        "    with opened(Path(sys.argv[1])) as db: charge(db, 1, 'train', device_seconds=1.0)"
    )
    processes = [child(code) for _ in range(3)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert fill.rows("SELECT count(*), sum(device_seconds) FROM ledger") == [(150, 150.0)]


def test_processes_that_make_the_memory_at_once_make_one(path: Path, child: Any) -> None:
    code = CHARGE + "input()\nwith opened(Path(sys.argv[1])) as db: pass"
    processes = [child(code) for _ in range(3)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    with opened(path, read_only=True) as db:
        assert db.conn.execute("SELECT count(*) FROM _sqlite_migrations").fetchone()[0] == len(migration_names())


def test_reading_works_while_a_writer_is_in_the_middle(path: Path, db: Database, fill: Any) -> None:
    fill.search(name="before")
    with transaction(db):
        fill.search(name="during")
        with opened(path, read_only=True) as reader:
            assert [row[0] for row in reader.conn.execute("SELECT name FROM searches")] == ["before"]


def test_reading_works_after_the_last_writer_has_gone(path: Path) -> None:
    connect(path).close()
    assert not path.with_name(path.name + "-wal").exists()
    with opened(path, read_only=True) as db:
        assert db.conn.execute("SELECT count(*) FROM results").fetchone()[0] == 0


def test_a_read_only_connection_cannot_write(path: Path, db: Database) -> None:
    with opened(path, read_only=True) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.conn.execute("DELETE FROM searches")


def test_a_connection_stays_in_its_thread(db: Database) -> None:
    errors: list[Exception] = []

    def use() -> None:
        try:
            db.conn.execute("SELECT 1")
        except sqlite3.ProgrammingError as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(errors) == 1


def in_a_thread(memory: Memory) -> Database:
    """The connection of a thread that has ended since."""
    found: list[Database] = []
    thread = threading.Thread(target=lambda: found.append(memory.db))
    thread.start()
    thread.join()
    return found[0]


def is_open(db: Database) -> bool:
    try:
        db.conn.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True


def test_a_thread_keeps_its_connection_and_another_has_its_own(path: Path) -> None:
    with Memory(path) as memory:
        mine, theirs = memory.db, in_a_thread(memory)
        assert memory.db is mine is not theirs
        assert pragma(mine, "journal_mode") == "wal"


def test_a_memory_that_is_closed_is_closed_in_all_threads_and_stays_so(path: Path) -> None:
    with Memory(path) as memory:
        connections = [memory.db, in_a_thread(memory)]
        assert all(is_open(each) for each in connections)
    assert not any(is_open(each) for each in connections)
    with pytest.raises(RuntimeError, match="was closed"):
        _ = memory.db
    memory.close()
    assert not path.with_name(path.name + "-wal").exists()  # SQLite takes it away with the last connection


def test_threads_that_end_leave_no_connections_behind(path: Path) -> None:
    with Memory(path) as memory:
        ended = [in_a_thread(memory) for _ in range(5)]
        assert [is_open(each) for each in ended] == [False] * 4 + [True]
        assert is_open(memory.db)
        assert not is_open(ended[-1])


def test_a_memory_for_reading_cannot_write(path: Path, db: Database) -> None:
    with Memory(path, read_only=True) as memory, pytest.raises(sqlite3.OperationalError, match="readonly"):
        memory.db.conn.execute("DELETE FROM messages")


def test_a_forked_process_connects_anew_and_both_write(fill: Any, search: int, child: Any) -> None:
    code = CHARGE + (
        "import os\n"
        "memory = Memory(Path(sys.argv[1])); mine = memory.db; memory._lock.acquire(); forked = not os.fork()\n"
        "if not forked: memory._lock.release()\n"
        "assert (memory.db is mine) != forked\n"
        "for _ in range(50): charge(memory.db, 1, 'train', device_seconds=1.0)\n"
        "memory.close()\n"
        "assert forked or os.waitstatus_to_exitcode(os.wait()[1]) == 0"
    )
    processes = [child(code) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert fill.rows("SELECT count(*), sum(device_seconds) FROM ledger") == [(200, 200.0)]
    assert pragma(fill.db, "integrity_check") == "ok"


def test_reading_an_absent_memory_says_how_to_start_one(path: Path) -> None:
    with pytest.raises(UserError) as raised:
        connect(path, read_only=True)
    assert str(raised.value) == f"'{path}' holds no memory yet; start one with `diffnas-agent run --budget …`"
    assert not path.exists()


def test_an_empty_file_is_a_memory_to_be(path: Path) -> None:
    path.touch()
    with pytest.raises(UserError, match="holds no memory yet"):
        connect(path, read_only=True)
    with opened(path) as db:
        assert pragma(db, "application_id") == APPLICATION_ID


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("setup", ["CREATE TABLE cats (name)", "PRAGMA application_id = 7"])
def test_a_database_of_another_program_is_refused_and_left_alone(path: Path, setup: str, read_only: bool) -> None:
    with closing(sqlite3.connect(path)) as foreign:  # another program, so not through memory.connection
        foreign.execute(setup)
        foreign.commit()
    before = path.read_bytes()
    with pytest.raises(UserError) as raised:
        connect(path, read_only=read_only)
    assert str(raised.value).startswith(f"'{path}' is not a diffnas memory: ")
    assert str(raised.value).endswith(REMEDY)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("content", [b"hello", b"hello " * 1000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes, read_only: bool) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        connect(path, read_only=read_only)
    assert str(raised.value) == f"'{path}' is not a diffnas memory: file is not a database; {REMEDY}"
    assert path.read_bytes() == content


def test_a_memory_of_a_newer_version_asks_for_an_upgrade(path: Path, db: Database) -> None:
    db.conn.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('diffnas', 'm9999_future', 'then')"
    )
    for read_only in (True, False):
        with pytest.raises(UserError, match="newer version") as raised:
            connect(path, read_only=read_only)
        assert str(raised.value).startswith(f"'{path}' was written by a newer version (it has m9999_future); upgrade")


def test_a_memory_of_an_older_version_is_brought_up_to_date_by_writing_only(path: Path, db: Database) -> None:
    db.conn.execute("DROP VIEW results")
    db.conn.execute("DROP VIEW all_results")
    db.conn.execute("DELETE FROM _sqlite_migrations WHERE name = 'm0002_results'")
    with pytest.raises(UserError, match="is from an older version"):
        connect(path, read_only=True)
    connect(path).close()
    with opened(path, read_only=True) as reader:
        assert reader.conn.execute("SELECT count(*) FROM results").fetchone()[0] == 0


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("", "is a folder; name a file with --db"),
        ("absent/m.db", "cannot be made: the folder"),
        ("file.txt/m.db", "cannot be made: the folder"),
    ],
)
def test_a_place_that_takes_no_file_is_named(tmp_path: Path, place: str, sentence: str) -> None:
    (tmp_path / "file.txt").touch()
    with pytest.raises(UserError) as raised:
        connect(tmp_path / place)
    assert str(raised.value).startswith(f"'{tmp_path / place}' {sentence}")


def test_an_unwritable_place_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # permissions do not bind root, who may run the tests
    with pytest.raises(UserError) as raised:
        connect(path)
    assert str(raised.value) == f"'{path}' cannot be written; check its permissions, or {REMEDY}"


def test_checkpoints_get_a_connection_of_their_own_file(tmp_path: Path) -> None:
    with checkpoint_connection(tmp_path / "checkpoints.db") as conn:
        conn.execute("CREATE TABLE theirs (x)")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        conn.execute("SELECT 1")


def test_no_other_file_opens_a_database() -> None:
    places = [ROOT / name for name in ("agent", "benchmarks", "diffusion", "examples", "memory", "prompts", "tools")]
    culprits = {
        str(file.relative_to(ROOT))
        for place in places
        for file in place.rglob("*.py")
        if any(way in file.read_text() for way in ("sqlite3.connect", "from sqlite3 import", "aiosqlite", "Database("))
    }
    assert culprits == {"memory/connection.py", "memory/file/opening.py"}


def test_a_memory_alone_in_a_folder_that_cannot_be_written_is_read(
    path: Path, fill: Any, search: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill.scored(search, 0, fill.spec, 4.0)
    fill.db.close()
    alone = path.parent / "alone"
    alone.mkdir()
    copy = Path(shutil.copy(path, alone / path.name))
    monkeypatch.setattr("memory.connection.os.access", lambda place, mode: place != alone)
    with opened(copy, read_only=True) as db:
        assert db.conn.execute("SELECT count(*) FROM trials").fetchone()[0] == 1
        assert [each.name for each in alone.iterdir()] == [path.name]  # SQLite made nothing beside it
    with pytest.raises(UserError, match="cannot be written"):
        connect(copy)
