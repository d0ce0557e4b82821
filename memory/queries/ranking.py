"""Which score is better, decided here and nowhere else: lower is, and no score loses to every score.

A score is a finite number; NULL and infinities are no score, and SQLite has no NaN. Whether a difference means anything
is not judged here. These are conditions and orders of SQL, on rows AS seen of `standings`, `all_results` or `results`.
"""

from typing import Any

Record = dict[str, Any]
"""A row that JSON can hold, the score under ``rfid``."""

IS_SCORE = "seen.rfid > -9e999 AND seen.rfid < 9e999"  # SQLite reads 9e999 as infinity

ANY_SCORE = "abs(seen.rfid) < 9e999"
"""The same where all rows are read: it does not lead SQLite to go through them in the order of their scores."""

BEST_FIRST = "seen.rfid, seen.trial"
"""Of equal scores the first trial's comes first."""
