"""The schema of the memory as numbered migrations; a released migration is never edited, a change is a new one.

A migration is named ``m<number>_<what>``. Tables are STRICT, times are ISO-8601 text in UTC, flags are 0 or 1, and a
column named after a table holds that table's id. Nothing here reads or writes rows.
"""

from pathlib import Path

from sqlite_utils import Database, Migrations

from diffusion.networks import network
from diffusion.spec import PAPER_PARAMETERS, UNetSpec
from memory.schema.backends import BACKEND_TABLES
from memory.schema.curves import LOSS_CURVES
from memory.schema.directives import STEERING_TABLES
from memory.schema.journal import JOURNAL_TABLES, journal_triggers, triggers_of
from memory.schema.places import kept_folder
from memory.schema.results import ALL_RESULTS, RESULTS
from memory.schema.standings import (
    INDEXES,
    LEDGER_TOTALS,
    STANDINGS_INDEXES,
    TRAININGS_NAMED,
    standings_of,
    standings_table,
    totals_of,
    triggers,
)
from memory.schema.strategies import STRATEGY_TABLES
from memory.schema.tables import (
    APPEND_ONLY,
    FURTHER_STAGES,
    REPLICAS,
    TABLES,
    TRAININGS_WITH_NETWORK,
    TRIALS_WITH_PRUNED,
)

MIGRATIONS = Migrations("diffnas")

KINDS_OF_SEARCHERS = (
    ("hand", "train", "hand"),
    ("rank-study", "study", "rank-study"),
    ("rank-study-strategy", "measurement", "rank-study"),
    ("strategy", "strategy", "llm"),
    ("confirm", "confirm", "confirm"),
)
"""What `searcher` said before there were kinds, the kind that this was, and who proposed."""


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
    _journal_anew(db, "messages")


@MIGRATIONS()
def m0010_kinds(db: Database) -> None:
    """What a search is has a column of its own, so that `searcher` says who proposes and nothing else."""
    db.conn.execute("ALTER TABLE searches ADD COLUMN kind TEXT NOT NULL DEFAULT 'run'")
    for told, kind, searcher in KINDS_OF_SEARCHERS:
        db.conn.execute("UPDATE searches SET kind = ?, searcher = ? WHERE searcher = ?", [kind, searcher, told])
    _journal_anew(db, "searches")


@MIGRATIONS()
def m0011_standings(db: Database) -> None:
    """Questions are answered from tables in the order in which they are asked, whatever the memory's size."""
    names = PAPER_PARAMETERS
    tables = (standings_table(names), LEDGER_TOTALS, standings_of("true", names), totals_of("true"))
    for statement in (*tables, *INDEXES, *triggers(names)):
        db.conn.execute(statement)
    for view in ("results", "all_results"):
        db.conn.execute(f"DROP VIEW {view}")
    db.conn.execute(ALL_RESULTS)
    db.conn.execute(RESULTS)


@MIGRATIONS()
def m0012_networks(db: Database) -> None:
    """A spec has three to six stages, and a training says which network it is of; SQLite takes no NOT NULL away."""
    for view in ("results", "all_results"):
        db.conn.execute(f"DROP VIEW {view}")
    for row in db.conn.execute("SELECT name FROM sqlite_master WHERE name LIKE 'derived_%'").fetchall():
        db.conn.execute(f"DROP TRIGGER {row['name']}")
    db.conn.execute("DROP TABLE standings")
    _trainings_with_network(db)
    tables = (standings_table(optional=FURTHER_STAGES), standings_of("true"))
    for statement in (*tables, *STANDINGS_INDEXES, *triggers(), ALL_RESULTS, RESULTS):
        db.conn.execute(statement)


@MIGRATIONS()
def m0013_replaced_directives(db: Database) -> None:
    """A directive may come in the place of another, which is in force again once it is taken back."""
    db.conn.execute("ALTER TABLE directives ADD COLUMN replaced_by INTEGER REFERENCES directives (id)")
    _journal_anew(db, "directives")


@MIGRATIONS()
def m0014_run_folders(db: Database) -> None:
    """Run folders below the memory's are kept by their way from it, so that both can be moved together."""
    for row in db.conn.execute("SELECT id, run_folder FROM trainings").fetchall():
        kept = kept_folder(db.conn, Path(row["run_folder"]))
        if kept != row["run_folder"]:
            db.conn.execute("UPDATE trainings SET run_folder = ? WHERE id = ?", [kept, row["id"]])


@MIGRATIONS()
def m0015_loss_curves(db: Database) -> None:
    """How the loss of a training went; of those that are over nothing is known but its end."""
    db.conn.execute(LOSS_CURVES)


def _trainings_with_network(db: Database) -> None:
    """Write the table anew; its indexes and its part of the journal go with the old one."""
    names = ", ".join(row["name"] for row in db.conn.execute("PRAGMA table_info(trainings)"))
    db.conn.create_function(
        "network_of", 2, lambda spec, family: network(UNetSpec.parse(spec), family), deterministic=True
    )
    for statement in (
        TRAININGS_WITH_NETWORK,
        f"INSERT INTO trainings_new (network, {names}) SELECT network_of(spec, family), {names} FROM trainings",
        "DROP TABLE trainings",
        "ALTER TABLE trainings_new RENAME TO trainings",
        "CREATE INDEX trainings_network ON trainings (network)",
        TRAININGS_NAMED,
    ):
        db.conn.execute(statement)
    for statement in triggers_of(db.conn, "trainings"):
        db.conn.execute(statement)


def _journal_anew(db: Database, table: str) -> None:
    """Let the journal keep a column that its table was given."""
    for change in ("insert", "update", "delete"):
        db.conn.execute(f"DROP TRIGGER journal_{table}_{change}")
    for statement in triggers_of(db.conn, table):
        db.conn.execute(statement)


def migration_names() -> list[str]:
    """Every migration that this code knows, in order."""
    return [migration.name for migration in MIGRATIONS._migrations]
