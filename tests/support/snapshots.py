"""Texts that stand beside the tests: a changed word in a prompt or a tool's schema is a change that somebody reads.

``UPDATE_SNAPSHOTS=1`` writes them anew; look at the difference before keeping it.
"""

import os
from pathlib import Path

UPDATE = "UPDATE_SNAPSHOTS"


def assert_snapshot(path: Path, text: str) -> None:
    """Compare a text with its file, or write the file when asked to."""
    if os.environ.get(UPDATE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing; write it with {UPDATE}=1"
    assert text == path.read_text(encoding="utf-8"), f"{path.name} changed; if that is meant, write it with {UPDATE}=1"


def assert_no_other_file(folder: Path, names: set[str]) -> None:
    """A snapshot that no test reads is out of date without anybody noticing."""
    assert {path.name for path in folder.iterdir()} == names
