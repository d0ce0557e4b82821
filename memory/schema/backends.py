"""The SQL of what was found out about backends; `memory.backends` reads and writes it."""

BACKEND_TABLES = (
    """
    CREATE TABLE backend_checks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        created TEXT NOT NULL,
        llm TEXT NOT NULL,
        base_url TEXT NOT NULL,
        answers TEXT NOT NULL CHECK (answers IN ('tools', 'json_schema', 'fenced_json')),
        source TEXT NOT NULL CHECK (source IN ('doctor', 'search')),
        passed INTEGER,
        cases INTEGER,
        tokens_per_second REAL,
        detail_json TEXT NOT NULL CHECK (json_valid(detail_json)),
        CHECK ((passed IS NULL) = (cases IS NULL) AND (passed IS NULL OR passed BETWEEN 0 AND cases))
    ) STRICT
    """,
    "CREATE INDEX backend_checks_backend ON backend_checks (llm, base_url)",
)
"""`base_url` is empty for a provider's own servers; `passed` of `cases` is NULL where no exam was held."""
