"""Yes or no, as people type it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

SIMPLY_YES = ("y", "yes", "yep", "yeah", "yup", "sure", "ok", "okay", "k", "fine", "right", "agreed", "ja", "j", "oui")
DO_SO = ("absolutely", "definitely", "certainly", "confirm", "confirmed", "go", "do", "give", "begin", "replace", "si")
YES = frozenset((*SIMPLY_YES, *DO_SO))
NO = frozenset(("n", "no", "nope", "nah", "not", "never", "don't", "dont", "cancel", "nein", "non"))
FILLERS = frozenset(
    ("please", "thanks", "thank", "you", "it", "that", "then", "so", "just", "of", "course", "ahead", "now", "thing")
)
PHRASES = {"of course": True, "please": True, "leave it": False}
ASKED_AGAIN = "neither yes nor no; it is kept for afterwards"


def yes_or_no(answer: str) -> bool | None:
    """What an answer means; None where it is neither."""
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\S+", answer.lower().replace("’", "'"))
    words = [word for word in words if any(char.isalnum() for char in word)]
    if (known := PHRASES.get(" ".join(words))) is not None:
        return known
    if words and words[0] in NO and all(word in NO | YES | FILLERS for word in words):
        return False  # "no, don't do it"
    return True if any(word in YES for word in words) and all(word in YES | FILLERS for word in words) else None


@dataclass
class Answer:
    """What a person answered: whether they agreed, and what else they typed while they were asked."""

    agreed: bool
    else_typed: list[str] = field(default_factory=list)


def agreement(ask: Callable[[str], str | None], say: Callable[[str], None], question: str) -> Answer:
    """Ask until the answer is yes or no; when no line comes any more it is no. Nothing that was typed is lost."""
    else_typed: list[str] = []
    while (line := ask(question)) is not None:
        meant = yes_or_no(line)
        if meant is not None:
            return Answer(meant, else_typed)
        if line.strip():
            else_typed.append(line.strip())
            say(f"'{line.strip()}' is {ASKED_AGAIN}.")
    return Answer(False, else_typed)
