"""SQL that a language model or a person typed, run so that it can only read, a little, and not for long.

The connection is read-only and SQLite asks `_Gate` about every table, column and function that a statement names: it
may read the memory's tables and views, except the exchanges with models, the journal and the leases of searches, and
call functions that compute. Anything else (writing, ATTACH, PRAGMA, extensions, files) is refused before it runs. No
secrets are looked for here: what is stored holds none.
"""

import math
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from memory.connection import opened

CELL_CHARACTERS = 2000
LARGEST_VALUE_BYTES = 200_000  # of one value: replace() and instr() take the square of it, 9 s of a megabyte
LONGEST_SQL_BYTES = 20_000
MOST_COLUMNS = 100
LONGEST_PATTERN_BYTES = 200  # of LIKE and GLOB, which one step of SQLite's machine runs to the end
STEPS_PER_LOOK = 1000  # of SQLite's machine between two looks at the clock

FORBIDDEN_TABLES = {"model_calls", "journal", "_sqlite_migrations", "sqlite_sequence"}
FORBIDDEN_COLUMN_PREFIX = {"searches": "lease_"}
SCHEMA_TABLES = {"sqlite_master", "sqlite_schema"}
_FUNCTION_NAMES = """
    -> ->> abs avg ceil ceiling char coalesce count cume_dist current_date current_time current_timestamp date datetime
    dense_rank exp first_value floor format glob group_concat hex ifnull iif instr json json_array json_array_length
    json_extract json_group_array json_group_object json_object json_quote json_type json_valid
    julianday lag last_value lead length like ln log log10 log2 lower ltrim max min mod nth_value ntile nullif
    percent_rank pow power printf quote rank replace round row_number rtrim sign sqrt strftime substr substring sum
    time total trim trunc typeof unicode unixepoch upper
"""
FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_USABLE = f"usable are {', '.join(sorted(FUNCTIONS))}"

_ALLOWED_ACTIONS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE}
_ACTIONS = (
    "INSERT",
    "UPDATE",
    "DELETE",
    "ATTACH",
    "DETACH",
    "PRAGMA",
    "TRANSACTION",
    "SAVEPOINT",
    "REINDEX",
    "ANALYZE",
)
_ACTION_NAMES = {getattr(sqlite3, f"SQLITE_{name}"): name for name in _ACTIONS}


class SqlRefused(ValueError):
    """The statement may not or cannot run; the text is one sentence that says what would be right."""


def read_only_sql(path: Path, text: str, *, max_rows: int = 50, max_seconds: float = 2.0) -> list[dict[str, Any]]:
    """The first rows of one SELECT over the memory in `path`; long cells are cut.

    Raises:
        SqlRefused: the statement is not one SELECT, reads what it may not, names what is not there, or takes too long.
    """
    with opened(path, read_only=True) as db:
        schema = _schema(db.conn)
        gate = _Gate(schema)
        with _guarded(db.conn, gate, max_seconds):
            try:
                cursor = db.conn.execute(text)
                rows = [[_cell(value) for value in row] for row in islice(cursor, max_rows)]
            except (sqlite3.Error, sqlite3.Warning, ValueError) as error:  # ValueError: text that SQLite cannot take
                raise SqlRefused(_explained(str(error), gate, schema, text, max_seconds)) from None
    if cursor.description is None:
        raise SqlRefused("the SQL gives no rows; write one SELECT, such as SELECT trial, spec, rfid FROM results")
    names = _distinct([column[0] for column in cursor.description])
    return [dict(zip(names, row, strict=True)) for row in rows]


class _Gate:
    """SQLite's authorizer: a list of what is allowed; the first thing it refused is kept in `refused`."""

    def __init__(self, schema: dict[str, list[str]]) -> None:
        self.schema = schema
        self.refused: str | None = None

    def __call__(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        reason = self._why_not(action, first or "", second or "")
        self.refused = self.refused or reason
        return sqlite3.SQLITE_OK if reason is None else sqlite3.SQLITE_DENY

    def _why_not(self, action: int, first: str, second: str) -> str | None:
        if action == sqlite3.SQLITE_READ:
            return self._why_not_read(first.lower(), second.lower())
        if action == sqlite3.SQLITE_FUNCTION:
            return None if second.lower() in FUNCTIONS else f"the function {second}() may not be used; {_USABLE}"
        if action in _ALLOWED_ACTIONS:
            return None
        return f"{_ACTION_NAMES.get(action, 'this statement')} may not be used; write one SELECT"

    def _why_not_read(self, table: str, column: str) -> str | None:
        """A column that is empty stands for none at all, as in count(*), where `table` may be a name given by WITH."""
        prefix = FORBIDDEN_COLUMN_PREFIX.get(table)
        if prefix and column.startswith(prefix):
            allowed = ", ".join(self.schema[table])
            return f"the column {table}.{column} may not be read; name those you need of {allowed}"
        if table in FORBIDDEN_TABLES or (column and table not in {*self.schema, *SCHEMA_TABLES}):
            return f"the table {table} may not be read; read from {', '.join(self.schema)}"
        return None


@contextmanager
def _guarded(conn: sqlite3.Connection, gate: _Gate, max_seconds: float) -> Iterator[None]:
    """The connection with the gate, the clock and small limits; for the block only, since closing needs none of it."""
    deadline = time.monotonic() + max_seconds
    conn.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE_BYTES)
    conn.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, LONGEST_SQL_BYTES)
    conn.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, MOST_COLUMNS)
    conn.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LONGEST_PATTERN_BYTES)
    conn.set_authorizer(gate)
    conn.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_PER_LOOK)
    try:
        yield
    finally:
        conn.set_progress_handler(None, 0)
        conn.set_authorizer(None)


def _explained(error: str, gate: _Gate, schema: dict[str, list[str]], text: str, max_seconds: float) -> str:
    """One sentence that says what would be right."""
    if gate.refused:
        return gate.refused
    if "one statement" in error:
        return "the SQL holds more than one statement; write one SELECT"
    if error == "interrupted":
        return f"the SQL took longer than {max_seconds:g} s; ask for less, with WHERE or LIMIT"
    if "no such table" in error:
        return f"{error}; there are {', '.join(schema)}"
    if "no such column" in error:
        return f"{error}; {_columns_of_named(schema, text)}"
    if "no such function" in error:
        return f"{error}; {_USABLE}"
    return f"{error}; write one SELECT in SQLite's language, such as SELECT trial, spec, rfid FROM results"


def _columns_of_named(schema: dict[str, list[str]], text: str) -> str:
    """The columns of every table that the statement names."""
    words = set(re.findall(r"\w+", text.lower()))
    named = [table for table in schema if table in words] or ["results"]
    return "; ".join(f"{table} has {', '.join(schema[table])}" for table in named)


def _schema(conn: sqlite3.Connection) -> dict[str, list[str]]:
    """What may be read: the columns of each table and view, the views that people see first."""
    rows = conn.execute(
        "SELECT tables.name AS name, columns.name AS column FROM sqlite_master AS tables"
        " JOIN pragma_table_info(tables.name) AS columns WHERE tables.type IN ('table', 'view')"
        " ORDER BY tables.type DESC, tables.name DESC, columns.cid"
    )
    schema: dict[str, list[str]] = {}
    for name, column in rows:
        prefix = FORBIDDEN_COLUMN_PREFIX.get(name)
        if name not in FORBIDDEN_TABLES and not (prefix and column.startswith(prefix)):
            schema.setdefault(name, []).append(column)
    return schema


def _cell(value: Any) -> Any:
    """A value that JSON can hold and a prompt can carry."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str) and len(value) > CELL_CHARACTERS:
        return value[:CELL_CHARACTERS] + "…"
    return value


def _distinct(names: list[str]) -> list[str]:
    """Column names with a number behind each repeated one: id, id_2."""
    found: list[str] = []
    for name in names:
        number, candidate = 1, name
        while candidate in found:
            number += 1
            candidate = f"{name}_{number}"
        found.append(candidate)
    return found
