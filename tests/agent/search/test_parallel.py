"""Several rounds at once: numbered uniquely, proposed one by one, resumed exactly once, ended for one reason."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_server import Answer, Call, Say, Status, serve, tool_answers
from processes import ARGUMENTS, COMMAND, finish, start, wait_for
from searches import TinySearch

from agent.searchers.model.digest import round_values
from memory.connection import opened
from memory.trials import rounds_over
from prompts.render import render
from tools.errors import Interrupted, JobFailed
from tools.executors.machine import Machine, Node

Done = dict[str, Any]
TWO_CORES = Machine((Node(2),))
SECONDS = 20.0  # after which a test that waits for another thread gives up


class Staged:
    """An executor whose trainings end when they are let go, in whatever order; each is known by its spec and seed."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop, self.changed = stop, threading.Condition()
        self.running: list[str] = []
        self.started: list[str] = []
        self.threads: dict[str, int] = {}
        self.most_at_once = 0
        self.let_go: set[str] = set()
        self.failing: set[str] = set()
        self.all_go = False

    def train(self, job: Any, on_progress: Callable[[Done], None]) -> Done:
        spec = f"{job.spec} {job.seed}" if job.seed else str(job.spec)
        self.threads[spec] = job.threads
        with self.changed:
            self.running.append(spec)
            self.started.append(spec)
            self.most_at_once = max(self.most_at_once, len(self.running))
            self.changed.notify_all()
            try:
                while not (self.all_go or spec in self.let_go):
                    self.changed.wait(0.05)
                    if self.stop.is_set():
                        raise Interrupted
            finally:
                self.running.remove(spec)
                self.changed.notify_all()
        if spec in self.failing:
            raise JobFailed("the loss is nan at step 1")
        return {"step": job.strategy.train_steps, "loss": 0.1, "device_seconds": 1.0}

    def evaluate(self, job: Any, on_progress: Callable[[Done], None]) -> Done:
        value = 1.0 + sum(job.spec.row) + 0.01 * job.sampling_seed  # the smaller, the better
        return {"step": 2, "metric": "fid-digits-cnn", "value": value, "num_images": 16, "device_seconds": 1.0}

    def kill(self) -> None:
        """Nothing to kill."""

    def wait_until_running(self, count: int) -> list[str]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.running) == count, SECONDS), self.running
            return list(self.running)

    def wait_until_started(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.started) >= count, SECONDS), self.started

    def release(self, *specs: str) -> None:
        with self.changed:
            self.let_go |= set(specs)
            self.all_go = self.all_go or not specs
            self.changed.notify_all()


class Played:
    """A search that is played in a thread of its own, so that the test can look at it."""

    def __init__(self, folder: Path, machine: Machine | None = None, **options: Any) -> None:
        stop = threading.Event()
        self.executor = Staged(stop)
        self.search = TinySearch(folder, {"parallel": 3, "rounds": 6, **options}, executor=self.executor, stop=stop)
        self.search.machine = machine or self.search.machine
        self.ended: list[Any] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.ended.append(self.search.run())
        except Exception as error:
            self.ended.append(error)

    def baseline_done(self) -> "Played":
        (baseline,) = self.executor.wait_until_running(1)
        self.executor.release(baseline)
        return self

    def end(self) -> Any:
        self.thread.join(SECONDS)
        assert self.ended, "the search did not end"
        return self.ended[0]

    def states(self) -> dict[int, str]:
        return {row["round"]: row["state"] for row in self.search.rows("SELECT round, state FROM trials")}


def test_the_baseline_is_alone_and_then_so_many_rounds_run_at_once(tmp_path: Path) -> None:
    played = Played(tmp_path)
    (baseline,) = played.executor.wait_until_running(1)
    time.sleep(0.3)
    assert played.executor.running == [baseline]
    played.executor.release(baseline)
    assert len(set(played.executor.wait_until_running(3))) == 3
    played.executor.release()
    assert played.end() == "rounds"
    assert played.executor.most_at_once == 3
    rows = played.search.rows("SELECT round, spec, state FROM results ORDER BY round")
    assert [row["round"] for row in rows] == list(range(7))
    assert {row["state"] for row in rows} == {"scored"}
    assert len({row["spec"] for row in rows}) == 7
    summary = played.search.of("search.finished")[0]
    assert (summary["rounds"], summary["trials"], summary["failed"]) == (6, 7, 0)


def test_a_round_begins_when_the_one_before_has_its_trial_and_another_is_over(tmp_path: Path) -> None:
    played = Played(tmp_path).baseline_done()
    first, second, third = played.executor.wait_until_running(3)
    played.executor.release(second)  # the middle one ends first
    played.executor.wait_until_started(5)
    with opened(played.search.db, read_only=True) as db:
        assert rounds_over(db, played.search.search) == {0, 2}
    order = [(event["event"], event.get("round")) for event in played.search.events]
    begun = [number for event, number in order if event == "round.started"]
    assert begun == [0, 1, 2, 3, 4]
    started = [index for index, event in enumerate(played.search.events) if event["event"] == "trial.started"]
    opening = [index for index, event in enumerate(played.search.events) if event["event"] == "round.started"]
    assert all(trial < following for trial, following in zip(started, opening[1:], strict=False))
    played.executor.release()
    assert played.end() == "rounds"
    assert {first, second, third} < set(played.executor.started)


class TestTheWholeMachine:
    """What does not wait for another training runs beside it, and nothing is proposed with less knowledge."""

    def test_replicas_run_beside_the_baseline_and_no_round_begins_before_they_are_over(self, tmp_path: Path) -> None:
        played = Played(tmp_path, TWO_CORES, parallel="auto", rounds=1, replicas=3)
        under_way = sorted(played.executor.wait_until_running(3))
        baseline = under_way[0]
        assert under_way == [baseline, f"{baseline} 1", f"{baseline} 2"]
        assert [played.executor.threads[each] for each in under_way] == [1, 1, 1]
        played.executor.release(baseline, f"{baseline} 2")
        played.executor.wait_until_running(1)
        time.sleep(0.3)
        assert [event["round"] for event in played.search.of("round.started")] == [0]
        played.executor.release(f"{baseline} 1")
        played.executor.wait_until_started(4)
        with opened(played.search.db, read_only=True) as db:
            assert round_values(db, played.search.context(1))["noise"] is not None
        played.executor.release()
        assert played.end() == "rounds"

    def test_more_than_find_room_wait_until_the_baseline_is_over(self, tmp_path: Path) -> None:
        played = Played(tmp_path, TWO_CORES, parallel="auto", rounds=0, replicas=5).baseline_done()
        played.executor.wait_until_running(2)
        assert set(played.executor.threads.values()) == {1, 2}
        played.executor.release()
        assert played.end() == "rounds"
        assert played.executor.most_at_once == 2

    def test_who_asks_for_one_at_once_gets_one(self, tmp_path: Path) -> None:
        played = Played(tmp_path, TWO_CORES, parallel=1, rounds=1, replicas=3)
        played.executor.release()
        assert played.end() == "rounds"
        assert played.executor.most_at_once == 1
        assert set(played.executor.threads.values()) == {2}

    def test_no_more_run_at_once_than_the_memory_holds(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agent.search.session.free_host_bytes", lambda: 1)
        played = Played(tmp_path, TWO_CORES, parallel="auto", rounds=0, replicas=3)
        played.executor.release()
        assert played.end() == "rounds"
        assert played.executor.most_at_once == 1

    def test_a_stop_saves_the_baseline_and_its_replicas_and_a_resume_ends_them(self, tmp_path: Path) -> None:
        played = Played(tmp_path, TWO_CORES, parallel="auto", rounds=0, replicas=3)
        played.executor.wait_until_running(3)
        played.search.stop.set()
        assert played.end() == "interrupted"
        played.search.stop.clear()
        played.executor.release()
        assert played.search.run() == "rounds"
        assert played.states() == {0: "scored"}
        assert {row["state"] for row in played.search.rows("SELECT state FROM replicas")} == {"scored"}
        assert len(played.search.rows("SELECT * FROM trainings")) == 3


def test_one_round_at_once_is_one_after_the_other(tmp_path: Path) -> None:
    played = Played(tmp_path, parallel=1, rounds=3)
    played.executor.release()
    assert played.end() == "rounds"
    assert played.executor.most_at_once == 1
    told = [event["event"] for event in played.search.events]
    one = ["round.started", "trial.started", "trial.trained", "trial.scored", "round.finished"]
    assert [event for event in told if event in one] == one * 4


def test_the_model_is_told_what_runs_and_may_not_propose_it_again(tmp_path: Path) -> None:
    asked: list[str] = []
    specs = iter(["b8-n1-m1.1.1.2-a0000", "b8-n1-m1.1.1.2-a0000", "b8-n1-m1.1.2.2-a0000"])

    def brain(messages: list[Done]) -> Answer:
        answers = tool_answers(messages)
        if not answers:
            asked.append(messages[-1]["content"])
        return Call("train_ract", {"spec": next(specs), "reason": "Because."})

    with serve(brain) as server:
        played = Played(tmp_path, parallel=2, rounds=2, llm="openai:scripted", base_url=server.url).baseline_done()
        assert played.executor.wait_until_running(2) == ["b8-n1-m1.1.1.2-a0000", "b8-n1-m1.1.2.2-a0000"]
        played.executor.release()
        assert played.end() == "rounds"
    assert "Running at this moment" not in asked[0]
    assert "- trial 2 (round 1): b8-n1-m1.1.1.2-a0000, widths 8.8.8.16 (training)" in asked[1]
    refused = played.search.rows("SELECT round, refusal_kind FROM proposals WHERE accepted = 0")
    assert refused == [{"round": 2, "refusal_kind": "repeated"}]


def test_the_digest_leaves_out_the_round_itself(tmp_path: Path) -> None:
    played = Played(tmp_path).baseline_done()
    played.executor.wait_until_running(3)
    with opened(played.search.db, read_only=True) as db:
        values = round_values(db, played.search.context(2))
    assert [text.split()[1] for text in values["running"]] == ["2", "4"]
    assert "not to be proposed again" in render("round", **values)
    played.executor.release()
    played.end()


def test_wall_clock_that_rounds_share_is_counted_once(tmp_path: Path) -> None:
    began = time.monotonic()
    played = Played(tmp_path, rounds=3).baseline_done()
    played.executor.wait_until_running(3)
    time.sleep(1.0)
    played.executor.release()
    played.end()
    assert 1.0 <= played.search.of("search.finished")[0]["ledger"]["wall_seconds"] <= time.monotonic() - began


class TestTheEnd:
    def test_three_failures_in_a_row_begin_no_further_round_and_let_the_others_finish(self, tmp_path: Path) -> None:
        played = Played(tmp_path, parallel=4, rounds=9).baseline_done()
        *bad, good = played.executor.wait_until_running(4)
        played.executor.failing |= set(bad)
        for number, spec in enumerate(bad[:2]):
            played.executor.release(spec)
            played.executor.wait_until_started(6 + number)
        more = set(played.executor.running) - {good, *bad}
        played.executor.release(bad[2])
        played.executor.wait_until_running(3)
        time.sleep(0.3)
        assert set(played.executor.running) == {good, *more}, "a round began after three failures"
        played.executor.failing |= {good, *more}
        played.executor.release()
        assert played.end() == "failures"
        assert sorted(played.states().values()) == ["failed"] * 6 + ["scored"]

    def test_a_success_among_the_others_takes_the_limit_back(self, tmp_path: Path) -> None:
        played = Played(tmp_path, parallel=4, rounds=4).baseline_done()
        *bad, _ = played.executor.wait_until_running(4)
        played.executor.failing |= set(bad)
        played.executor.release(*bad)
        played.executor.wait_until_running(1)
        played.executor.release()
        assert played.end() == "rounds"

    def test_a_model_that_finishes_lets_the_others_finish(self, tmp_path: Path) -> None:
        specs = iter(["b8-n1-m1.1.1.2-a0000", "b8-n1-m1.1.2.2-a0000"])

        def brain(messages: list[Done]) -> Answer:
            spec = None if tool_answers(messages) else next(specs, None)
            if spec is None:
                return Call("finish_search", {"reason": "Enough."})
            return Call("train_ract", {"spec": spec, "reason": "Because."})

        with serve(brain) as server:
            played = Played(tmp_path, parallel=2, rounds=9, llm="openai:scripted", base_url=server.url).baseline_done()
            first, _ = played.executor.wait_until_running(2)
            played.executor.release(first)  # the third round finishes the search while the second one runs
            played.executor.wait_until_running(1)
            played.executor.release()
            assert played.end() == "finished_by_model"
        assert played.states() == {0: "scored", 1: "scored", 2: "scored"}

    def test_a_silent_backend_ends_the_search_after_three_rounds(self, tmp_path: Path) -> None:
        with serve(lambda messages: Status(503)) as server:
            options = {"rounds": 9, "llm": "openai:scripted", "base_url": server.url, "llm_retries": 0}
            played = Played(tmp_path, parallel=2, **options)
            played.executor.release()
            assert played.end() == "backend"
        assert len(played.states()) in (4, 5)

    def test_a_backend_that_refuses_stops_the_others_which_save(self, tmp_path: Path) -> None:
        calls: list[int] = []

        def brain(messages: list[Done]) -> Answer:
            calls.append(1)
            if len(calls) == 1:
                return Call("train_ract", {"spec": "b8-n1-m1.1.1.2-a0000", "reason": "Because."})
            return Status(401)

        with serve(brain) as server:
            played = Played(tmp_path, parallel=2, llm="openai:scripted", base_url=server.url).baseline_done()
            error = played.end()
        assert "401" in str(error) or "AuthenticationError" in str(error)
        assert played.search.stop.is_set()
        assert played.states() == {0: "scored", 1: "running"}

    def test_a_bug_in_one_round_is_raised_and_the_others_are_saved(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        played = Played(tmp_path).baseline_done()
        played.executor.wait_until_running(3)

        def broken(*arguments: Any) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(played.executor, "evaluate", broken)
        played.executor.release(played.executor.running[0])
        assert isinstance(played.end(), ZeroDivisionError)
        assert sorted(played.states().values()) == ["running", "running", "scored", "trained"]

    def test_a_stop_interrupts_all_and_a_resume_goes_on_with_all_exactly_once(self, tmp_path: Path) -> None:
        played = Played(tmp_path).baseline_done()
        under_way = played.executor.wait_until_running(3)
        played.search.stop.set()
        assert played.end() == "interrupted"
        assert played.states() == {0: "scored", 1: "running", 2: "running", 3: "running"}
        played.search.stop.clear()
        played.ended.clear()
        played.executor.started.clear()
        played.search.events.clear()
        played.thread = threading.Thread(target=played._run, daemon=True)
        played.thread.start()
        assert sorted(played.executor.wait_until_running(3)) == sorted(under_way)
        assert [event["round"] for event in played.search.of("round.started")] == [1, 2, 3]
        played.executor.release()
        assert played.end() == "rounds"
        assert len(played.executor.started) == len(set(played.executor.started)) == 6
        assert len(played.search.rows("SELECT * FROM trainings")) == 7


def test_a_model_that_only_talks_is_replaced_in_every_round_by_another_neighbour(tmp_path: Path) -> None:
    with serve(lambda messages: Say("Wider.")) as server:
        played = Played(tmp_path, rounds=3, llm="openai:scripted", base_url=server.url).baseline_done()
        assert len(set(played.executor.wait_until_running(3))) == 3
        played.executor.release()
        assert played.end() == "rounds"
    assert {row["proposer"] for row in played.search.rows("SELECT proposer FROM results WHERE round > 0")} == {
        "fallback"
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_saves_every_training_and_a_resume_ends_them_all(tmp_path: Path) -> None:
    options = ["--rounds", "3", "--parallel", "2"]
    process = start(tmp_path, "run", "--json", "--name", "first", *ARGUMENTS, *options)
    seen: dict[int, int] = {}
    while sum(step >= 100 for trial, step in seen.items() if trial > 1) < 2:
        event = wait_for(process, "train.progress")
        seen[event["trial"]] = event["step"]
    process.send_signal(signal.SIGINT)
    finish(process)
    assert process.returncode == 130
    process = start(tmp_path, "resume", "--json")
    seen_again, _ = finish(process)
    assert process.returncode == 0
    first = {}
    for event in seen_again:
        if event["event"] == "train.progress":
            first.setdefault(event["trial"], event["step"])
    assert all(first[trial] > 100 for trial in (2, 3)), "a training began anew"
    status = subprocess.run([*COMMAND, "status", "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(status.stdout)["trials"]["scored"] == 4
