"""The tables of searches, proposals, trainings, trials and scores, of replicas and verdicts, and of what was said.

Nothing here reads or writes rows.
"""

from collections.abc import Collection, Sequence

from diffusion.spec import LEAST_STAGES, PAPER_PARAMETERS, PARAMETERS, parameters

FURTHER_STAGES = tuple(name for name in PARAMETERS if name not in parameters(LEAST_STAGES))
"""The numbers that not every spec has."""


def number_columns(names: Sequence[str], optional: Collection[str] = ()) -> str:
    """The columns of a spec's numbers; the optional ones may be NULL."""
    return ", ".join(f"{name} INTEGER" + ("" if name in optional else " NOT NULL") for name in names)


def trainings_table(table: str, columns: str) -> str:
    """The statement that makes a table of trainings, with these columns between the spec and the family."""
    return f"""
    CREATE TABLE {table} (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE,
        spec TEXT NOT NULL,
        {columns},
        family TEXT NOT NULL,
        dataset TEXT NOT NULL,
        data_fingerprint TEXT NOT NULL,
        strategy_json TEXT NOT NULL CHECK (json_valid(strategy_json)),
        settings_json TEXT NOT NULL CHECK (json_valid(settings_json)),
        seed INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
        steps_done INTEGER NOT NULL DEFAULT 0 CHECK (steps_done >= 0),
        loss REAL,
        device_seconds REAL NOT NULL DEFAULT 0 CHECK (device_seconds >= 0),
        error TEXT,
        run_folder TEXT NOT NULL,
        macs_paper INTEGER NOT NULL CHECK (macs_paper > 0),
        macs_total INTEGER NOT NULL CHECK (macs_total >= macs_paper),
        params INTEGER NOT NULL CHECK (params > 0),
        created TEXT NOT NULL,
        finished TEXT
    ) STRICT
    """


TABLES = (
    """
    CREATE TABLE protocols (
        fingerprint TEXT PRIMARY KEY,
        metric TEXT NOT NULL,
        content_json TEXT NOT NULL CHECK (json_valid(content_json)),
        created TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE searches (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL CHECK (state IN ('running', 'paused', 'interrupted', 'finished', 'failed')),
        created TEXT NOT NULL,
        updated TEXT NOT NULL,
        finished TEXT,
        reason TEXT,
        budget_macs INTEGER NOT NULL CHECK (budget_macs > 0),
        count_convention TEXT NOT NULL CHECK (count_convention IN ('paper', 'total')),
        rounds INTEGER NOT NULL CHECK (rounds >= 0),
        seed INTEGER NOT NULL,
        searcher TEXT NOT NULL,
        backend TEXT NOT NULL,
        protocol TEXT NOT NULL REFERENCES protocols (fingerprint),
        config_json TEXT NOT NULL CHECK (json_valid(config_json)),
        lease_token TEXT,
        lease_host TEXT,
        lease_pid INTEGER,
        lease_pid_start INTEGER,
        lease_heartbeat TEXT,
        CHECK ((lease_token IS NULL) = (lease_heartbeat IS NULL))
    ) STRICT
    """,
    """
    CREATE TABLE proposals (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER NOT NULL CHECK (round >= 0),
        attempt INTEGER NOT NULL CHECK (attempt >= 1),
        created TEXT NOT NULL,
        proposer TEXT NOT NULL,
        raw_text TEXT NOT NULL,
        spec TEXT,
        accepted INTEGER NOT NULL CHECK (accepted IN (0, 1)),
        reason TEXT,
        refusal TEXT,
        refusal_kind TEXT,
        UNIQUE (search, round, attempt),
        CHECK (accepted = 0 OR spec IS NOT NULL),
        CHECK (accepted = (refusal IS NULL) AND accepted = (refusal_kind IS NULL))
    ) STRICT
    """,
    trainings_table("trainings", number_columns(PAPER_PARAMETERS)),
    """
    CREATE TABLE trials (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER NOT NULL CHECK (round >= 0),
        proposal INTEGER NOT NULL UNIQUE REFERENCES proposals (id),
        training INTEGER NOT NULL REFERENCES trainings (id),
        state TEXT NOT NULL CHECK (state IN ('running', 'trained', 'scored', 'failed')),
        cached INTEGER NOT NULL CHECK (cached IN (0, 1)),
        created TEXT NOT NULL,
        finished TEXT,
        error TEXT,
        UNIQUE (search, round),
        CHECK ((state = 'failed') = (error IS NOT NULL))
    ) STRICT
    """,
    "CREATE INDEX trials_training ON trials (training)",
    """
    CREATE TABLE scores (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        training INTEGER NOT NULL REFERENCES trainings (id),
        step INTEGER NOT NULL CHECK (step >= 0),
        protocol TEXT NOT NULL REFERENCES protocols (fingerprint),
        sampling_seed INTEGER NOT NULL,
        metric TEXT NOT NULL,
        value REAL,
        num_images INTEGER NOT NULL CHECK (num_images > 0),
        device_seconds REAL NOT NULL CHECK (device_seconds >= 0),
        extra_json TEXT NOT NULL CHECK (json_valid(extra_json)),
        created TEXT NOT NULL,
        UNIQUE (training, step, protocol, sampling_seed, metric)
    ) STRICT
    """,
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER,
        role TEXT NOT NULL,
        author TEXT NOT NULL,
        text TEXT NOT NULL,
        created TEXT NOT NULL,
        taken TEXT
    ) STRICT
    """,
    "CREATE INDEX messages_search ON messages (search)",
    """
    CREATE TABLE model_calls (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER,
        purpose TEXT NOT NULL,
        model TEXT NOT NULL,
        request_json TEXT NOT NULL CHECK (json_valid(request_json)),
        response_json TEXT CHECK (response_json IS NULL OR json_valid(response_json)),
        error TEXT,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cost_usd REAL,
        seconds REAL NOT NULL,
        created TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX model_calls_search ON model_calls (search)",
    """
    CREATE TABLE ledger (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        created TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('train', 'score', 'model', 'wall')),
        device_seconds REAL NOT NULL,
        wall_seconds REAL NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cost_usd REAL,
        note TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX ledger_search ON ledger (search)",
)

TRAININGS_WITH_NETWORK = trainings_table(
    "trainings_new", f"network TEXT NOT NULL, {number_columns(PARAMETERS, FURTHER_STAGES)}"
)
"""`network` is the one name of what a spec builds, whatever its spelling (`diffusion.networks`)."""

TRIALS_WITH_PRUNED = """
    CREATE TABLE trials_new (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER NOT NULL CHECK (round >= 0),
        proposal INTEGER NOT NULL UNIQUE REFERENCES proposals (id),
        training INTEGER NOT NULL REFERENCES trainings (id),
        state TEXT NOT NULL CHECK (state IN ('running', 'trained', 'scored', 'failed', 'pruned')),
        cached INTEGER NOT NULL CHECK (cached IN (0, 1)),
        created TEXT NOT NULL,
        finished TEXT,
        error TEXT,
        UNIQUE (search, round),
        CHECK ((state IN ('failed', 'pruned')) = (error IS NOT NULL))
    ) STRICT
    """
"""`error` says why a trial has no score: how it failed, or why it was pruned."""

REPLICAS = (
    """
    CREATE TABLE replicas (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        trial INTEGER NOT NULL REFERENCES trials (id),
        training INTEGER NOT NULL REFERENCES trainings (id),
        state TEXT NOT NULL CHECK (state IN ('running', 'scored', 'failed')),
        created TEXT NOT NULL,
        finished TEXT,
        error TEXT,
        UNIQUE (search, training),
        CHECK ((state = 'failed') = (error IS NOT NULL))
    ) STRICT
    """,
    """
    CREATE TABLE verdicts (
        trial INTEGER PRIMARY KEY REFERENCES trials (id),
        ci_low REAL,
        ci_high REAL,
        baseline TEXT NOT NULL CHECK (baseline IN ('better', 'worse', 'inconclusive', 'unmeasured')),
        incumbent TEXT NOT NULL CHECK (incumbent IN ('better', 'worse', 'inconclusive', 'unmeasured')),
        why_baseline TEXT NOT NULL,
        why_incumbent TEXT NOT NULL,
        noise_cv REAL,
        degrees_of_freedom INTEGER,
        created TEXT NOT NULL,
        CHECK ((ci_low IS NULL) = (ci_high IS NULL))
    ) STRICT
    """,
)
"""What retraining alone does to a score, and what was said of each trial by it when it was scored."""

APPEND_ONLY = ("ledger", "scores", "proposals", "model_calls")
