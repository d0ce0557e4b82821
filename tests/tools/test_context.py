"""What the tools of a round are given: reports that are watched, jobs that share the machine."""

from pathlib import Path
from typing import Any

from searches import TinySearch

from tools.executors.machine import Share


def test_a_watched_context_tells_of_one_event_after_it_was_said(tmp_path: Path) -> None:
    order: list[Any] = []
    context = TinySearch(tmp_path).context().reporting(lambda event, **values: order.append((event, values)))
    watched = context.watched("trial.started", lambda: order.append("!"))
    watched.report("round.started", round=1)
    watched.report("trial.started", trial=7)
    assert order == [("round.started", {"round": 1}), ("trial.started", {"trial": 7}), "!"]


def test_a_job_beside_others_has_its_threads_and_does_not_measure_the_machine(tmp_path: Path) -> None:
    search = TinySearch(tmp_path, {"train_steps": 10**6})
    alone, beside = (search.context().sharing(Share(parallel, 1, 3 - parallel)) for parallel in (1, 2))
    first, second = alone.train_job(search.plan.baseline), beside.train_job(search.plan.baseline)
    assert (first.threads, first.measures_peak) == (2, True)
    assert (second.threads, second.measures_peak) == (1, False)
    assert first.key == second.key
