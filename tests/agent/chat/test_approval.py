"""``--approve``: nothing is spent before a person has said yes, and what a person changed stays changed."""

import json
from pathlib import Path
from typing import Any

import pytest
from model_server import Answer, Brain, Call, serve
from planted import STEPS, Planted
from searches import TinySearch

from agent.chat.approval import Approver
from agent.cli.main import main
from agent.search.wiring import context_maker
from diffusion.spec import UNetSpec
from memory.connection import opened
from memory.transcript import decision_on

A, B = "b8-n1-m1.1.1.2-a0000", "b8-n1-m1.1.2.1-a0000"
BASELINE = "b8-n1-m1.1.1.1-a0000"
TOO_DEAR = "b32-n3-m4.4.4.4-a1111"


class Person:
    """Answers in order; keeps what was asked."""

    def __init__(self, *answers: str | None) -> None:
        self.answers, self.questions = list(answers), list[str]()

    def __call__(self, question: str) -> str | None:
        self.questions.append(question)
        return self.answers.pop(0) if self.answers else None


def asking(folder: Path, person: Person, **options: Any) -> TinySearch:
    """A search that asks a person before each training."""
    search = TinySearch(folder, {"train_steps": STEPS, **options})
    search.executor = Planted()
    search.make_context = context_maker(
        search.search, search.plan, search.executor, search.stop, search.report, approve=Approver(person)
    )
    return search


def proposes(*specs: str) -> Brain:
    """Trains one spec after the other."""
    left = iter(specs)

    def brain(messages: list[dict[str, Any]]) -> Answer:
        return Call("train_ract", {"spec": next(left), "reason": "It is next."})

    return brain


def played(folder: Path, person: Person, *specs: str, rounds: int = 1) -> tuple[TinySearch, list[dict[str, Any]]]:
    with serve(proposes(*specs)) as server:
        search = asking(folder, person, llm="openai:scripted", base_url=server.url, rounds=rounds)
        search.run()
    return search, server.requests


def test_each_proposal_is_asked_about_with_its_cost_and_reason(tmp_path: Path) -> None:
    person = Person("a", "yes")
    search, _ = played(tmp_path, person, A)
    assert search.executor.specs == [BASELINE, A]
    assert person.questions[0].startswith(f"Round 0: train {BASELINE}? ")
    assert f"Round 1: train {A}? " in person.questions[1]
    assert "% of the budget" in person.questions[1] and "openai:scripted: It is next." in person.questions[1]


def test_a_rejection_spends_nothing_and_its_reason_reaches_the_model(tmp_path: Path) -> None:
    search, requests = played(tmp_path, Person("a", "r too deep for me", "a"), A, B)
    assert search.executor.specs == [BASELINE, B]
    told = requests[1]["messages"][-1]["content"]
    assert told == f"The user rejected {A}: too deep for me. Propose a spec that heeds this."
    refused = search.rows("SELECT spec, refusal_kind, reason FROM proposals WHERE accepted = 0")
    assert refused == [{"spec": A, "refusal_kind": "rejected", "reason": "It is next."}]


def test_an_edit_is_the_rounds_trial_and_is_not_undone_by_the_model(tmp_path: Path) -> None:
    brain = iter([Call("train_ract", {"spec": A, "reason": "It is next."})])
    with serve(lambda messages: next(brain)) as server:
        search = asking(tmp_path, Person("a", B), llm="openai:scripted", base_url=server.url, rounds=1)
        search.run()
    assert search.executor.specs == [BASELINE, B]
    assert len(server.requests) == 1  # the round is over: nobody is asked to undo it
    row = search.rows("SELECT spec, proposer, reason FROM results WHERE round = 1")[0]
    assert row["proposer"] == "user"
    assert row["reason"] == f"The user's change of {A}, which openai:scripted had proposed: It is next."


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("maybe", "'maybe' is not an answer"),
        ("r", "'r' lacks the reason"),
        ("b8-n1", "'b8-n1' is not a spec"),
        (TOO_DEAR, f"'{TOO_DEAR}': {TOO_DEAR} costs "),
        (f"e {BASELINE}", f"'e {BASELINE}': {BASELINE} was tried already as trial 1"),
    ],
)
def test_what_is_no_answer_is_asked_again_in_words(tmp_path: Path, typed: str, said: str) -> None:
    person = Person("a", typed, "a")
    search, _ = played(tmp_path, person, A)
    assert person.questions[2].startswith(said)
    assert search.executor.specs == [BASELINE, A]


def test_a_baseline_cannot_be_rejected_but_changed(tmp_path: Path) -> None:
    person = Person("r not this one", B, "a")
    search, _ = played(tmp_path, person, A)
    assert "a search begins with a baseline" in person.questions[1]
    assert search.executor.specs == [B, A]


def test_a_rejected_fallback_is_followed_by_another(tmp_path: Path) -> None:
    from model_server import Say

    person = Person("a", "r I dislike it", "a")
    with serve(lambda messages: Say("I only talk.")) as server:
        search = asking(tmp_path, person, llm="openai:scripted", base_url=server.url, rounds=1)
        search.run()
    rejected = search.rows("SELECT spec FROM proposals WHERE refusal_kind = 'rejected'")[0]["spec"]
    assert len(search.executor.specs) == 2
    assert rejected not in search.executor.specs


def test_nobody_to_answer_interrupts_the_search_before_anything_is_spent(tmp_path: Path) -> None:
    search = asking(tmp_path, Person("a"))
    assert search.run() == "interrupted"
    assert search.executor.specs == [BASELINE]


def test_a_resume_does_not_ask_twice(tmp_path: Path) -> None:
    class Killed(BaseException):
        """What a kill looks like from inside."""

    search = asking(tmp_path, Person(B))
    context = search.make_context(0, "baseline")
    search.executor.train = lambda *arguments: (_ for _ in ()).throw(Killed())
    from tools.jobs.training import train_candidate

    with pytest.raises(Killed):
        train_candidate(context, UNetSpec.parse(BASELINE), "The baseline.")
    with opened(search.db, read_only=True) as db:
        assert decision_on(db, search.search, 0, UNetSpec.parse(BASELINE)) == {
            "proposed": BASELINE,
            "spec": B,
            "rejected": None,
        }
    approver = Approver(Person())
    decided = approver(context, UNetSpec.parse(BASELINE), "The baseline.")
    assert str(decided.spec) == B


@pytest.mark.parametrize(("given", "approve"), [([], False), (["--approve"], True), (["--approve", "--yes"], False)])
def test_the_last_word_on_asking_counts(
    given: list[str], approve: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["diffnas-agent", "run", "--dry-run", "--json", "--set", "train_steps=1", *given]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit):
        main()
    assert json.loads(capsys.readouterr().out)["settings"]["approve"]["value"] is approve
