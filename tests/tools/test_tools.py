"""The five tools as functions: what they give, what they refuse, and that nothing is spent before the gates agree."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from inprocess import InProcessExecutor
from pydantic import ValidationError
from searches import TinySearch

from agent.backends.repair import check_arguments
from diffusion.cost.closed_form import cost
from diffusion.spec import UNetSpec
from memory.connection import opened
from memory.directives import add_directive, undo_directive
from tools.count_flops import count, count_flops
from tools.errors import JobFailed, Refused, Unavailable
from tools.finish_search import finish
from tools.gates.specs import GATES, refusal
from tools.jobs.rescoring import Rescored, score_otherwise
from tools.jobs.scoring import score_trial, standing
from tools.jobs.training import train_candidate
from tools.query_memory import ask
from tools.train_ract import train_ract

A, B = UNetSpec.parse("b8-n1-m1.1.1.2-a0000"), UNetSpec.parse("b8-n1-m1.1.2.2-a0000")
DEAR = UNetSpec.parse("b32-n3-m4.4.4.4-a1111")
OUTSIDE = UNetSpec.parse("b12-n1-m1.1.1.1-a0000")


@pytest.fixture
def search(tmp_path: Path) -> TinySearch:
    return TinySearch(tmp_path)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> TinySearch:
    found = TinySearch(tmp_path_factory.mktemp("played"), {"rounds": 3})
    found.run()
    return found


class TestCountFlops:
    def test_it_gives_the_closed_form_and_the_share_of_the_budget(self, search: TinySearch) -> None:
        found = count(search.context(), A)
        known = cost(A, "ddpm", 8, 1)
        assert (found.params, found.macs) == (known.params, known.macs.paper)
        assert found.share_of_budget == round(known.macs.paper / 2_000_000, 3)
        assert found.within_budget and found.already_tried is None
        assert sum(found.share_of_each_stage or []) == pytest.approx(1, abs=0.02)

    def test_it_says_that_a_spec_is_over_the_budget_and_that_it_is_outside_the_space(self, search: TinySearch) -> None:
        assert not count(search.context(), DEAR).within_budget
        assert count(search.context(), DEAR).share_of_budget > 100
        assert count(search.context(), OUTSIDE).outside_space == (
            "base_channel=12 is outside the space digits-8: allowed are 8, 16, 24, 32"
        )

    def test_several_are_counted_in_one_call_and_what_was_tried_is_said(self, search: TinySearch) -> None:
        context = search.context(0)
        scored = score_trial(context, train_candidate(context, A, "A first try.").trial)
        text, rows = count_flops.func(specs=[A, DEAR, OUTSIDE], runtime=SimpleNamespace(context=context))  # type: ignore[attr-defined]
        assert json.loads(text) == rows["specs"]
        first, dear, outside = rows["specs"]
        assert first["already_tried"] == f"trial 1, {scored.rfid:.4g}" and first["within_budget"]
        assert not dear["within_budget"] and "already_tried" not in dear and "outside_space" in outside
        assert "share_of_each_stage" not in first
        assert not re.search(r"\d\.\d{4}", text)  # no 15-digit floats

    @pytest.mark.parametrize("given", [str(A), [str(A)], [A.model_dump(mode="json")], A.model_dump(mode="json")])
    def test_one_or_several_as_text_or_as_objects_are_understood(self, given: Any) -> None:
        assert check_arguments(count_flops, {"specs": given}).specs == [A]
        with pytest.raises(ValidationError):
            check_arguments(count_flops, {"specs": []})


class TestTrainRact:
    def test_one_call_trains_and_scores_with_interval_verdict_and_rank(self, search: TinySearch) -> None:
        context = search.context(0)
        text, said = train_ract.func(spec=A, reason="A first try.", runtime=SimpleNamespace(context=context))  # type: ignore[attr-defined]
        assert (said["status"], said["rank"], said["comparable"]) == ("trained", 1, 1)
        assert said["rfid"] == search.rows("SELECT rfid FROM results")[0]["rfid"] == said["best_so_far"]["rfid"]
        assert said["verdict"] == {"baseline": "unmeasured", "incumbent": "unmeasured"}
        assert json.loads(text)["trial"] == 1 and search.executor.evaluated == 1

    def test_a_training_that_fails_has_no_score_and_a_reason(
        self, search: TinySearch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*arguments: Any) -> None:
            raise JobFailed("out of memory")

        monkeypatch.setattr(search.executor, "train", fails)
        _, said = train_ract.func(spec=A, reason="Try.", runtime=SimpleNamespace(context=search.context(0)))  # type: ignore[attr-defined]
        assert (said["status"], said["rfid"], said["why"]) == ("failed", None, "out of memory")


class TestScoringOtherwise:
    def test_more_images_are_a_score_of_a_protocol_of_its_own(self, search: TinySearch) -> None:
        context = search.context(0)
        trial = train_candidate(context, A, "A first try.").trial
        first = score_trial(context, trial)
        assert score_otherwise(context, trial, {}) == first
        again = score_otherwise(context, trial, {"num_images": 64, "sampling_steps": 5})
        assert isinstance(again, Rescored)
        assert (again.num_images, again.sampling_steps) == (64, 5)
        assert again.protocol != context.limits.protocol.fingerprint and again.rfid is not None
        assert score_otherwise(context, trial, {"num_images": 64, "sampling_steps": 5}) == again
        assert search.executor.evaluated == 2
        assert standing(context, trial).rfid == first.rfid  # the search's own is as it was

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"feature_network": "vgg"}, "'vgg' is no feature network"),
            ({"sampler": "iddpm"}, "'iddpm' needs the learned variance"),
            ({"sampling_steps": 5_000}, "'5000' sampling steps are more than"),
        ],
    )
    def test_what_cannot_be_is_refused_in_one_sentence(
        self, search: TinySearch, changes: dict[str, Any], sentence: str
    ) -> None:
        context = search.context(0)
        trial = train_candidate(context, A, "A first try.").trial
        with pytest.raises(Refused, match=sentence):
            score_otherwise(context, trial, changes)


class TestGates:
    @pytest.mark.parametrize(
        ("spec", "kind", "sentence"),
        [
            (OUTSIDE, "outside_space", "base_channel=12 is outside the space digits-8: allowed are 8, 16, 24, 32."),
            (
                DEAR,
                "over_budget",
                "costs 294.3M MACs (paper), 292.3M over the budget of 2M; make it 147.16 times",
            ),
        ],
    )
    def test_a_refusal_says_what_would_be_right_and_is_a_row(
        self, search: TinySearch, spec: UNetSpec, kind: str, sentence: str
    ) -> None:
        with pytest.raises(Refused) as refused:
            train_candidate(search.context(), spec, "Why not.")
        assert refused.value.kind == kind
        assert sentence in str(refused.value)
        row = search.rows("SELECT * FROM proposals")[0]
        assert (row["accepted"], row["refusal_kind"], row["spec"]) == (0, kind, str(spec))
        assert row["refusal"] == str(refused.value)
        assert search.executor.trained == []
        assert search.rows("SELECT * FROM trainings") == []

    def test_the_honest_convention_counts_attention_too(self, tmp_path: Path) -> None:
        spec = UNetSpec.parse("b8-n1-m1.1.1.1-a1000")
        budget = cost(spec, "ddpm", 8, 1).macs.paper
        paper = TinySearch(tmp_path, {"budget": str(budget), "name": "p"})
        total = TinySearch(tmp_path, {"budget": str(budget), "count": "total", "name": "t"})
        assert refusal(paper.context(), spec) is None
        objection = refusal(total.context(), spec)
        assert objection is not None
        assert objection.kind == "over_budget"

    def test_another_spelling_of_a_tried_network_is_refused_with_its_trial_and_score(self, search: TinySearch) -> None:
        wide, anew = UNetSpec.parse("b16-n1-m1.1.1.1-a0000"), UNetSpec.parse("b8-n1-m2.2.2.2-a0000")
        context = search.context(1)
        trial = train_candidate(context, wide, "Plain.").trial
        assert train_candidate(context, anew, "The same, spelled anew.").trial == trial
        objection = refusal(search.context(2), anew)
        assert (
            str(objection)
            == f"{anew} is the network of trial {trial} ({wide}), under way in round 1. Propose a new spec."
        )
        score = score_trial(context, trial).rfid
        for spec, said in (
            (anew, f"is the network of trial {trial} ({wide}), which"),
            (wide, f"was tried already as trial {trial}: it"),
        ):
            objection = refusal(search.context(2), spec)
            assert objection is not None
            assert (objection.kind, str(objection)) == (
                "repeated",
                f"{spec} {said} scored {score:.4g}. Propose a new spec.",
            )
        assert len(search.executor.trained) == 1

    def test_every_gate_can_refuse(self, played: TinySearch) -> None:
        baseline = played.plan.baseline
        kinds = set()
        banned, other = UNetSpec.parse("b8-n1-m1.1.1.4-a0001"), UNetSpec.parse("b8-n1-m2.2.2.2-a0000")
        with opened(played.db) as db:
            number = add_directive(db, played.search, "ban", {"pattern": str(banned)}, "not that one")
        for spec, round_number in ((OUTSIDE, 9), (DEAR, 9), (baseline, 9), (other, 1), (banned, 9)):
            objection = refusal(played.context(round_number), spec)
            assert objection is not None
            kinds.add(objection.kind)
        with opened(played.db) as db:
            undo_directive(db, played.search, number)
        assert kinds == {"outside_space", "over_budget", "repeated", "round_taken", "directive"}
        assert len(GATES) == len(kinds)


class TestTrainRactAndEvaluateFid:
    def test_a_trial_is_trained_then_scored_and_both_are_charged(self, tmp_path: Path) -> None:
        search = TinySearch(tmp_path, executor=InProcessExecutor())
        context = search.context(0)
        trained = train_candidate(context, A, "A first try.")
        assert trained.status == "trained"
        scored = score_trial(context, trained.trial)
        assert scored.metric == "fid-digits-cnn"
        assert scored.rfid is not None
        assert scored.rfid > 0
        assert (scored.rank, scored.comparable) == (1, 1)
        assert scored.ci95 is None
        assert scored.verdict == {"baseline": "unmeasured", "incumbent": "unmeasured"}
        kinds = [row["kind"] for row in search.rows("SELECT kind FROM ledger ORDER BY id")]
        assert kinds == ["train", "score"]

    def test_both_give_what_is_stored_when_asked_again(self, search: TinySearch) -> None:
        context = search.context(0)
        trial = train_candidate(context, A, "A first try.").trial
        first = score_trial(context, trial)
        assert train_candidate(context, A, "Again.").trial == trial
        assert score_trial(context, trial) == first
        assert (search.executor.trained, search.executor.evaluated) == ([str(A)], 1)

    def test_scoring_what_is_not_there_is_terminal_and_what_is_not_trained_is_retryable(
        self, search: TinySearch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(Unavailable, match="no trial 7 in this search"):
            score_trial(search.context(0), 7)

        def stop(*arguments: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(search.executor, "train", stop)
        with pytest.raises(KeyboardInterrupt):
            train_candidate(search.context(0), A, "Stopped.")
        with pytest.raises(Refused, match="not trained yet"):
            score_trial(search.context(0), 1)

    @pytest.mark.parametrize("job", ["train", "evaluate"])
    def test_a_job_that_fails_is_a_failed_trial_with_its_reason(
        self, search: TinySearch, monkeypatch: pytest.MonkeyPatch, job: str
    ) -> None:
        def fails(*arguments: Any) -> None:
            raise JobFailed("out of memory: 3 GiB asked for")

        monkeypatch.setattr(search.executor, job, fails)
        context = search.context(0)
        trained = train_candidate(context, A, "Too large.")
        if job == "evaluate":
            assert score_trial(context, trained.trial).why == "out of memory: 3 GiB asked for"
        else:
            assert (trained.status, trained.why) == ("failed", "out of memory: 3 GiB asked for")
        row = search.rows("SELECT state, error FROM results")[0]
        assert row == {"state": "failed", "error": "out of memory: 3 GiB asked for"}
        with pytest.raises(Unavailable, match="failed"):
            score_trial(context, trained.trial)

    def test_a_reason_is_one_bounded_line(self, search: TinySearch) -> None:
        train_candidate(search.context(0), A, "Because\n\n# Round 9\n" + "x" * 1000)
        reason = search.rows("SELECT reason FROM proposals")[0]["reason"]
        assert "\n" not in reason
        assert len(reason) == 500


class TestQueryMemory:
    def test_best_comes_best_first_and_pareto_is_part_of_it(self, played: TinySearch) -> None:
        best = ask(played.context(), "best")
        assert [row["rfid"] for row in best] == sorted(row["rfid"] for row in best)
        assert len(best) == 4
        assert {row["trial"] for row in ask(played.context(), "pareto")} <= {row["trial"] for row in best}
        assert ask(played.context(), "best", limit=1) == best[:1]

    def test_remaining_tells_the_rounds_the_budget_and_the_space(self, played: TinySearch) -> None:
        row = ask(played.context(), "remaining")[0]
        assert (row["rounds_left"], row["budget_macs"]) == (0, 2_000_000)
        assert row["space"]["base_channel"] == (8, 16, 24, 32)

    def test_similar_starts_with_the_spec_itself(self, played: TinySearch) -> None:
        rows = ask(played.context(), "similar", spec=played.plan.baseline)
        assert (rows[0]["spec"], rows[0]["distance"]) == (str(played.plan.baseline), 0)

    def test_effect_compares_the_values_of_one_parameter(self, played: TinySearch) -> None:
        rows = ask(played.context(), "effect", parameter="base_channel")
        assert sum(row["count"] for row in rows if row["kind"] == "value") == 4

    def test_sql_reads(self, played: TinySearch) -> None:
        rows = ask(played.context(), "sql", sql="SELECT spec FROM results WHERE round = 0")
        assert rows == [{"spec": str(played.plan.baseline)}]

    @pytest.mark.parametrize(
        ("question", "parameters", "sentence"),
        [
            ("similar", {}, "question=similar needs spec"),
            ("effect", {}, "question=effect needs parameter, one of width_0, width_1, width_2, width_3, base_channel"),
            ("effect", {"parameter": "width"}, "not 'width'"),
            ("sql", {}, "question=sql needs sql"),
            ("sql", {"sql": "DELETE FROM trials"}, "DELETE may not be used"),
        ],
    )
    def test_a_question_that_cannot_be_answered_says_what_is_missing(
        self, played: TinySearch, question: Any, parameters: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(Refused, match=sentence):
            ask(played.context(), question, **parameters)

    def test_a_failure_is_found_with_its_reason(self, search: TinySearch) -> None:
        with pytest.raises(Refused):
            train_candidate(search.context(), DEAR, "Big.")
        rows = ask(search.context(), "failures")
        assert rows[0]["spec"] == str(DEAR)
        assert "over the budget" in json.dumps(rows)


def test_finish_search_is_refused_before_a_first_try_and_then_noted(search: TinySearch, played: TinySearch) -> None:
    with pytest.raises(Refused, match="Only the baseline has been tried"):
        finish(search.context(), "Bored.")
    assert search.context().services.finish_reasons == []
    finish(played.context(), "Nothing\nhelps. " + "x" * 1000)
    assert played.context().services.finish_reasons == [f"Nothing helps. {'x' * 285}"]
