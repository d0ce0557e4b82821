"""What ``--memory`` says is told to whoever proposes: nothing, this search, or every search of the protocol."""

from pathlib import Path
from typing import Any

import pytest
from searches import TinySearch

from agent.chat.conversation import Chat
from agent.chat.window.voice import Voice
from agent.searchers.ask_tell import seen_by
from agent.searchers.model.digest import round_values
from diffusion.spec import UNetSpec
from memory.connection import opened
from prompts.render import render
from tools.errors import Refused
from tools.jobs.scoring import score_trial
from tools.jobs.training import train_candidate
from tools.query_memory import Question, ask
from tools.suggest_architectures import suggested

FIRST = ("b8-n1-m1.1.1.1-a0000", "b8-n1-m1.1.1.2-a0000", "b8-n2-m1.1.1.1-a0000")
SECOND = ("b8-n1-m1.1.1.1-a0000", "b8-n1-m1.1.2.1-a0000")
OF_TRIALS: tuple[tuple[Question, dict[str, Any]], ...] = (
    ("best", {}),
    ("pareto", {}),
    ("similar", {"spec": UNetSpec.parse(FIRST[0])}),
    ("effect", {"parameter": "num_blocks"}),
    ("failures", {}),
    ("sql", {"sql": "SELECT * FROM results"}),
)


NARROW = {"name": "narrow", "base_channel": [8], "num_blocks": [1]} | {
    "channel_mult": [[1], [1], [1, 2], [1, 2]],
    "attn": [[False]] * 4,
}


def two_searches(folder: Path, memory: str) -> TinySearch:
    """The second of two searches in one memory, with its baseline and a trial."""
    for name, specs, told in (("first", FIRST, "search"), ("second", SECOND, memory)):
        search = TinySearch(folder, {"name": name, "memory": told})
        for number, text in enumerate(specs):
            context = search.context(number)
            score_trial(context, train_candidate(context, UNetSpec.parse(text), "Because.").trial)
    return search


def specs_in(rows: list[dict[str, Any]]) -> set[str]:
    return {row["spec"] for row in rows}


class TestNothing:
    @pytest.fixture
    def search(self, tmp_path: Path) -> TinySearch:
        return two_searches(tmp_path, "none")

    def test_the_prompt_of_a_round_names_no_trial(self, search: TinySearch) -> None:
        with opened(search.db) as db:
            values = round_values(db, search.context(2))
        text = render("round", **values)
        assert not any(spec in text for spec in (*FIRST, *SECOND))
        assert (values["baseline"], values["best"], values["recent"], values["effects"]) == (None, [], [], {})
        assert "Left: 2 rounds" in text

    def test_what_this_round_refused_is_told(self, search: TinySearch) -> None:
        for number in (1, 2):
            with pytest.raises(Refused):
                train_candidate(search.context(number), UNetSpec.parse(SECOND[number - 1]), "Again.")
        with opened(search.db) as db:
            (told,) = round_values(db, search.context(2))["failures"]
        assert SECOND[1] in told

    @pytest.mark.parametrize(("question", "arguments"), OF_TRIALS, ids=lambda value: str(value)[:8])
    def test_the_memory_answers_nothing_about_trials(
        self, search: TinySearch, question: Question, arguments: dict[str, Any]
    ) -> None:
        with pytest.raises(Refused, match=f"^question={question} has no answer: this search tells of no trial"):
            ask(search.context(2), question, **arguments)

    def test_what_is_left_is_still_said(self, search: TinySearch) -> None:
        train_candidate(search.context(2), UNetSpec.parse("b8-n2-m1.1.2.1-a0000"), "It has no score yet.")
        (left,) = ask(search.context(3), "remaining")
        assert left["rounds_left"] == 2 and left["space"]["num_blocks"] and left["running"] == []

    def test_searchers_and_the_surrogate_know_of_nothing(self, search: TinySearch) -> None:
        context = search.context(2)
        seen = seen_by(context)
        assert seen.trials == ()
        assert not seen.allowed(seen.feasible[:0]).any() and len(seen.feasible)
        tried = [UNetSpec.parse(text).row for text in SECOND]
        assert not any(tuple(row) in tried for row in seen.feasible.tolist())  # a gate would refuse them
        assert suggested(context, 1).note.startswith("There are 0 scores")

    def test_a_person_may_ask(self, search: TinySearch) -> None:
        chat = Chat(search.context(0), Voice.__new__(Voice), lambda *_: None)
        assert specs_in(ask(chat.context, "best")) == set(SECOND)

    def test_a_search_of_the_offline_backend_ends(self, tmp_path: Path) -> None:
        for searcher in ("llm", "centaur", "local"):
            options = {"searcher": searcher, "memory": "none", "name": searcher, "space": NARROW}
            search = TinySearch(tmp_path, options)
            assert search.run() == "rounds"


class TestThisSearch:
    def test_only_its_own_trials_are_told(self, tmp_path: Path) -> None:
        context = two_searches(tmp_path, "search").context(2)
        assert [str(trial.spec) for trial in seen_by(context).trials] == list(SECOND)
        assert specs_in(ask(context, "best")) == set(SECOND)
        with opened(context.db_path) as db:
            assert specs_in(round_values(db, context)["best"]) == set(SECOND)


class TestEverySearch:
    @pytest.fixture
    def search(self, tmp_path: Path) -> TinySearch:
        return two_searches(tmp_path, "all")

    def test_trials_of_others_come_before_its_own(self, search: TinySearch) -> None:
        seen = seen_by(search.context(2))
        assert [str(trial.spec) for trial in seen.trials] == [*FIRST, *SECOND]

    def test_the_memory_answers_from_all(self, search: TinySearch) -> None:
        context, everything = search.context(2), {*FIRST, *SECOND}
        assert specs_in(ask(context, "best")) == everything
        assert specs_in(ask(context, "similar", spec=UNetSpec.parse(FIRST[0]))) == everything
        values = [row["value"] for row in ask(context, "effect", parameter="num_blocks") if row["kind"] == "value"]
        assert values == [1, 2]
        with opened(search.db) as db:
            assert specs_in(round_values(db, context)["best"]) == everything

    def test_of_another_space_what_lies_in_this_one_is_told(self, tmp_path: Path, search: TinySearch) -> None:
        found = TinySearch(tmp_path, {"name": "third", "memory": "all", "space": NARROW})
        told = {str(trial.spec) for trial in seen_by(found.context(1)).trials}
        assert told == {"b8-n1-m1.1.1.1-a0000", "b8-n1-m1.1.1.2-a0000", "b8-n1-m1.1.2.1-a0000"}
