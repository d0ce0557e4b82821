"""How run folders are kept: a memory and what lies beside it can be moved, or copied, together."""

import os.path
import sqlite3
from pathlib import Path


def kept_folder(conn: sqlite3.Connection, folder: Path) -> str:
    """A folder as it is kept: by its way from the memory's where it lies below, so that both can be moved together."""
    absolute, base = os.path.realpath(folder), _base(conn)
    return os.path.relpath(absolute, base) if base and Path(absolute).is_relative_to(base) else os.path.abspath(folder)


def folder_of(conn: sqlite3.Connection, kept: str) -> Path:
    """The folder that is kept so, as it lies now."""
    return Path(_base(conn), kept)


def _base(conn: sqlite3.Connection) -> str:
    """The folder of the memory; empty of one that has no file."""
    place = str(conn.execute("PRAGMA database_list").fetchone()[2])
    return os.path.dirname(os.path.realpath(place)) if place else ""
