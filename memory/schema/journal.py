"""The SQL of the journal: what each row was before it changed, so that the memory can be seen as it was at any moment.

Triggers write it, in the transaction of the change itself. A migration that makes a journalled table anew has to call
`journal_triggers` for it again; a new table whose rows a prompt or a gate reads has to be added the same way. Leases
and heartbeats are left out: they change all the time and nothing that is said depends on them. Rows are read and
undone in `memory.journal`.
"""

import sqlite3

JOURNAL_TABLES = (
    """
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        place TEXT NOT NULL,
        row INTEGER NOT NULL,
        change TEXT NOT NULL CHECK (change IN ('insert', 'update', 'delete')),
        before_json TEXT CHECK (before_json IS NULL OR json_valid(before_json)),
        CHECK ((change = 'insert') = (before_json IS NULL))
    ) STRICT
    """,
    "CREATE INDEX journal_row ON journal (place, row)",
    """
    CREATE TABLE forks (
        search INTEGER PRIMARY KEY REFERENCES searches (id),
        parent INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER NOT NULL CHECK (round >= 0),
        created TEXT NOT NULL
    ) STRICT
    """,
    "ALTER TABLE model_calls ADD COLUMN extra_json TEXT CHECK (extra_json IS NULL OR json_valid(extra_json))",
)
"""`place` is a table, `row` its rowid; `forks` says from which search, after which round, another one was copied."""

NOT_JOURNALLED = ("protocols", "journal", "forks", "backend_checks", "standings", "ledger_totals", "loss_curves")
"""Protocols are never changed and are found by their fingerprint alone; what is derived follows the rest; no prompt
reads a curve."""

WATCHED = {"searches": ("rounds", "backend", "budget_macs", "count_convention")}
"""Where only some columns count."""


def journal_triggers(conn: sqlite3.Connection) -> list[str]:
    """The statements that put every table that there is under the journal."""
    tables = [
        row["name"]
        for row in conn.execute("PRAGMA table_list")
        if row["type"] == "table" and row["strict"] and row["schema"] == "main" and row["name"] not in NOT_JOURNALLED
    ]
    return [statement for table in sorted(tables) for statement in triggers_of(conn, table)]


def triggers_of(conn: sqlite3.Connection, table: str) -> list[str]:
    """The three triggers of one table."""
    columns = [(row["name"], row["type"]) for row in conn.execute(f"PRAGMA table_info({table})")]
    before = "json_object(" + ", ".join(f"'{name}', {_exact(name, kind)}" for name, kind in columns) + ")"
    watched = f" OF {', '.join(WATCHED[table])}" if table in WATCHED else ""
    return [
        f"CREATE TRIGGER journal_{table}_{change} AFTER {change.upper()}{of} ON {table} BEGIN "
        f"INSERT INTO journal (place, row, change, before_json) VALUES ('{table}', {which}.rowid, '{change}', {text}); "
        "END"
        for change, of, which, text in (
            ("insert", "", "NEW", "NULL"),
            ("update", watched, "OLD", before),
            ("delete", "", "OLD", before),
        )
    ]


def _exact(name: str, kind: str) -> str:
    """A column as JSON that gives it back to the last bit: SQLite's JSON has 15 digits, a number needs 17."""
    if kind != "REAL":
        return f"OLD.{name}"
    return f"CASE WHEN OLD.{name} IS NULL THEN NULL ELSE printf('%!.17g', OLD.{name}) END"
