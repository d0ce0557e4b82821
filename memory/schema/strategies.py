"""The tables of searched training strategies, as a migration creates them.

A strategy that was accepted is a row of `strategies`, each measurement of how well it ranks one of
`strategy_measurements`. A proposal that was refused is a row of `proposals`, as in every search. Nothing here reads or
writes rows.
"""

STRATEGY_TABLES = (
    """
    CREATE TABLE strategies (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER NOT NULL CHECK (round >= 0),
        created TEXT NOT NULL,
        proposer TEXT NOT NULL,
        raw_text TEXT NOT NULL,
        reason TEXT,
        strategy_json TEXT NOT NULL CHECK (json_valid(strategy_json)),
        fingerprint TEXT NOT NULL,
        cost REAL NOT NULL CHECK (cost > 0),
        UNIQUE (search, round),
        UNIQUE (search, fingerprint)
    ) STRICT
    """,
    """
    CREATE TABLE strategy_measurements (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        strategy INTEGER NOT NULL REFERENCES strategies (id),
        created TEXT NOT NULL,
        tau REAL CHECK (tau BETWEEN -1 AND 1),
        low REAL,
        high REAL,
        device_seconds REAL NOT NULL CHECK (device_seconds >= 0),
        specs INTEGER NOT NULL CHECK (specs >= 0),
        error TEXT,
        CHECK ((tau IS NULL) = (low IS NULL) AND (tau IS NULL) = (high IS NULL)),
        CHECK (low <= tau AND tau <= high),
        CHECK (error IS NULL OR tau IS NULL)
    ) STRICT
    """,
    "CREATE INDEX strategy_measurements_strategy ON strategy_measurements (strategy)",
    *(
        f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for table in ("strategies", "strategy_measurements")
        for action in ("UPDATE", "DELETE")
    ),
)
"""`cost` is the share of the standard strategy's; `error` says why a measurement ended without a result."""
