"""What people read in a narrow terminal, and on the page of a trial: whole words, and no more than fits."""

import io
from pathlib import Path
from typing import Any

import pytest
from ended_search import ended_search
from rich.console import Console

from agent.report.console import People
from agent.report.progress import Lines
from agent.report.status import SearchStatus, UnderWay, print_status, search_status
from agent.report.tables import print_table
from agent.report.trials import FailureRow, ShownTrial, print_failures, print_trial
from memory.connection import opened
from memory.queries.records import show_trial

REASON = "Attention at the second stage costs little and should sharpen strokes considerably."


def terminal(width: int) -> tuple[People, io.StringIO]:
    stream = io.StringIO()
    options: dict[str, Any] = {"force_terminal": True, "color_system": None, "markup": False, "emoji": False}
    return People(file=stream, width=width, **options), stream


def words_are_whole(text: str, said: str) -> bool:
    return set(text.split()) <= set(said.split())


@pytest.mark.parametrize("width", [24, 40, 80])
def test_a_reason_is_broken_between_words(width: int) -> None:
    console, stream = terminal(width)
    lines = Lines(console)
    started = {"spec": "b8-n1-m1.1.1.1-a0000", "macs": {"paper": 490560}, "params": 31641, "proposer": "offline"}
    lines("trial.started", trial=1, reason=REASON, **started)
    lines("trial.refused", reason=REASON)
    said = stream.getvalue()
    assert words_are_whole(REASON, said)
    assert max(map(len, said.splitlines())) <= width


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120])
def test_a_table_breaks_no_word_or_becomes_paragraphs(width: int) -> None:
    console, stream = terminal(width)
    row = FailureRow(
        kind="refused", round=3, trial=None, proposal=7, spec="b8-n1-m1.1.1.1-a0000", proposer="openai:scripted",
        why=REASON, refusal_kind="budget", created="",
    )  # fmt: skip
    print_failures(console, [row, row])
    said = stream.getvalue()
    assert words_are_whole(f"{REASON} b8-n1-m1.1.1.1-a0000 openai:scripted", said)
    assert max(len(line.rstrip()) for line in said.splitlines()) <= width
    assert ("why: " in said) == (width < 80)  # a paragraph for each row where there is no room for columns


def test_a_table_in_a_pipe_breaks_nothing() -> None:
    stream = io.StringIO()
    print_table(Console(file=stream, width=40), ("why", "n"), [(REASON, 1)], right="n")
    assert stream.getvalue().splitlines()[1].split("  ")[0] == REASON


def test_the_page_of_a_trial_is_short_and_says_what_matters(tmp_path: Path) -> None:
    db = ended_search(tmp_path)
    with opened(db, read_only=True) as memory:
        found = ShownTrial(**show_trial(memory, 2))
    console, stream = terminal(100)
    print_trial(console, found)
    said = stream.getvalue()
    assert len(said.splitlines()) <= 20 and "{" not in said
    for text in ("Trial 2, round 1 of first (search 1): scored", "b8-n1-m1.1.1.2-a0000 (widths 8.8.8.16)", "150",
                 "proposed by: offline: One step from trial 1", "MACs", "params", "weights: ", "--json"):  # fmt: skip
        assert text in said, said


def test_a_status_says_which_round_runs_beside_those_that_are_done(tmp_path: Path) -> None:
    with opened(ended_search(tmp_path), read_only=True) as memory:
        ended = search_status(memory, None)
    assert ended.running == []
    under_way = UnderWay(trial=4, round=3, spec="b8-n1-m1.1.1.3-a0000", doing="training")
    found = SearchStatus.model_validate({**dict(ended), "state": "running", "rounds": 6, "running": [under_way]})
    console, stream = terminal(100)
    print_status(console, found, tmp_path / "diffnas.db")
    assert stream.getvalue().splitlines()[:2] == [
        "first (search 1): running, 2 of 6 rounds done",
        "round 3: trial 4, b8-n1-m1.1.1.3-a0000, training",
    ]
