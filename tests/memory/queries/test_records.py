import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffusion.errors import UserError
from diffusion.spec import UNetSpec
from memory import trainings, trials
from memory.queries import effect, progress, records, similar

WIDE, DEEP, WIDE_DEEP = "b32-n1-m1.2.2.2-a0100", "b16-n2-m1.2.2.2-a0100", "b32-n2-m1.2.2.2-a0100"
specs = st.integers(3, 6).flatmap(
    lambda stages: st.builds(
        lambda row: UNetSpec.from_row(row),
        st.tuples(
            st.sampled_from([8, 16, 32]), st.integers(1, 3),
            *[st.integers(1, 4)] * stages, *[st.integers(0, 1)] * stages,
        ),
    )
)  # fmt: skip


@pytest.fixture
def filled(fill: Any, search: int) -> Any:
    """Four scored trials, one that failed, one without a number, one still running, and a refusal."""
    fill.scored(search, 0, fill.spec, 4.0, macs=1000)
    fill.scored(search, 1, WIDE, 3.0, macs=3000)
    fill.scored(search, 2, DEEP, 3.5, macs=2000)
    fill.scored(search, 3, WIDE_DEEP, 3.2, macs=5000)
    fill.failed(search, 4, "b8-n1-m1.1.1.1-a0000")
    fill.scored(search, 5, "b8-n1-m1.1.1.2-a0000", None)
    fill.accept(search, 6, "b8-n1-m1.1.1.3-a0000", proposer="fallback")
    fill.refuse(search, 6, spec=fill.spec, refusal="tried already", kind="repeated")
    return fill


def trials_of(records: list[dict[str, Any]]) -> list[int]:
    return [record["trial"] for record in records]


def test_the_best_come_first_and_only_scored_ones(filled: Any, search: int) -> None:
    assert trials_of(records.best(filled.db, search)) == [2, 4, 3, 1]
    assert trials_of(records.best(filled.db, search, 1)) == [2]


def test_a_record_has_the_shape_that_scripts_rely_on(filled: Any, search: int) -> None:
    record = records.top_records(filled.db)[0]
    wanted = {
        "trial": 2, "spec": WIDE, "family": "ddpm", "dataset": "digits", "rfid": 3.0, "ci95": None,
        "macs": {"paper": 3000, "total": 3010}, "params": 500, "protocol": filled.protocol.fingerprint, "seed": 0,
        "state": "scored", "search": search, "metric": "fid-digits-cnn", "train": "rapid", "proposer": "offline",
        "verdict": {"baseline": "unmeasured", "incumbent": "unmeasured"}, "cached": False,
    }  # fmt: skip
    assert {name: record[name] for name in wanted} == wanted
    assert record["created"].endswith("+00:00")
    assert records.best(filled.db, search, 1) == [record]


def test_the_pareto_front_leaves_out_what_is_dearer_and_worse(filled: Any, search: int) -> None:
    assert trials_of(records.pareto(filled.db, search)) == [1, 3, 2]


def test_the_pareto_front_counts_by_the_convention_of_the_search(fill: Any) -> None:
    by_total = fill.search(count_convention="total")
    fill.scored(by_total, 0, fill.spec, 4.0)
    dearer = {"macs_paper": 900, "macs_total": 5000, "params": 1}  # cheap on paper only
    fill.finish(fill.accept(by_total, 1, WIDE, costs=dearer), 4.0)
    assert trials_of(records.pareto(fill.db, by_total)) == [1]


def test_the_similar_come_with_what_differs(filled: Any, search: int) -> None:
    found = similar.similar(filled.db, search, UNetSpec.parse("b32-n2-m1.2.2.2-a0000"), 2)
    assert [(record["trial"], record["distance"]) for record in found] == [(4, 1.0), (2, 2.0)]
    assert found[1]["differs_in"] == {"num_blocks": {"asked": 2, "here": 1}, "attn_1": {"asked": 0, "here": 1}}
    assert "log2" in found[0]["distance_is"]


@given(specs, specs, specs)
def test_the_distance_of_specs_is_a_distance(a: UNetSpec, b: UNetSpec, c: UNetSpec) -> None:
    distance = similar.spec_distance
    assert distance(a, b) == distance(b, a)
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, c) <= distance(a, b) + distance(b, c) + 1e-9  # fourteen roundings of numbers below 140


def test_the_effect_of_a_number_is_told_by_value_and_by_pairs(filled: Any, search: int) -> None:
    pair, low, high = effect.effect(filled.db, search, "base_channel")
    assert low.pop("parameter") == "base_channel"
    assert low == {
        "kind": "value", "value": 16, "count": 2, "mean": 3.75, "best": 3.5, "best_trial": 3, "confounded": True,
    }  # fmt: skip
    assert (high["value"], high["count"], high["mean"], high["best_trial"]) == (32, 2, 3.1, 2)
    assert (pair["kind"], pair["from"], pair["to"], pair["count"]) == ("pair", 16, 32, 2)
    assert [found["trials"] for found in pair["pairs"]] == [[1, 2], [3, 4]]
    assert [found["difference"] for found in pair["pairs"]] == pytest.approx([-1.0, -0.3])
    assert pair["mean_difference"] == pytest.approx(-0.65)


def test_trials_of_two_seeds_are_no_pair(fill: Any, search: int) -> None:
    fill.finish(fill.accept(search, 0, fill.spec, seed=0), 4.0)
    fill.finish(fill.accept(search, 1, WIDE, seed=1), 3.0)
    assert [row["kind"] for row in effect.effect(fill.db, search, "base_channel")] == ["value", "value"]


def test_the_effect_of_a_width_is_told_by_pairs_of_equal_networks_but_for_it(fill: Any, search: int) -> None:
    fill.scored(search, 0, "b8-n1-m2.4.4.4-a0010", 23.0)  # widths 16.32.32.32
    fill.scored(search, 1, "b16-n1-m1.2.2.4-a0010", 21.0)  # 16.32.32.64: another base, and one width differs
    fill.scored(search, 2, "b32-n1-m1.1.1.1-a0010", 5.4)  # 32.32.32.32
    fill.scored(search, 3, "b24-n1-m1.1.1.1-a0110", 13.4)  # much differs
    wide = effect.effect(fill.db, search, "width_0")
    assert [(row["kind"], row.get("from"), row.get("to"), row.get("pairs")) for row in wide[:1]] == [
        ("pair", 16, 32, [{"trials": [1, 3], "difference": pytest.approx(-17.6)}]),
    ]  # fmt: skip
    assert [(row["value"], row["mean"], row["confounded"]) for row in wide[1:]] == [
        (16, 22.0, True), (24, 13.4, True), (32, 5.4, True),
    ]  # fmt: skip
    deep = [row for row in effect.effect(fill.db, search, "width_3") if row["kind"] == "pair"]
    assert [(row["from"], row["to"], row["pairs"][0]["trials"]) for row in deep] == [(32, 64, [1, 2])]
    assert effect.effect(fill.db, search, "width_4") == []
    told = effect.means(fill.db, search)
    assert list(told)[:6] == [f"width_{stage}" for stage in range(6)]
    assert told["width_0"] == [(16, 2, 22.0), (24, 1, 13.4), (32, 1, 5.4)]
    assert told["width_5"] == told["attn_4"] == []
    assert "base_channel" not in told


def test_the_effect_of_something_else_lists_what_there_is(fill: Any, search: int) -> None:
    with pytest.raises(UserError) as raised:
        effect.effect(fill.db, search, "depth")
    said = "'depth' is not a number of a spec or the width of a stage; ask for width_0, width_1"
    assert str(raised.value).startswith(said)


def test_another_number_of_stages_is_far(fill: Any, search: int) -> None:
    fill.scored(search, 0, "b16-n1-m1.2.2-a010", 1.0)
    fill.scored(search, 1, "b1024-n8-m8.8.8.8-a1011", 2.0)
    fill.scored(search, 2, "b16-n1-m1.2.2.2.2-a01000", 3.0)
    found = similar.similar(fill.db, search, UNetSpec.parse("b16-n1-m1.2.2.2-a0100"))
    assert [row["trial"] for row in found] == [2, 1, 3]
    assert [row["distance"] for row in found[1:]] == [40.0, 40.0]
    assert found[1]["differs_in"] == {"mult_3": {"asked": 2, "here": None}, "attn_3": {"asked": 0, "here": None}}
    assert found[2]["differs_in"] == {"mult_4": {"asked": None, "here": 2}, "attn_4": {"asked": None, "here": 0}}


def test_failures_are_trials_and_refusals_with_reasons_latest_first(filled: Any, search: int) -> None:
    found = progress.failures(filled.db, search)
    assert [(row["kind"], row["why"], row["refusal_kind"]) for row in found] == [
        ("refused", "tried already", "repeated"),
        ("failed", "out of memory", None),
    ]
    assert (found[0]["trial"], found[1]["trial"], found[1]["spec"]) == (None, 5, "b8-n1-m1.1.1.1-a0000")
    assert len(progress.failures(filled.db, search, 1)) == 1


def test_what_remains_counts_rounds_after_the_baseline(filled: Any, search: int) -> None:
    fresh = filled.search(rounds=5)
    filled.scored(fresh, 0, filled.spec, 1.0)
    (left,) = progress.remaining(filled.db, fresh)
    assert (left["rounds"], left["rounds_done"], left["rounds_left"]) == (5, 0, 5)
    (left,) = progress.remaining(filled.db, search)
    assert (left["rounds_done"], left["rounds_left"], left["budget_macs"]) == (5, 0, 1_000_000)
    assert left["ledger"]["device_seconds"] == 0.0


def test_what_runs_is_told_with_what_it_does_and_counts_as_left(fill: Any, search: int) -> None:
    fill.scored(search, 0, fill.spec, 1.0)
    accepted = fill.accept(search, 1, "b8-n1-m1.2.2.2-a0000")
    fill.scored(search, 2, "b16-n1-m1.1.2.2-a0000", 2.0)
    trainings.training_finished(fill.db, accepted.training, steps_done=600, loss=0.1, device_seconds=30.0)
    trials.trial_trained(fill.db, accepted.trial)
    fill.accept(search, 3, "b24-n1-m1.2.2.2-a0000")
    assert progress.running(fill.db, search) == [
        {"trial": 2, "round": 1, "spec": "b8-n1-m1.2.2.2-a0000", "doing": "scoring"},
        {"trial": 4, "round": 3, "spec": "b24-n1-m1.2.2.2-a0000", "doing": "training"},
    ]
    (left,) = progress.remaining(fill.db, search)
    assert (left["rounds_done"], left["rounds_left"]) == (1, 4)
    assert left["running"] == progress.running(fill.db, search)


def test_counts_and_shares(filled: Any, search: int) -> None:
    counts = {"scored": 5, "failed": 1, "pruned": 0, "refused": 1, "trained": 0, "running": 1}
    assert progress.search_counts(filled.db, search) == counts
    assert progress.proposer_shares(filled.db, search) == {"offline": 6, "fallback": 1}
    assert progress.search_counts(filled.db, filled.search()) == dict.fromkeys(counts, 0)


def test_a_search_sees_its_own_trials_and_the_cached_ones_among_them(filled: Any, search: int) -> None:
    other = filled.search()
    accepted = filled.accept(other, 0, WIDE)
    assert accepted.cached
    assert [(record["trial"], record["cached"]) for record in records.best(filled.db, other)] == [
        (accepted.trial, True)
    ]
    assert accepted.trial not in trials_of(records.best(filled.db, search))


def test_the_whole_memory_shows_each_training_once_and_own_trials_first(filled: Any, search: int) -> None:
    other = filled.search()
    own = filled.accept(other, 0, WIDE).trial
    assert trials_of(records.best(filled.db, other, scope="memory")) == [own, 4, 3, 1]
    assert trials_of(records.best(filled.db, search, scope="memory")) == [2, 4, 3, 1]


def test_scores_of_two_protocols_are_never_ranked_together(filled: Any, search: int) -> None:
    full = filled.make_protocol(train_steps=9000)
    confirmed = filled.search(protocol=full)
    filled.score(1, 0.5, protocol=full)
    assert [record["rfid"] for record in records.best(filled.db, search)] == [3.0, 3.2, 3.5, 4.0]
    assert records.best(filled.db, confirmed) == []
    assert [record["rfid"] for record in records.top_records(filled.db)] == [0.5]  # the latest search's protocol
    assert len(records.top_records(filled.db, filled.protocol.fingerprint)) == 4
    assert [row["rfid"] for row in records.best(filled.db, search, protocol=full.fingerprint)] == [0.5]


def test_by_default_the_best_are_those_of_the_latest_protocol_with_a_score(filled: Any, search: int) -> None:
    filled.search(protocol=filled.make_protocol(train_steps=9000), kind="strategy")  # which trains none itself
    assert [record["rfid"] for record in records.top_records(filled.db)] == [3.0, 3.2, 3.5, 4.0]


def test_an_unknown_protocol_lists_the_known(filled: Any, search: int) -> None:
    with pytest.raises(UserError, match=filled.protocol.fingerprint) as raised:
        records.top_records(filled.db, "0000")
    assert str(raised.value).startswith("'0000' is not the fingerprint of a protocol")
    with pytest.raises(UserError, match=filled.protocol.fingerprint):
        records.best(filled.db, search, protocol="0000")


def test_a_trial_is_shown_whole(filled: Any) -> None:
    shown = records.show_trial(filled.db, 2)
    assert (shown["spec"], shown["rfid"], shown["search_name"]) == (WIDE, 3.0, "digits-1")
    assert shown["proposal"]["raw_text"] == WIDE
    assert shown["training"]["strategy"]["train_steps"] == 600
    assert [score["value"] for score in shown["scores"]] == [3.0]
    assert shown["protocol_content"]["score"]["feature_network"] == "digits-cnn"
    with pytest.raises(UserError, match="'99' is not a trial"):
        records.show_trial(filled.db, 99)


def test_every_answer_is_json(filled: Any, search: int) -> None:
    answers = [
        records.best(filled.db, search),
        records.pareto(filled.db, search),
        similar.similar(filled.db, search, filled.spec),
        effect.effect(filled.db, search, "attn_0"),
        progress.failures(filled.db, search),
        progress.remaining(filled.db, search),
        records.top_records(filled.db),
        records.show_trial(filled.db, 6),
    ]
    for answer in answers:
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_an_empty_search_answers_every_question(fill: Any, search: int) -> None:
    assert records.best(fill.db, search) == records.pareto(fill.db, search) == progress.failures(fill.db, search) == []
    assert similar.similar(fill.db, search, fill.spec) == effect.effect(fill.db, search, "mult_0") == []
    assert records.top_records(fill.db) == []
