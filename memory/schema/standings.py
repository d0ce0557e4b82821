"""What questions are answered from: how each trial stands under each protocol, and what each search has used in all.

Both say again what other tables hold, in the order in which it is asked for: triggers write them in the transaction of
the change itself, on deletion as well (`memory.journal` takes a copy of the memory back). Nothing else writes them.
"""

from collections.abc import Collection, Sequence

from diffusion.spec import MOST_STAGES, PARAMETERS
from memory.schema.tables import number_columns

WIDTHS = tuple(f"width_{stage}" for stage in range(MOST_STAGES))
"""What the channels of the stages are called, wherever they can be asked for; no table has them as columns."""


def numbers_of(names: Sequence[str]) -> tuple[str, ...]:
    """The columns that a row has from its training, given those of a spec's numbers."""
    return (*names, "seed", "macs_paper", "macs_total")


def width(stage: int, table: str) -> str:
    """The channels of a stage in SQL; NULL where a row has no such stage."""
    return f"{table}.base_channel * {table}.mult_{stage}"


def standings_table(names: Sequence[str] = PARAMETERS, optional: Collection[str] = ()) -> str:
    """The statement that makes the table: one row for each trial and protocol.

    There is one for each protocol under which its training has scores, and under its search's own in any case. The
    score is the mean over sampling seeds at the last step. A failed trial has none, even if another search has trained
    and measured the same job since; a pruned one has those of the steps it reached, each under the protocol of so many
    steps, and none under its search's own.
    """
    return f"""
    CREATE TABLE standings (
        protocol TEXT NOT NULL REFERENCES protocols (fingerprint),
        search INTEGER NOT NULL REFERENCES searches (id),
        trial INTEGER NOT NULL REFERENCES trials (id),
        rfid REAL,
        {number_columns(numbers_of(names), optional)},
        training INTEGER NOT NULL REFERENCES trainings (id),
        state TEXT NOT NULL,
        sampling_seeds INTEGER,
        score_seconds REAL,
        PRIMARY KEY (protocol, search, trial)
    ) STRICT, WITHOUT ROWID
    """


def standings_of(trials: str, names: Sequence[str] = PARAMETERS) -> str:
    """The statement that writes the rows of the trials for which an SQL condition holds; none of them may be there."""
    return f"""
    INSERT INTO standings
    SELECT shown.protocol, trials.search, trials.id, avg(scores.value),
        {", ".join(f"trainings.{name}" for name in numbers_of(names))}, trials.training, trials.state,
        CASE WHEN count(scores.id) THEN count(scores.value) END, sum(scores.device_seconds)
    FROM (
        SELECT trials.id AS trial, searches.protocol AS protocol
        FROM trials JOIN searches ON searches.id = trials.search WHERE {trials}
        UNION
        SELECT trials.id, scores.protocol FROM trials JOIN scores ON scores.training = trials.training WHERE {trials}
    ) AS shown
    JOIN trials ON trials.id = shown.trial
    JOIN searches ON searches.id = trials.search
    JOIN trainings ON trainings.id = trials.training
    JOIN protocols ON protocols.fingerprint = shown.protocol
    LEFT JOIN scores ON scores.training = trials.training
        AND trials.state <> 'failed' AND (trials.state <> 'pruned' OR shown.protocol <> searches.protocol)
        AND scores.protocol = shown.protocol
        AND scores.metric = protocols.metric
        AND scores.step = (
            SELECT max(step) FROM scores
            WHERE training = trials.training AND protocol = shown.protocol AND metric = protocols.metric
        )
    GROUP BY shown.trial, shown.protocol
    """


USED = ("device_seconds", "wall_seconds", "input_tokens", "output_tokens", "cost_usd")

LEDGER_TOTALS = """
    CREATE TABLE ledger_totals (
        search INTEGER PRIMARY KEY REFERENCES searches (id),
        entries INTEGER NOT NULL,
        priced INTEGER NOT NULL,
        device_seconds REAL NOT NULL,
        wall_seconds REAL NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cost_usd REAL NOT NULL
    ) STRICT
    """
"""Sums over the ledger of a search: `wall_seconds` of kind ``wall`` alone, `cost_usd` of the entries with a price."""


def totals_of(entries: str) -> str:
    """The statement that adds the ledger's entries for which an SQL condition holds, each to its search's totals."""
    return f"""
    INSERT INTO ledger_totals
    SELECT search, count(*), count(cost_usd), sum(device_seconds),
        coalesce(sum(wall_seconds) FILTER (WHERE kind = 'wall'), 0.0), sum(input_tokens), sum(output_tokens),
        coalesce(sum(cost_usd), 0.0)
    FROM ledger WHERE {entries} GROUP BY search
    ON CONFLICT (search) DO UPDATE SET
        {", ".join(f"{name} = {name} + excluded.{name}" for name in ("entries", "priced", *USED))}
    """


def _trigger(name: str, event: str, *statements: str) -> str:
    return f"CREATE TRIGGER derived_{name} AFTER {event} BEGIN {' '.join(f'{each};' for each in statements)} END"


def triggers(names: Sequence[str] = PARAMETERS) -> tuple[str, ...]:
    """The statements that keep both tables in step with what they say again."""
    return (
        _trigger("trial_insert", "INSERT ON trials", standings_of("trials.id = NEW.id", names)),
        _trigger(
            "trial_update",
            "UPDATE OF state ON trials",
            "DELETE FROM standings WHERE trial = NEW.id",
            standings_of("trials.id = NEW.id", names),
        ),
        _trigger("trial_delete", "DELETE ON trials", "DELETE FROM standings WHERE trial = OLD.id"),
        *(
            _trigger(
                f"score_{event.lower()}",
                f"{event} ON scores",
                f"DELETE FROM standings WHERE training = {row}.training",
                standings_of(f"trials.training = {row}.training", names),
            )
            for event, row in (("INSERT", "NEW"), ("DELETE", "OLD"))
        ),
        _trigger("ledger_insert", "INSERT ON ledger", totals_of("id = NEW.id")),
        _trigger(
            "ledger_delete",
            "DELETE ON ledger",
            "DELETE FROM ledger_totals WHERE search = OLD.search",
            totals_of("search = OLD.search"),
        ),
    )


STANDINGS_INDEXES = (
    "CREATE INDEX standings_trial ON standings (trial)",
    "CREATE INDEX standings_training ON standings (training, protocol, state)",
    "CREATE INDEX standings_best ON standings (protocol, search, rfid, trial, macs_paper, macs_total)"
    " WHERE rfid IS NOT NULL",
    "CREATE INDEX standings_top ON standings (protocol, rfid, trial) WHERE rfid IS NOT NULL",
)
TRAININGS_NAMED = "CREATE INDEX trainings_named ON trainings (id, spec)"
INDEXES = (
    *STANDINGS_INDEXES,
    "CREATE INDEX trainings_spec ON trainings (spec)",
    TRAININGS_NAMED,
    "CREATE INDEX trials_state ON trials (search, state, training)",
    "CREATE INDEX trials_without_score ON trials (search, coalesce(finished, created), proposal)"
    " WHERE state IN ('failed', 'pruned')",
    "CREATE INDEX proposals_refused ON proposals (search, created) WHERE accepted = 0",
)
"""Those of the first standings; what is found by its spec since is found by its network."""
