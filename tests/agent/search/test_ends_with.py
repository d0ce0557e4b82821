"""What a search ends with: what its race concluded, and the commands that one may want next."""

import io
from pathlib import Path
from typing import Any

import pytest
from ended_search import ended_search
from planted import STEPS, Planted
from rich.console import Console
from searches import TinySearch

from agent.search.raced import raced
from agent.search.summary import NO_RACE, summary
from agent.trials.recommended import recommended
from diffusion.errors import UserError
from memory.connection import opened
from memory.searches import create_search, find_protocol, find_search


def ended(folder: Path, candidates: tuple[float, ...], **options: Any) -> TinySearch:
    found = TinySearch(folder, {"train_steps": STEPS, "name": "first", **options}, executor=Planted(candidates))
    found.run()
    return found


def said(search: TinySearch) -> list[str]:
    """The lines of its summary."""
    stream = io.StringIO()
    summary(Console(file=stream, width=200), search.db, search.search)
    return stream.getvalue().splitlines()


NEXT = ["export first first-model", "confirm --search first"]


def test_a_race_that_was_won_is_what_it_ends_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    search = ended(tmp_path, (50.0, 99.0, 200.0), replicas=3, race_trainings=8)
    event = search.of("race.finished")[0]
    lines = said(search)
    place = lines.index("Next:")
    assert lines[place - 1] == f"The race: {event['why']}."
    assert lines[place - 1].startswith(f"The race: {event['winner']} is better than the baseline")
    commands = [line.strip() for line in lines[place:] if line.startswith("    ")]
    assert commands == [f"diffnas-agent {words}" for words in ("report first", *NEXT)]
    with opened(search.db, read_only=True) as db:
        found = recommended(db, "first")
    assert (found.trial, found.why) == (2, event["why"])


def test_where_nothing_beat_the_baseline_it_is_the_baseline_that_is_recommended(tmp_path: Path) -> None:
    search = ended(tmp_path, (99.9, 150.0, 200.0), replicas=3, race_trainings=8)
    event = search.of("race.finished")[0]
    assert event["recommended"] == search.rows("SELECT spec FROM results WHERE round = 0")[0]["spec"]
    with opened(search.db, read_only=True) as db:
        found = recommended(db, "first")
    assert found.trial == 1 and "nothing beat it beyond noise" in found.why
    assert any(line == f"The race: {found.why}." for line in said(search))


def test_without_a_race_the_first_score_is_said_to_be_one(tmp_path: Path) -> None:
    search = ended(tmp_path, (50.0, 99.0, 200.0))
    assert NO_RACE in said(search)
    with opened(search.db, read_only=True) as db:
        assert raced(db, find_search(db, search.search)) is None
        found = recommended(db, "first")
    assert found.trial == 2 and found.why.endswith("by its first score alone: no race has confirmed it")


def test_a_search_that_was_interrupted_says_nothing_after_how_to_go_on(tmp_path: Path) -> None:
    search = TinySearch(tmp_path, {"rounds": 2, "name": "first"}, executor=Planted((50.0, 99.0)))
    search.executor.before_training = lambda spec, seed: search.stop.set() if len(search.executor.specs) == 2 else None
    assert search.run() == "interrupted"
    lines = said(search)
    assert "Next:" not in lines and NO_RACE not in lines


def test_what_recommends_nothing_is_one_sentence(tmp_path: Path) -> None:
    db = ended_search(tmp_path)
    with opened(db) as memory:
        protocol = find_protocol(memory, find_search(memory, "first").protocol)
        limits: dict[str, Any] = {"budget_macs": 1, "count_convention": "paper", "rounds": 1, "seed": 0}
        create_search(memory, name="empty", searcher="llm", backend="offline", protocol=protocol, config={}, **limits)
        with pytest.raises(UserError, match=r"^'empty' has no scored trial yet; `diffnas-agent resume empty --db "):
            recommended(memory, "empty")
        with pytest.raises(UserError, match=r"^'none' is not a search of this memory"):
            recommended(memory, "none")
        memory.conn.execute("UPDATE searches SET kind = 'compress' WHERE name = 'first'")
        with pytest.raises(UserError, match=r"^'first' recommends no trial of its 3; name one that `diffnas-agent mem"):
            recommended(memory, "first")
