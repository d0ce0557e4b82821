"""All seeds of the baseline are said from two on: in the digest, in the summary, and of the trial itself."""

import io
from pathlib import Path

import pytest
from searches import TinySearch

from agent.report.console import People
from agent.report.trials import ShownTrial, print_trial
from agent.search.summary import summary
from agent.searchers.model.digest import round_values
from memory.connection import opened
from memory.queries.records import show_trial
from memory.replicas import seed_scores


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_seeds_of_the_baseline_are_said_from_two_on(tmp_path: Path, replicas: int) -> None:
    search = TinySearch(tmp_path, {"rounds": 1, "replicas": replicas})
    assert search.run() == "rounds"
    with opened(search.db, read_only=True) as db:
        found = [score for score in seed_scores(db, search.search)[str(search.plan.baseline)] if score is not None]
        digest = round_values(db, search.context(2))["baseline"]["seeds"]
        shown = ShownTrial(**show_trial(db, 1))
    assert len(found) == replicas == len(shown.seed_scores)
    assert search.of("search.finished")[0]["baseline_seeds"] == found
    said = ", ".join(f"{score:.4g}" for score in found) + f"; mean {sum(found) / len(found):.4g}"
    assert digest == (said if replicas > 1 else None)
    page = io.StringIO()
    console = People(file=page, width=200, markup=False, emoji=False, highlight=False)
    summary(console, search.db, search.search)
    print_trial(console, shown)
    assert (page.getvalue().count(said) == 2) is (replicas > 1)
