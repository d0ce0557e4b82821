"""Which findings belong on the page of a search, each made by the module of its kind when there is one to be made.

A search of a kind of its own shows its own result; a `run` shows those of the memory that were taken on the same data.
What is not over yet says so in the sentence that its command would say.
"""

from importlib import import_module

from sqlite_utils import Database

from agent.page.data import Finding
from memory.searches import SearchRow, list_searches

MOST_OF_A_KIND = 3  # the latest ones of the same data

MAKERS = {
    "study": "agent.page.findings.study",
    "compress": "agent.page.findings.compression",
    "confirm": "agent.page.findings.confirmation",
    "strategy": "agent.page.findings.strategies",
}
"""By kind the module whose `found_in` makes it; torch comes with some, so none is imported before it is needed."""


def findings_of(db: Database, search: SearchRow) -> list[Finding]:
    """Its own result where it has a shape of its own, else those of others on its data."""
    if search.kind in MAKERS:
        return _made(db, [search])
    if search.kind == "run":
        return _made(db, _on_same_data(db, search))
    return []


def _on_same_data(db: Database, search: SearchRow) -> list[SearchRow]:
    """The latest confirmations, compressions and arms of studies whose data are those of a search."""
    same = {
        row[0]
        for row in db.conn.execute(
            "SELECT fingerprint FROM protocols WHERE json_extract(content_json, '$.data_fingerprint') = ("
            "SELECT json_extract(content_json, '$.data_fingerprint') FROM protocols WHERE fingerprint = ?)",
            [search.protocol],
        )
    }
    found: list[SearchRow] = []
    for kind in ("confirm", "compress", "study"):
        rows = [row for row in list_searches(db) if row.kind == kind and row.protocol in same]
        found += rows[: 1 if kind == "study" else MOST_OF_A_KIND]
    return found


def _made(db: Database, rows: list[SearchRow]) -> list[Finding]:
    return [import_module(MAKERS[row.kind]).found_in(db, row) for row in rows]
