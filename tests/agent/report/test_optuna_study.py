"""A search that was exported is read back with Optuna and held against what `memory show` and `memory top` say."""

import json
from datetime import UTC, datetime
from pathlib import Path

import optuna
import pytest
from ended_search import TRIALS, begun, digits_protocol, ended_search
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

from agent.report import optuna_study
from agent.report.optuna_study import export_study
from diffusion.errors import UserError
from diffusion.settings import Protocol
from diffusion.spec import UNetSpec
from diffusion.statistics.pruning import rung_protocol
from memory.connection import opened
from memory.queries.records import show_trial, top_records
from memory.scores import add_score
from memory.searches import create_search, find_search
from memory.trials import trial_failed, trial_pruned

OUTSIDE = "b40-n1-m1.2.2.2-a0100"  # of digits-8, whose widest base is 32
UNSCORED = (("b8-n1-m2.1.1.2-a1000", "failed"), ("b8-n3-m1.1.1.2-a0000", "pruned"), (OUTSIDE, "running"))


def of_so_many(protocol: Protocol, steps: int) -> Protocol:
    return protocol.model_copy(update={"strategy": protocol.strategy.model_copy(update={"train_steps": steps})})


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """The search ``first``: three trials with scores, one that failed, one that was pruned, one that runs."""
    path = ended_search(tmp_path)
    protocol = of_so_many(digits_protocol(), 20)
    with opened(path) as db:
        search = find_search(db).id
        for number, (text, state) in enumerate(UNSCORED, start=len(TRIALS)):
            reason = f"To see what « {state} » does."
            spec = UNetSpec.parse(text)
            accepted = begun(db, search, number, spec, protocol, tmp_path, "openai:gpt-4.1", reason)
            if state == "failed":
                trial_failed(db, accepted.trial, "the loss is nan at step 1")
            if state == "pruned":
                trial_pruned(db, accepted.trial, "far behind")
        first = show_trial(db, 1)["training"]["id"]
        way = {"sampling_seed": 0, "metric": protocol.score.metric, "num_images": 16, "device_seconds": 1.0}
        add_score(db, first, step=1, protocol=of_so_many(digits_protocol(), 1), value=300.0, **way)
        add_score(
            db, first, step=1, protocol=of_so_many(digits_protocol(), 1), value=310.0, **{**way, "sampling_seed": 1}
        )
        add_score(db, first, step=1, protocol=protocol, value=7.0, **way)  # another way to score: no part of the curve
    return path


def study_of(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="first", storage=f"sqlite:///{folder}/study.db")


@pytest.fixture
def exported(memory: Path, tmp_path: Path) -> optuna.Study:
    export_study(memory, "first", f"sqlite:///{tmp_path}/study.db")
    return study_of(tmp_path)


def test_every_trial_is_as_the_memory_shows_it(memory: Path, exported: optuna.Study) -> None:
    with opened(memory, read_only=True) as db:
        records = [show_trial(db, number) for number in range(1, 7)]
        top = top_records(db)
    assert len(exported.trials) == 6
    for trial, record in zip(exported.trials, records, strict=True):
        spec, told = UNetSpec.parse(record["spec"]), trial.user_attrs
        assert trial.params == {
            name: bool(value) if name.startswith("attn") else value for name, value in spec.numbers.items()
        }
        assert (told["trial"], told["round"], trial.number) == (record["trial"], record["round"], record["round"])
        assert {"paper": told["macs_paper"], "total": told["macs_total"]} == record["macs"]
        assert told["widths"] == list(spec.channels)
        for name in ("params", "proposer", "reason", "protocol", "verdict", "seed", "spec"):
            assert told[name] == record[name]
        assert told.get("error") == record["error"]
        assert trial.value == record["rfid"]
        for moment, stored in ((trial.datetime_start, "created"), (trial.datetime_complete, "finished")):
            expected = record[stored] and datetime.fromisoformat(record[stored])
            assert (moment and moment.astimezone(UTC)) == expected
    assert [trial.state for trial in exported.trials] == [
        *[TrialState.COMPLETE] * 3, TrialState.FAIL, TrialState.PRUNED, TrialState.RUNNING,
    ]  # fmt: skip
    assert exported.trials[1].user_attrs["network"] == "w8.8.8.16-n1-a0000"
    done = sorted(exported.get_trials(states=(TrialState.COMPLETE,)), key=lambda trial: trial.value or 0)
    assert [trial.user_attrs["trial"] for trial in done] == [record["trial"] for record in top]
    assert exported.best_trial.user_attrs["trial"] == top[0]["trial"]
    assert exported.best_value == top[0]["rfid"] == 150.0


def test_the_study_says_what_its_values_are(memory: Path, exported: optuna.Study) -> None:
    assert exported.metric_names == ["fid-digits-cnn"]
    assert exported.direction is optuna.study.StudyDirection.MINIMIZE
    assert exported.user_attrs == {
        "search": 1,
        "metric": "fid-digits-cnn",
        "protocol": digits_protocol().fingerprint,
        "backend": "offline",
        "budget_macs": 2_000_000,
        "count": "paper",
    }


def test_distributions_are_those_of_the_space_and_hold_a_spec_from_elsewhere_too(exported: optuna.Study) -> None:
    distributions = exported.trials[0].distributions
    assert distributions["base_channel"] == IntDistribution(8, 40, step=8)
    assert distributions["num_blocks"] == IntDistribution(1, 3)
    assert distributions["mult_3"] == IntDistribution(1, 4)
    assert distributions["attn_2"] == CategoricalDistribution((False, True))


def test_uneven_choices_are_categories(tmp_path: Path) -> None:
    space = {
        "name": "own", "base_channel": [8, 16, 64], "num_blocks": [1, 2], "channel_mult": [1, 2, 4],
        "attn": [[False], [False, True], [False], [False]],
    }  # fmt: skip
    export_study(ended_search(tmp_path, space=space), "first", f"sqlite:///{tmp_path}/study.db")
    distributions = study_of(tmp_path).trials[0].distributions
    assert distributions["base_channel"] == CategoricalDistribution((8, 16, 64))
    assert distributions["mult_0"] == CategoricalDistribution((1, 2, 4))
    assert distributions["attn_0"] == CategoricalDistribution((False,))


def test_scores_on_the_way_are_the_means_over_sampling_seeds_taken_in_the_way_of_the_search(
    exported: optuna.Study,
) -> None:
    assert exported.trials[0].intermediate_values == {1: 305.0}
    assert [trial.intermediate_values for trial in exported.trials[1:]] == [{}] * 5


def test_a_pruned_trial_keeps_what_it_scored_at_the_rungs(tmp_path: Path) -> None:
    path = ended_search(tmp_path)
    with opened(path) as db:
        record = show_trial(db, 2)
        protocol = of_so_many(digits_protocol(), 10)
        scored = [(4, 400.0), (7, 350.0)]
        record |= {"state": "pruned", "rfid": None, "protocol_content": protocol.model_dump(mode="json")}
        record["scores"] = [
            {
                "step": step,
                "protocol": rung_protocol(protocol, step).fingerprint,
                "metric": record["metric"],
                "value": it,
            }
            for step, it in scored
        ]
        trial = optuna_study.as_optuna(record, optuna_study.distributions_of(find_search(db), [record]))
    assert trial.state is TrialState.PRUNED
    assert trial.intermediate_values == dict(scored)
    assert trial.value == 350.0  # as Optuna keeps it


def test_a_study_of_that_name_is_left_as_it_is(memory: Path, tmp_path: Path, exported: optuna.Study) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    with pytest.raises(UserError) as refused:
        export_study(memory, "1", url)
    assert str(refused.value) == f"'first' is a study of {url} already; name another file, or delete it there"
    assert len(study_of(tmp_path).trials) == 6


def test_an_export_that_is_broken_off_leaves_no_study(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = optuna.Study.add_trial

    def interrupted(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if len(study.trials) == 2:
            raise KeyboardInterrupt
        added(study, trial)

    monkeypatch.setattr(optuna.Study, "add_trial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_study(memory, "first", f"sqlite:///{tmp_path}/study.db")
    monkeypatch.undo()
    assert optuna.get_all_study_names(f"sqlite:///{tmp_path}/study.db") == []
    export_study(memory, "first", f"sqlite:///{tmp_path}/study.db")
    assert len(study_of(tmp_path).trials) == 6


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("study.db", "'study.db' is not the URL of a database; write sqlite:///study.db"),
        ("sqlite://", "'sqlite://' names no file; write sqlite:///study.db"),
        ("sqlite:///:memory:", "'sqlite:///:memory:' names no file; write sqlite:///study.db"),
        ("nosuch://host/studies", "'nosuch://host/studies' cannot hold a study: "),
        ("sqlite:////no/such/folder/study.db", "'sqlite:////no/such/folder/study.db' cannot hold a study: unable to"),
        ("sqlite:///{folder}/text.db", "'sqlite:///{folder}/text.db' cannot hold a study: file is not a database"),
        ("sqlite:///{folder}/diffnas.db", "'sqlite:///{folder}/diffnas.db' is the memory itself; name a file of its"),
    ],
)
def test_a_place_that_cannot_hold_a_study_is_one_sentence(
    memory: Path, tmp_path: Path, url: str, sentence: str
) -> None:
    (tmp_path / "text.db").write_text("this is no database, however long it may be " * 50)
    with pytest.raises(UserError) as refused:
        export_study(memory, "first", url.format(folder=tmp_path))
    assert str(refused.value).startswith(sentence.format(folder=tmp_path))
    assert "\n" not in str(refused.value)


def test_a_password_is_not_shown() -> None:
    place = optuna_study.storage_place("postgresql://me:secret@host/studies", Path("diffnas.db"))
    assert "secret" not in place.render_as_string(hide_password=True)


def test_a_search_without_trials_is_an_empty_study(memory: Path, tmp_path: Path) -> None:
    with opened(memory) as db:
        row = find_search(db)
        create_search(
            db,
            name="empty",
            budget_macs=row.budget_macs,
            count_convention=row.count_convention,
            rounds=1,
            seed=0,
            searcher="llm",
            backend="offline",
            protocol=digits_protocol(),
            config=json.loads(row.config_json),
        )
    found = export_study(memory, "empty", f"sqlite:///{tmp_path}/study.db")
    assert found.trials == {"complete": 0, "pruned": 0, "fail": 0, "running": 0}
