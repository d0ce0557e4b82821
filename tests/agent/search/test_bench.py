"""A search on a table: everything is as always, but nothing is trained."""

import io
import json
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench
import pytest
from bench import Killed, search_on

from agent.cli.main import main
from agent.config.bench import FIXED, bench_settings
from agent.config.kinds import KINDS
from agent.config.sources import resolve
from agent.search.plan import plan
from diffusion.errors import UserError
from diffusion.spec import UNetSpec
from diffusion.unetbench import table as tables
from diffusion.unetbench.table import Table
from memory.connection import opened
from tools.executors.tabular import TabularExecutor

RESULTS = "SELECT round, spec, state, rfid FROM results ORDER BY round"
LEDGER = "SELECT kind, note, device_seconds FROM ledger WHERE kind IN ('train', 'score') ORDER BY id"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    folder = tmp_path / "tables"
    folder.mkdir()
    return bench.planted_in(folder, monkeypatch)


def test_a_search_shows_the_scores_seconds_and_costs_of_the_table(table: Table, tmp_path: Path) -> None:
    search = search_on(tmp_path / "a", table, rounds=4, replicas=3)
    assert search.run() == "rounds"
    rows = search.rows("SELECT round, spec, rfid, macs_paper, params, device_seconds FROM results ORDER BY round")
    assert len(rows) == 5 and rows[0]["spec"] == str(bench.BASELINE)
    for row in rows:
        spec = UNetSpec.parse(row["spec"])
        shown = table.shown(spec, 8, search_seed=0)
        assert (row["rfid"], row["device_seconds"]) == (shown.score, shown.train_seconds)
    replicas = search.of("replica.scored")
    wanted = [table.shown(bench.BASELINE, 8, search_seed=0, number=number).score for number in (1, 2)]
    assert [event["rfid"] for event in replicas] == wanted
    charged = search.rows("SELECT sum(device_seconds) AS spent FROM ledger WHERE kind IN ('train', 'score')")
    assert charged == [{"spent": 7 * (80.0 + 1.0)}]
    assert not (search.folder / "runs").exists()


def test_searches_of_two_seeds_in_one_memory_are_each_shown_their_own_draws(table: Table, tmp_path: Path) -> None:
    for seed in range(4):
        search = search_on(tmp_path / "a", table, rounds=2, replicas=3, seed=seed)
        assert search.run() == "rounds"
        for row in search.rows(
            f"{RESULTS.replace('ORDER', f'AND search = {search.search} ORDER')}".replace("AND", "WHERE")
        ):
            assert row["rfid"] == table.shown(UNetSpec.parse(row["spec"]), 8, search_seed=seed).score
    keys = search.rows("SELECT count(DISTINCT key) AS found, count(*) AS trainings FROM trainings")
    assert keys == [{"found": 4 * (1 + 2 + 2), "trainings": 4 * (1 + 2 + 2)}]


def test_what_a_table_shows_is_never_taken_for_a_training_of_ones_own(table: Table, tmp_path: Path) -> None:
    search = search_on(tmp_path / "a", table)
    job = search.context().train_job(bench.BASELINE)
    assert job.table == f"{table.identity}/0"
    assert job.key == search.context().jobs.train_job(search.context().limits, bench.BASELINE).key
    assert job.key != job.model_copy(update={"table": None}).key
    assert job.key in str(job.run_folder)


@pytest.mark.parametrize("at", ["trial.started", "trial.trained", "trial.scored", "replica.started", "round.finished"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_search_killed_anywhere_goes_on_to_the_same_end(table: Table, tmp_path: Path, at: str, times: int) -> None:
    alone, killed = (search_on(tmp_path / name, table, rounds=3, replicas=3) for name in ("alone", "killed"))
    alone.run()
    met, make = 0, killed.make_context

    def kill(round_number: int, proposer: str) -> Any:
        def die() -> None:
            nonlocal met
            met += 1
            if met == times:
                raise Killed

        return make(round_number, proposer).watched(at, die)

    killed.make_context = kill
    if at != "replica.started" or times < 3:
        with pytest.raises(Killed):
            killed.run()
    killed.make_context = make
    killed.stop.clear()  # another process has its own; this one may have asked what was in flight to stop
    assert killed.run() == "rounds"
    assert killed.rows(RESULTS) == alone.rows(RESULTS)
    spent = "SELECT kind, sum(device_seconds) AS spent FROM ledger WHERE kind IN ('train', 'score') GROUP BY kind"
    assert killed.rows(spent) == alone.rows(spent)


def test_more_replicas_than_seeds_fail_with_a_sentence_and_the_search_goes_on(table: Table, tmp_path: Path) -> None:
    search = search_on(tmp_path / "a", table, rounds=1, replicas=6)
    assert search.run() == "rounds"
    (failed,) = search.of("replica.failed")
    assert (
        failed["reason"] == f"the table planted has 5 training seeds of {bench.BASELINE}, and training 6 was asked for"
    )
    assert len(search.of("replica.scored")) == 4


def test_there_is_no_race_without_the_seeds_for_it_and_the_search_says_so(table: Table, tmp_path: Path) -> None:
    search = search_on(tmp_path / "a", table, rounds=4, race_trainings=20)
    assert search.run() == "rounds"
    (skipped,) = search.of("race.skipped")
    assert (
        skipped["why"].endswith("and the table planted has 2")
        and "a race takes up to 5 training seeds" in skipped["why"]
    )
    assert not search.of("race.started") and not search.of("replica.started")


def test_there_is_a_race_where_the_table_has_the_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(bench.network_row(spec, 6) for spec in bench.SPACE)
    (tmp_path / "tables").mkdir()
    table = bench.planted_in(tmp_path / "tables", monkeypatch, networks=many)
    search = search_on(tmp_path / "a", table, rounds=4, race_trainings=20, replicas=3)
    assert search.run() == "rounds"
    assert search.of("race.started") and search.of("race.finished") and not search.of("race.skipped")


def test_a_spec_outside_is_refused_by_the_space_with_the_reason(table: Table, tmp_path: Path) -> None:
    from tools.errors import Refused
    from tools.jobs.training import train_candidate

    search = search_on(tmp_path / "a", table)
    with pytest.raises(Refused, match=r"base_channel=24 is outside the space planted: allowed are 8, 16"):
        train_candidate(search.context(), UNetSpec.parse("b24-n1-m1.1.2.1-a0100"), "wider")
    assert search.rows("SELECT refusal FROM proposals")[0]["refusal"]


def test_shorter_trainings_are_those_of_the_table(table: Table, tmp_path: Path) -> None:
    search = search_on(tmp_path / "a", table, rounds=2, train_steps=4)
    assert search.plan.protocol == table.protocol_at(4)
    assert search.run() == "rounds"
    for row in search.rows("SELECT spec, rfid, device_seconds FROM results"):
        assert row["rfid"] == table.shown(UNetSpec.parse(row["spec"]), 4, search_seed=0).score
        assert row["device_seconds"] == 40.0


def test_the_settings_are_those_of_the_table_and_say_so(table: Table) -> None:
    found = resolve({"bench": "planted"})
    assert bench_settings(table) == {name: found.config.flat()[name] for name in (*FIXED, "space", "baseline")}
    assert {found.sources[name] for name in (*FIXED, "space", "baseline")} == {"bench planted"}
    assert found.sources["budget"] == "preset digits"
    planned = plan(found.config)
    assert (planned.protocol, planned.baseline, planned.card) == (bench.PROTOCOL, bench.BASELINE, table.contents.card)
    assert resolve({"bench": "planted", "train_steps": 2, "resolution": 8}).sources["train_steps"] == "option"


NARROW = {"name": "narrow", "base_channel": [8], "num_blocks": [1], "channel_mult": [[1], [1, 2], [2], [1]]} | {
    "attn": [[False], [True], [False], [False]]
}


def test_a_part_of_the_space_may_be_searched(table: Table, tmp_path: Path) -> None:
    search = search_on(tmp_path / "a", table, space=NARROW, rounds=5)
    assert search.run() in ("finished_by_model", "space_exhausted")
    assert [row["spec"] for row in search.rows(RESULTS)] == ["b8-n1-m1.1.2.1-a0100", "b8-n1-m1.2.2.1-a0100"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train_steps": 3}, "--train-steps 3: the table planted has scores at 2, 4, 8 steps"),
        ({"learning_rate": 1e-3}, "--set learning_rate 0.001: the table planted was made with 0.0002; leave it out"),
        ({"dataset": "cifar10"}, "--dataset cifar10: the table planted was made with digits; leave it out"),
        ({"num_images": 8}, "--num-images 8: the table planted was made with 16; leave it out"),
        ({"resolution": 16}, "--resolution 16: the images of the table planted have 8; leave it out"),
        ({"space": "digits-8"}, "--space digits-8: the table planted lacks some of its specs; leave it out"),
        ({"prune": True}, "--prune finds nothing to stop: the trainings of the table planted are over; leave it out"),
        ({"executor": "ray"}, "--executor ray has nothing to run beside the table planted; leave it out"),
        ({"bench": "other"}, "'other' is not a table of trained networks; there are planted"),
    ],
    ids=str,
)
def test_what_a_table_does_not_have_is_refused_in_one_sentence(
    table: Table, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refused:
        resolve({"bench": "planted", **options})
    assert str(refused.value) == said


def test_settings_that_were_changed_behind_the_options_are_refused_too(table: Table) -> None:
    config = resolve({"bench": "planted"}).config.changed(dropout=0.3)
    with pytest.raises(UserError, match=r"^--set dropout 0.3: the table planted was made with 0.1; leave it out$"):
        plan(config)


def test_only_a_search_of_specs_is_run_on_a_table(table: Table) -> None:
    config = resolve({"bench": "planted"}).config
    for kind in KINDS.values():
        if kind.name == "run":
            assert plan(config, kind=kind).baseline == bench.BASELINE
            continue
        with pytest.raises(UserError, match=r"^'planted' is a table of finished trainings, for `diffnas-agent run`"):
            plan(config, kind=kind)


@dataclass
class Typed:
    """What a command said, and its exit code."""

    exit_code: int
    output: str


def invoke(folder: Path, *arguments: str) -> Typed:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(out):
        patch.setattr(sys, "argv", ["diffnas-agent", *arguments, "--db", str(folder / "diffnas.db")])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert isinstance(stopped.value.code, int)
    return Typed(stopped.value.code, " ".join(out.getvalue().split()))


def test_the_command_runs_resumes_forks_and_replays_on_a_table(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--bench", "planted", "--rounds", "2", "--budget", "1G", "--name", "first"]
    dry = invoke(tmp_path, "run", *options, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "nothing is trained" in dry.output
    began = time.monotonic()
    done = invoke(tmp_path, "run", *options)
    assert done.exit_code == 0, done.output
    assert time.monotonic() - began < 30  # it computes nothing: of a process that has its imports a second or two
    said = done.output
    assert "Note: results are looked up in the table planted, nothing is trained" in said
    assert "Images of the best" not in said
    resumed = invoke(tmp_path, "resume", "first", "--rounds", "3")
    assert resumed.exit_code == 0, resumed.output
    assert invoke(tmp_path, "status", "first", "--json").exit_code == 0
    assert invoke(tmp_path, "replay", "first").exit_code == 0
    assert invoke(tmp_path, "fork", "first", "--at", "1", "--llm", "offline", "--name", "second").exit_code == 0
    assert invoke(tmp_path, "resume", "second").exit_code == 0
    with opened(tmp_path / "diffnas.db", read_only=True) as db:
        scores = {row["spec"]: row["rfid"] for row in db.conn.execute("SELECT spec, rfid FROM results")}
    assert scores == {spec: table.shown(UNetSpec.parse(spec), 8, search_seed=0).score for spec in scores}
    assert [path.name for path in tmp_path.iterdir()] and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", ["evaluate", "sample", "export", "confirm"])
def test_what_needs_weights_says_that_a_table_has_none(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    search = search_on(tmp_path, table, rounds=1)
    search.run()
    more = {"export": ["1", "there"], "confirm": []}.get(command, ["1"])
    refused = invoke(tmp_path, command, *more)
    assert refused.exit_code == 2, refused.output
    said = refused.output
    assert ("no weights; `diffnas-agent train" in said) or (command == "confirm" and "finished trainings" in said)


def test_a_search_does_not_go_on_with_another_version_of_its_table(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_on(tmp_path, table, rounds=1)
    search.run()
    (tmp_path / "newer").mkdir()
    newer = bench.planted_in(tmp_path / "newer", monkeypatch, made="today")
    refused = invoke(tmp_path, "resume", "--rounds", "2")
    assert refused.exit_code == 2
    assert f"'planted' is {newer.identity} here, and the search began with {table.identity}" in refused.output
    stored = json.loads(search.rows("SELECT config_json FROM searches")[0]["config_json"])
    assert (stored["bench"], stored["table"]) == ("planted", table.identity)


def test_a_job_that_the_table_cannot_answer_fails_with_a_sentence(table: Table, tmp_path: Path) -> None:
    from tools.errors import Interrupted, JobFailed

    search = search_on(tmp_path, table)
    executor, context = search.executor, search.context()
    assert isinstance(executor, TabularExecutor)
    job, score = context.train_job(bench.BASELINE), context.score_job(tmp_path, bench.BASELINE)
    with pytest.raises(JobFailed, match=r"has no training of 3 steps"):
        executor.train(job.model_copy(update={"until_step": 3}), lambda event: None)
    other = score.protocol.model_copy(update={"data_fingerprint": "e" * 12})
    with pytest.raises(JobFailed, match=f"no scores under the protocol {other.fingerprint}"):
        executor.evaluate(score.model_copy(update={"protocol": other}), lambda event: None)
    search.stop.set()
    with pytest.raises(Interrupted):
        executor.train(job, lambda event: None)
    assert tables.FOLDER.name == "tables"
