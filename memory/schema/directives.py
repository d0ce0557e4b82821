"""The tables of what people told a search: directives, which decisions they changed, and latencies measured for them.

A directive is never deleted: it is active, done or undone. Nothing here reads or writes rows.
"""

STEERING_TABLES = (
    """
    CREATE TABLE directives (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        kind TEXT NOT NULL,
        arguments_json TEXT NOT NULL CHECK (json_valid(arguments_json)),
        text TEXT NOT NULL,
        author TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('active', 'done', 'undone')),
        created TEXT NOT NULL,
        seen_round INTEGER CHECK (seen_round >= 0),
        ended TEXT,
        key TEXT,
        UNIQUE (search, key),
        CHECK ((state = 'active') = (ended IS NULL))
    ) STRICT
    """,
    """
    CREATE TABLE citations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        directive INTEGER NOT NULL REFERENCES directives (id),
        round INTEGER NOT NULL CHECK (round >= 0),
        what TEXT NOT NULL,
        created TEXT NOT NULL,
        UNIQUE (directive, round, what)
    ) STRICT
    """,
    """
    CREATE TABLE latencies (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        spec TEXT NOT NULL,
        family TEXT NOT NULL,
        resolution INTEGER NOT NULL,
        channels INTEGER NOT NULL,
        device TEXT NOT NULL,
        threads INTEGER NOT NULL,
        median_ms REAL NOT NULL CHECK (median_ms > 0),
        forwards INTEGER NOT NULL CHECK (forwards > 0),
        created TEXT NOT NULL,
        UNIQUE (spec, family, resolution, channels, device, threads)
    ) STRICT
    """,
)
"""`key` is that of the message which a directive came from: the same message again adds nothing."""
