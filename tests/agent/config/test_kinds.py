"""Each kind of search is known to whoever meets one."""

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from ended_search import ended_search

from agent.config.kinds import KINDS, resumed
from diffusion.errors import UserError
from memory.connection import opened
from memory.searches import Kind, find_search


def test_every_kind_that_a_memory_may_hold_has_its_row() -> None:
    assert tuple(KINDS) == get_args(Kind)
    assert all(name == kind.name for name, kind in KINDS.items())


def test_whatever_is_interrupted_goes_on_with_what_drives_its_kind(tmp_path: Path) -> None:
    with opened(ended_search(tmp_path), read_only=True) as db:
        found = find_search(db, "first")
    places = {}
    for name in KINDS.keys() - {"measurement"}:
        go_on = resumed(replace(found, kind=name))
        assert list(inspect.signature(go_on).parameters)[:3] == ["search", "planned", "as_json"]
        places[name] = go_on.__name__
    assert places == {
        "run": "drive",
        "train": "drive_training",
        "study": "resume_arm",
        "strategy": "drive_strategy",
        "confirm": "drive_confirm",
        "compress": "drive_compression",
    }
    with pytest.raises(UserError, match=r"^'first' measures a strategy; resume the search for strategies"):
        resumed(replace(found, kind="measurement"))


def test_every_kind_is_documented_and_nothing_else() -> None:
    page = (Path(__file__).parents[3] / "docs" / "memory.md").read_text(encoding="utf-8")
    section = page.split("## Kinds of searches")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(KINDS)
