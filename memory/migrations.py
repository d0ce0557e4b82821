"""The schema of the memory as numbered migrations; a released migration is never edited, a change is a new one.

A migration is named ``m<number>_<what>``. Tables are STRICT, times are ISO-8601 text in UTC, flags are 0 or 1, and a
column named after a table holds that table's id. Nothing here reads or writes rows.
"""

from sqlite_utils import Database, Migrations

from diffusion.spec import PARAMETERS
from memory.backend_tables import BACKEND_TABLES
from memory.journal_tables import JOURNAL_TABLES, journal_triggers, triggers_of
from memory.steering_tables import STEERING_TABLES
from memory.strategy_tables import STRATEGY_TABLES

MIGRATIONS = Migrations("diffnas")

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
    f"""
    CREATE TABLE trainings (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE,
        spec TEXT NOT NULL,
        {" ".join(f"{name} INTEGER NOT NULL," for name in PARAMETERS)}
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
    """,
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

ALL_RESULTS = f"""
    CREATE VIEW all_results AS
    WITH measured AS (
        SELECT training, protocol, metric, step, avg(value) AS value, count(value) AS sampling_seeds,
               sum(device_seconds) AS score_seconds
        FROM scores GROUP BY training, protocol, metric, step
    ),
    shown AS (
        SELECT trials.id AS trial, searches.protocol AS protocol
        FROM trials JOIN searches ON searches.id = trials.search
        UNION
        SELECT trials.id, scores.protocol FROM trials JOIN scores ON scores.training = trials.training
    )
    SELECT
        trials.id AS trial, trials.search AS search, searches.name AS search_name, trials.round AS round,
        trainings.spec AS spec, {", ".join(f"trainings.{name} AS {name}" for name in PARAMETERS)},
        trainings.macs_paper AS macs_paper, trainings.macs_total AS macs_total, trainings.params AS params,
        measured.value AS rfid, protocols.metric AS metric, protocols.fingerprint AS protocol,
        trials.state AS state, proposals.proposer AS proposer, proposals.reason AS reason, trials.cached AS cached,
        trainings.seed AS seed, trainings.loss AS loss, trainings.steps_done AS steps_done,
        trainings.device_seconds AS device_seconds, measured.score_seconds AS score_seconds,
        measured.sampling_seeds AS sampling_seeds, trials.error AS error, trials.created AS created,
        trials.finished AS finished, trainings.family AS family, trainings.dataset AS dataset,
        trials.training AS training, trials.proposal AS proposal,
        verdicts.ci_low AS ci_low, verdicts.ci_high AS ci_high, verdicts.baseline AS versus_baseline,
        verdicts.incumbent AS versus_incumbent,
        coalesce(json_extract(searches.config_json, '$.train'), 'rapid') AS train,
        protocols.fingerprint = searches.protocol AS own_protocol
    FROM shown
    JOIN trials ON trials.id = shown.trial
    JOIN searches ON searches.id = trials.search
    JOIN proposals ON proposals.id = trials.proposal
    JOIN trainings ON trainings.id = trials.training
    JOIN protocols ON protocols.fingerprint = shown.protocol
    LEFT JOIN verdicts ON verdicts.trial = trials.id AND protocols.fingerprint = searches.protocol
    LEFT JOIN measured ON measured.training = trials.training
        AND trials.state <> 'failed' AND (trials.state <> 'pruned' OR protocols.fingerprint <> searches.protocol)
        AND measured.protocol = protocols.fingerprint
        AND measured.metric = protocols.metric
        AND measured.step = (
            SELECT max(step) FROM scores
            WHERE training = trials.training AND protocol = protocols.fingerprint AND metric = protocols.metric
        )
"""
"""One row per trial and protocol under which its training has scores; the score is the mean over sampling seeds.

A failed trial has no score, even if another search has trained and measured the same job since; a pruned one has those
of the steps it reached, each under the protocol of so many steps, and none under its search's own.
"""

RESULTS = "CREATE VIEW results AS SELECT * FROM all_results WHERE own_protocol"
"""One row per trial, under the protocol of its own search."""


@MIGRATIONS()
def m0001_tables(db: Database) -> None:
    """Searches, proposals, trainings, trials, scores, messages, model calls and the ledger."""
    for statement in TABLES:
        db.conn.execute(statement)
    for table in APPEND_ONLY:
        for action in ("UPDATE", "DELETE"):
            db.conn.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


@MIGRATIONS()
def m0002_results(db: Database) -> None:
    """The record of a trial as people see it; a view is made anew, in its newest text, when a table below it is."""
    db.conn.execute(ALL_RESULTS)
    db.conn.execute(RESULTS)


@MIGRATIONS()
def m0003_pruned_trials(db: Database) -> None:
    """A trial may end as pruned; SQLite changes no CHECK, so the table is written anew."""
    for view in ("results", "all_results"):
        db.conn.execute(f"DROP VIEW {view}")
    db.conn.execute(TRIALS_WITH_PRUNED)
    db.conn.execute("INSERT INTO trials_new SELECT * FROM trials")
    db.conn.execute("DROP TABLE trials")
    db.conn.execute("ALTER TABLE trials_new RENAME TO trials")
    db.conn.execute("CREATE INDEX trials_training ON trials (training)")
    db.conn.execute(ALL_RESULTS)
    db.conn.execute(RESULTS)


@MIGRATIONS()
def m0004_replicas(db: Database) -> None:
    """Trainings with other seeds, and what was said of a trial by the noise that they show."""
    for statement in REPLICAS:
        db.conn.execute(statement)
    for action in ("UPDATE", "DELETE"):
        db.conn.execute(
            f"CREATE TRIGGER verdicts_no_{action.lower()} BEFORE {action} ON verdicts "
            "BEGIN SELECT RAISE(ABORT, 'verdicts is append-only'); END"
        )
    for view in ("results", "all_results"):
        db.conn.execute(f"DROP VIEW {view}")
    db.conn.execute(ALL_RESULTS)
    db.conn.execute(RESULTS)


@MIGRATIONS()
def m0005_strategies(db: Database) -> None:
    """Training strategies that were searched for, and how well they were seen to rank."""
    for statement in STRATEGY_TABLES:
        db.conn.execute(statement)


@MIGRATIONS()
def m0006_directives(db: Database) -> None:
    """What people tell a search, which decisions it changed, and latencies measured for it."""
    for statement in STEERING_TABLES:
        db.conn.execute(statement)
    for action in ("UPDATE", "DELETE"):
        db.conn.execute(
            f"CREATE TRIGGER citations_no_{action.lower()} BEFORE {action} ON citations "
            "BEGIN SELECT RAISE(ABORT, 'citations is append-only'); END"
        )


@MIGRATIONS()
def m0007_journal(db: Database) -> None:
    """What rows were before they changed, so that a prompt can be made again from the memory as it was; forks."""
    for statement in JOURNAL_TABLES:
        db.conn.execute(statement)
    for statement in journal_triggers(db.conn):
        db.conn.execute(statement)


@MIGRATIONS()
def m0008_backends(db: Database) -> None:
    """What was found out about backends."""
    for statement in BACKEND_TABLES:
        db.conn.execute(statement)


@MIGRATIONS()
def m0009_message_keys(db: Database) -> None:
    """A message that is delivered twice is kept once."""
    db.conn.execute("ALTER TABLE messages ADD COLUMN key TEXT")
    db.conn.execute("CREATE UNIQUE INDEX messages_key ON messages (search, key)")
    for change in ("insert", "update", "delete"):
        db.conn.execute(f"DROP TRIGGER journal_messages_{change}")
    for statement in triggers_of(db.conn, "messages"):
        db.conn.execute(statement)


def migration_names() -> list[str]:
    """Every migration that this code knows, in order."""
    return [migration.name for migration in MIGRATIONS._migrations]
