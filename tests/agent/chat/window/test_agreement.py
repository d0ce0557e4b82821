"""Yes or no as people type it, and what else they type where one of them is due."""

import pytest

from agent.chat.window.agreement import agreement, yes_or_no

ANSWERS = {
    True: (
        "y",
        "Yes",
        "YES!",
        "sure",
        "ok",
        "okay.",
        "yes please",
        "Yes, please do",
        "sure thing",
        "go ahead",
        "do it",
    ),
    False: ("n", "No", "nope", "no thanks", "no, don't", "don’t", "No, please do not", "never", "leave it", "cancel"),
    None: ("", " ", "?", "maybe", "yes but only in stage 0", "no attention", "attn_0=0", "/status", "why?", "it"),
}


@pytest.mark.parametrize(("answer", "meant"), [(text, meant) for meant, texts in ANSWERS.items() for text in texts])
def test_what_an_answer_means(answer: str, meant: bool | None) -> None:
    assert yes_or_no(answer) is meant


def test_a_question_is_asked_until_it_is_answered_and_nothing_is_lost() -> None:
    lines, asked, said = iter(["maybe", "", "/status", "ok"]), list[str](), list[str]()

    def ask(question: str) -> str | None:
        asked.append(question)
        return next(lines)

    found = agreement(ask, said.append, "Give it? ")
    assert (found.agreed, found.else_typed, len(asked)) == (True, ["maybe", "/status"], 4)
    assert said[0] == "'maybe' is neither yes nor no; it is kept for afterwards."


def test_when_nobody_answers_any_more_it_is_no() -> None:
    assert agreement(lambda question: None, lambda line: None, "Give it? ").agreed is False
