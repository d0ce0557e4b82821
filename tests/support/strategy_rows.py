"""What tests of strategies in memory need: a standard strategy, and the tables where no migration has made them."""

from sqlite_utils import Database

from diffusion.settings import Strategy
from memory.schema.strategies import STRATEGY_TABLES

STANDARD = Strategy(
    learning_rate=1e-3, dropout=0.3, diffusion_steps=1000, batch_size=8, warmup_steps=10, train_steps=100
)


def make_tables(db: Database) -> None:
    """The tables of strategies, in a memory whose migrations do not know them yet."""
    if not db["strategies"].exists():
        for statement in STRATEGY_TABLES:
            db.conn.execute(statement)
