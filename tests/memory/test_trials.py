import sqlite3
from pathlib import Path
from typing import Any

import pytest

from diffusion.errors import UserError
from diffusion.spec import UNetSpec
from memory import replicas, scores, trainings, trials
from memory.connection import insert
from memory.queries import records


def test_an_accepted_proposal_becomes_a_trial_with_a_training(fill: Any, search: int) -> None:
    accepted = fill.accept(search, 0, reason="the baseline")
    trial = trials.find_trial(fill.db, accepted.trial)
    job = fill.job()
    assert (trial.spec, trial.key, trial.seed, trial.reason) == (fill.spec, job.key, 0, "the baseline")
    assert (trial.state, trial.training_state, trial.cached) == ("running", "queued", False)
    assert (trial.macs_paper, trial.macs_total, trial.params) == (1000, 1010, 500)
    assert trial.run_folder == accepted.run_folder == job.run_folder.absolute()


def test_accepting_the_same_job_again_gives_the_same_trial(fill: Any, search: int) -> None:
    assert fill.accept(search, 0) == fill.accept(search, 0)
    assert fill.rows("SELECT count(*) FROM proposals") == [(1,)]


def test_a_round_has_one_trial(fill: Any, search: int) -> None:
    fill.accept(search, 0)
    with pytest.raises(sqlite3.IntegrityError):
        fill.accept(search, 0, "b32-n1-m1.2.2.2-a0100")
    assert fill.rows("SELECT count(*) FROM proposals") == [(1,)]  # nor is half of the second one kept
    assert fill.rows("SELECT count(*) FROM trainings") == [(1,)]


def test_a_finished_training_is_reused_by_another_search(fill: Any, search: int) -> None:
    first = fill.accept(search, 0)
    fill.finish(first, 3.0)
    other = fill.search()
    second = fill.accept(other, 0, job=fill.job(folder=Path("elsewhere")))
    assert (second.cached, second.training, second.run_folder) == (True, first.training, first.run_folder)
    assert trials.find_trial(fill.db, second.trial).state == "trained"
    score = scores.score_of(fill.db, second.training, fill.protocol.fingerprint)
    assert score is not None
    assert score.value == 3.0


def test_a_training_under_way_is_joined_and_is_not_cached(fill: Any, search: int) -> None:
    first = fill.accept(search, 0)
    trainings.training_started(fill.db, first.training)
    second = fill.accept(fill.search(), 0)
    assert (second.cached, second.training) == (False, first.training)
    assert trials.find_trial(fill.db, second.trial).training_state == "running"


def test_a_failed_training_is_tried_again_by_the_next_trial(fill: Any, search: int) -> None:
    failed = trials.find_trial(fill.db, fill.failed(search, 0, fill.spec, "out of memory"))
    assert (failed.state, failed.error, failed.training_state) == ("failed", "out of memory", "failed")
    again = fill.accept(fill.search(), 0, job=fill.job(folder=Path("elsewhere")))
    trial = trials.find_trial(fill.db, again.trial)
    assert (trial.training, trial.training_state, trial.state) == (failed.training, "queued", "running")
    assert trial.run_folder.parent == Path("elsewhere").absolute()
    assert trials.find_trial(fill.db, failed.id).error == "out of memory"


def test_replicas_are_trainings_of_their_own(fill: Any, search: int) -> None:
    assert fill.accept(search, 0, seed=0).training != fill.accept(search, 1, seed=1).training


def test_finishing_twice_changes_nothing_and_a_finished_training_never_fails(fill: Any, search: int) -> None:
    accepted = fill.accept(search, 0)
    fill.finish(accepted, 3.0)
    before = fill.rows("SELECT * FROM trainings")
    trainings.training_started(fill.db, accepted.training)
    trainings.training_finished(fill.db, accepted.training, steps_done=1, loss=9.0, device_seconds=1.0)
    trainings.training_failed(fill.db, accepted.training, "late", 1.0)
    assert fill.rows("SELECT * FROM trainings") == before


def test_a_training_whose_weights_are_gone_is_queued_again(fill: Any, search: int, tmp_path: Path) -> None:
    accepted = fill.accept(search, 0)
    fill.finish(accepted, 3.0)
    trainings.training_lost(fill.db, accepted.training, tmp_path)
    trial = trials.find_trial(fill.db, accepted.trial)
    assert (trial.training_state, trial.run_folder) == ("queued", tmp_path)


def test_a_loss_that_is_no_number_is_none(fill: Any, search: int) -> None:
    accepted = fill.accept(search, 0)
    trainings.training_finished(fill.db, accepted.training, steps_done=1, loss=float("nan"), device_seconds=1.0)
    assert trials.find_trial(fill.db, accepted.trial).loss is None


def test_a_trial_moves_forwards_only(fill: Any, search: int) -> None:
    scored, failed = fill.scored(search, 0, fill.spec, 3.0), fill.failed(search, 1, "b32-n1-m1.2.2.2-a0100")
    trials.trial_scored(fill.db, scored)
    trials.trial_trained(fill.db, scored)
    trials.trial_failed(fill.db, failed, "another reason")
    assert trials.find_trial(fill.db, scored).state == "scored"
    assert trials.find_trial(fill.db, failed).error == "out of memory"
    with pytest.raises(RuntimeError, match="is scored and cannot become failed"):
        trials.trial_failed(fill.db, scored, "late")
    with pytest.raises(RuntimeError, match="is failed and cannot become scored"):
        trials.trial_scored(fill.db, failed)


def test_what_is_not_there_cannot_be_changed(fill: Any) -> None:
    with pytest.raises(LookupError):
        trials.trial_scored(fill.db, 5)
    with pytest.raises(LookupError):
        trainings.training_started(fill.db, 5)


@pytest.mark.parametrize(
    ("number", "known"), [(7, "the latest is 1"), (0, "the latest is 1"), (10**30, "the latest is 1")]
)
def test_an_unknown_trial_is_named(fill: Any, search: int, number: int, known: str) -> None:
    fill.accept(search, 0)
    with pytest.raises(UserError) as raised:
        trials.find_trial(fill.db, number)
    assert str(raised.value) == f"'{number}' is not a trial of this memory; {known}"


def test_the_trial_of_a_round_is_found(fill: Any, search: int) -> None:
    accepted = fill.accept(search, 2)
    found = trials.trial_in_round(fill.db, search, 2)
    assert found is not None
    assert found.id == accepted.trial
    assert trials.trial_in_round(fill.db, search, 1) is None


def test_a_spec_is_known_to_its_own_search_alone(fill: Any, search: int) -> None:
    fill.scored(search, 0, fill.spec, 3.0)
    record = records.spec_in_search(fill.db, search, fill.spec)
    assert record is not None
    assert (record["trial"], record["state"], record["rfid"]) == (1, "scored", 3.0)
    assert records.spec_in_search(fill.db, fill.search(), fill.spec) is None
    assert records.spec_in_search(fill.db, search, UNetSpec.parse("b8-n1-m1.1.1.1-a0000")) is None


def test_refusals_are_counted_by_round_and_numbered_with_the_acceptance(fill: Any, search: int) -> None:
    fill.refuse(search, 1)
    fill.refuse(search, 1, spec=fill.spec, kind="over_budget")
    fill.accept(search, 1)
    fill.refuse(search, 2)
    assert [trials.refusals_in_round(fill.db, search, number) for number in range(3)] == [0, 2, 1]
    assert fill.rows("SELECT round, attempt, accepted FROM proposals ORDER BY id") == [
        (1, 1, 0), (1, 2, 0), (1, 3, 1), (2, 1, 0),
    ]  # fmt: skip


def test_the_last_round_that_is_over_is_known(fill: Any, search: int) -> None:
    done = []
    outcomes = ["failed", "scored", "failed", "failed", "running"]
    for number, outcome in enumerate(outcomes):
        done.append(trials.rounds_done(fill.db, search))
        spec = f"b{8 * (number + 1)}-n1-m1.2.2.2-a0000"
        if outcome == "failed":
            fill.failed(search, number, spec)
        elif outcome == "scored":
            fill.scored(search, number, spec, 1.0)
        else:
            fill.accept(search, number, spec)
    assert done == [-1, 0, 1, 2, 3]
    assert trials.rounds_done(fill.db, search) == 3


def test_rounds_that_end_out_of_order_are_counted_and_named(fill: Any, search: int) -> None:
    fill.scored(search, 0, "b8-n1-m1.2.2.2-a0000", 1.0)
    fill.accept(search, 1, "b16-n1-m1.2.2.2-a0000")
    fill.failed(search, 2, "b24-n1-m1.2.2.2-a0000")
    assert trials.rounds_over(fill.db, search) == {0, 2}
    assert trials.rounds_done(fill.db, search) == 1


def test_two_rounds_cannot_have_the_same_training_even_while_it_runs(fill: Any, search: int) -> None:
    running = fill.accept(search, 1)
    with pytest.raises(trials.AlreadyTried, match=r"b16-n1-m1.2.2.2-a0100 is trial 1 of round 1, which is running"):
        fill.accept(search, 2)
    assert fill.accept(search, 1) == running
    assert fill.rows("SELECT count(*) FROM proposals") == [(1,)]
    assert fill.accept(fill.search(), 2).training == running.training  # another search may share it


def test_of_processes_that_accept_one_spec_at_once_one_wins(child: Any, fill: Any, search: int) -> None:
    code = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/memory")
from conftest import Filler
from memory.connection import opened
from memory.trials import AlreadyTried
with opened(Path(sys.argv[1])) as db:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        Filler(db).accept(int(sys.argv[2]), int(sys.argv[3]))
        print("accepted")
    except AlreadyTried:
        print("refused")
"""
    processes = [child(code, str(search), str(number)) for number in (1, 2, 3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    answers = sorted(process.communicate("go\n")[0].strip() for process in processes)
    assert answers == ["accepted", "refused", "refused"]


SPELLED, ANEW = "b16-n1-m2.1.1.1-a0010", "b8-n1-m4.2.2.2-a0010"


def test_another_spelling_of_a_network_finds_its_training(fill: Any, search: int) -> None:
    fill.scored(search, 0, SPELLED, 5.4)
    other = fill.search()
    found = fill.accept(other, 3, ANEW)
    assert (found.training, found.cached) == (1, True)
    assert fill.accept(other, 3, ANEW) == fill.accept(other, 3, SPELLED) == found
    assert fill.rows("SELECT count(*) FROM trainings") == [(1,)]
    assert fill.rows(f"SELECT spec FROM proposals WHERE search = {other}") == [(ANEW,)]
    assert str(trials.find_trial(fill.db, found.trial).spec) == SPELLED
    assert trainings.find_training(fill.db, fill.job(UNetSpec.parse(ANEW)))["id"] == 1
    assert trainings.find_training(fill.db, fill.job(UNetSpec.parse(ANEW), seed=1)) is None


def test_two_spellings_of_a_network_are_one_trial_of_a_search(fill: Any, search: int) -> None:
    fill.accept(search, 1, ANEW)
    with pytest.raises(trials.AlreadyTried) as raised:
        fill.accept(search, 2, SPELLED)
    assert str(raised.value) == f"{SPELLED} is the network of trial 1 ({ANEW}) of round 1, which is running"
    for spec in (SPELLED, ANEW):
        assert records.spec_in_search(fill.db, search, UNetSpec.parse(spec))["trial"] == 1


def test_heads_of_another_width_are_another_network_of_iddpm_alone(fill: Any, search: int) -> None:
    fill.protocol = fill.make_protocol(family="iddpm")
    fill.accept(search, 1, ANEW)
    assert fill.accept(search, 2, SPELLED).training == 2
    assert fill.rows("SELECT network FROM trainings ORDER BY id") == [
        ("w32.16.16.16-n1-a0010-h8",), ("w32.16.16.16-n1-a0010-h16",),
    ]  # fmt: skip


def test_of_two_spellings_in_an_older_memory_the_one_that_is_done_counts(fill: Any, search: int) -> None:
    first = fill.scored(search, 0, SPELLED, 5.4)
    both = dict(fill.db.conn.execute("SELECT * FROM trainings").fetchone())
    key = fill.job(UNetSpec.parse(ANEW)).key
    insert(fill.db.conn, "trainings", **{**both, "id": 2, "key": key, "spec": ANEW, "state": "failed", "error": "lost"})
    assert fill.accept(fill.search(), 0, ANEW).training == first
    fill.db.conn.execute("UPDATE trainings SET state = 'done' WHERE id = 2")
    assert fill.accept(fill.search(), 0, ANEW).training == 2
    assert fill.accept(fill.search(), 0, SPELLED).training == 1


def test_a_failed_training_of_another_spelling_is_tried_again(fill: Any, search: int) -> None:
    fill.failed(search, 0, SPELLED)
    again = fill.accept(fill.search(), 0, ANEW)
    assert (again.training, again.cached) == (1, False)
    assert fill.rows("SELECT state, spec, error FROM trainings") == [("queued", SPELLED, None)]


def test_replicas_of_another_spelling_count_for_the_spec_of_the_trial(fill: Any, search: int) -> None:
    fill.finish(fill.accept(fill.search(), 0, ANEW, seed=7), 6.0)
    trial = fill.scored(search, 0, SPELLED, 5.0)
    costs = {"macs_paper": 1, "macs_total": 1, "params": 1}
    replica = replicas.add_replica(fill.db, search, trial, fill.job(UNetSpec.parse(SPELLED), seed=7), costs)
    replicas.replica_scored(fill.db, replica.id)
    for replicated in (False, True):
        assert replicas.seed_scores(fill.db, search, replicated=replicated) == {SPELLED: [5.0, 6.0]}
