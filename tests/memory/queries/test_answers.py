"""What the database answers is what all rows, read into Python and sorted there, answer: on memories made at random."""

import random
from pathlib import Path
from typing import Any

import pytest
from same_answers import check_answers, check_derived
from sqlite_utils import Database

from diffusion.spec import UNetSpec
from memory import replicas, trainings, trials
from memory.connection import opened
from memory.journal import moment, past_of
from memory.ledger import Ledger, charge, totals
from memory.queries import effect, ranking, records, similar

SCORES = (1.0, 1.0, 2.0, 2.5, 3.7, 0.1, -0.5, None, float("nan"))
BEST = f"{ranking.IS_SCORE} ORDER BY {ranking.BEST_FIRST}"
WORDS = ("better", "worse", "inconclusive")


def random_spec(draws: random.Random) -> UNetSpec:
    """Of a space so small that the same spec comes again, in other spellings too, and pairs are many."""
    stages = draws.choice((4, 4, 4, 4, 3, 5))
    mults, base = [draws.choice((1, 2)), draws.choice((1, 2)), *[2] * (stages - 2)], draws.choice((8, 16, 24))
    if draws.random() < 0.3:
        mults, base = [2 * mult for mult in mults], base // 2
    flags = [draws.choice((0, 1)), draws.choice((0, 1)), *[0] * (stages - 2)]
    return UNetSpec.from_row([base, draws.choice((1, 2)), *mults, *flags])


def play(fill: Any, draws: random.Random, rounds: int) -> None:
    """Three searches under two protocols with everything that can become of a trial, in random order."""
    fill.protocol = fill.make_protocol(family=draws.choice(("ddpm", "iddpm")))
    protocols = (fill.protocol, fill.make_protocol(train_steps=300, family=fill.protocol.settings.family))
    searches = [
        fill.search(protocol=draws.choice(protocols), count_convention=draws.choice(("paper", "total")))
        for _ in range(3)
    ]
    for round_number in range(rounds):
        for search in searches:
            play_round(fill, draws, search, round_number, protocols)
            charge(
                fill.db, search, draws.choice(("wall", "train")), wall_seconds=0.1, cost_usd=draws.choice((0.1, None))
            )


def play_round(fill: Any, draws: random.Random, search: int, round_number: int, protocols: Any) -> None:
    if draws.random() < 0.3:
        fill.refuse(search, round_number, spec=draws.choice((None, random_spec(draws))))
    try:
        accepted = fill.accept(
            search, round_number, random_spec(draws), macs=1000 * draws.randint(1, 4), seed=draws.choice((0, 0, 1))
        )
    except trials.AlreadyTried:
        return
    ending = draws.choice(("scored", "scored", "scored", "failed", "pruned", "trained", "running"))
    if ending == "failed":
        trainings.training_failed(fill.db, accepted.training, "out of memory", 1.0)
        trials.trial_failed(fill.db, accepted.trial, "out of memory")
    elif ending == "pruned" and not accepted.cached:
        fill.score(accepted.training, draws.choice(SCORES), protocol=protocols[1])
        trials.trial_pruned(fill.db, accepted.trial, "behind")
    elif ending != "running":
        trainings.training_finished(fill.db, accepted.training, steps_done=600, loss=0.1, device_seconds=3.0)
        trials.trial_trained(fill.db, accepted.trial)
        for seed in range(draws.choice((1, 1, 2)) if ending == "scored" else 0):
            fill.score(accepted.training, draws.choice(SCORES), seed, protocol=draws.choice(protocols))
        if ending == "scored":
            trials.trial_scored(fill.db, accepted.trial)
            said = {"ci_low": 0.5, "ci_high": 2.0} if draws.random() < 0.5 else {}
            words = {"baseline": draws.choice(WORDS), "incumbent": draws.choice(WORDS)}
            replicas.write_verdict(fill.db, accepted.trial, {**said, **words, "why_baseline": "", "why_incumbent": ""})


@pytest.mark.parametrize("seed", range(4))
def test_the_database_answers_what_all_rows_answer(fill: Any, seed: int) -> None:
    play(fill, random.Random(seed), rounds=14)
    check_derived(fill.db)
    check_answers(fill.db)


def test_an_infinite_score_is_no_score(fill: Any, search: int) -> None:
    for number, value in enumerate((1e308, -1e308, 4.0)):  # no row holds an infinity, but a mean may be one
        training = fill.accept(search, number, f"b{8 * (number + 1)}-n1-m1.2.2.2-a0000").training
        for seed in range(2):
            fill.score(training, value, seed)
    assert [row["rfid"] for row in records.best(fill.db, search)] == [4.0]
    check_answers(fill.db)


def test_a_memory_that_goes_back_in_time_answers_as_it_did_then(path: Path, fill: Any) -> None:
    play(fill, random.Random(7), rounds=5)
    now = moment(fill.db)
    with past_of(path) as past:
        for when in range(now, 0, -9):
            past.back_to(when)
            check_derived(past.db)
            if when in (now, now - 36):
                check_answers(past.db)


def test_the_newest_pairs_count_and_the_first_of_them_are_named(
    fill: Any, search: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, value in enumerate((8, 16, 24, 32)):
        fill.scored(search, number, f"b{value}-n1-m1.2.2.2-a0000", float(number))
        fill.finish(fill.accept(search, number + 10, f"b{value}-n2-m1.2.2.2-a0000"), float(2 * number))
    monkeypatch.setattr(effect, "MOST_PAIRED", 4)
    monkeypatch.setattr(effect, "MOST_PAIRS", 1)
    pairs = [row for row in effect.effect(fill.db, search, "base_channel") if row["kind"] == "pair"]
    assert [(row["from"], row["to"], row["count"], row["mean_difference"]) for row in pairs] == [(24, 32, 2, 1.5)]
    assert [row["trials"] for row in pairs[0]["pairs"]] == [[5, 7]]


@pytest.mark.parametrize(
    ("question", "through"),
    [
        (f"all_results AS seen WHERE protocol = 'p' AND search = 1 AND {BEST}", "standings_best"),
        (f"all_results AS seen WHERE protocol = 'p' AND {BEST}", "standings_top"),
        ("trainings CROSS JOIN results AS seen ON training = trainings.id WHERE trainings.network IN ('w', 'v')"
         " AND search = 1", "trainings_network"),
        ("trials WHERE search = 1 AND state IN ('failed', 'pruned') ORDER BY coalesce(finished, created), proposal",
         "trials_without_score"),
        ("proposals WHERE search = 1 AND accepted = 0 ORDER BY created", "proposals_refused"),
    ],
)  # fmt: skip
def test_a_question_goes_through_its_index_and_sorts_nothing(db: Database, question: str, through: str) -> None:
    plan = [row["detail"] for row in db.conn.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {question} LIMIT 10")]
    assert any(f"INDEX {through} " in step for step in plan), plan
    assert not any("ORDER BY" in step for step in plan), plan


def test_totals_are_those_of_all_entries(fill: Any, search: int) -> None:
    assert totals(fill.db, search) == Ledger()
    for _ in range(10):
        charge(fill.db, search, "wall", wall_seconds=0.1, device_seconds=0.1, cost_usd=0.1)
    summed = sum([0.1] * 10)  # in the order of the entries
    assert totals(fill.db, search) == Ledger(wall_seconds=summed, device_seconds=summed, cost_usd=summed)


def test_similar_knows_logarithms_where_sqlite_does_not(path: Path, fill: Any, search: int) -> None:
    fill.scored(search, 0, "b8-n1-m1.2.2.2-a0000", 1.0)
    with opened(path) as db:
        db.conn.create_function("log2", 1, None)
        found = similar.similar(db, search, UNetSpec.parse("b16-n1-m1.2.2.2-a0000"))
    assert [row["distance"] for row in found] == [1.0]
