"""Answers from the memory alone, by typed queries: what chat says without a language model, and what `/why` says.

Lines of plain text for people. Which question was meant is told by its words; what is not understood gives None.
"""

import re
from collections.abc import Callable
from typing import Any

from sqlite_utils import Database

from agent.report.tables import ledger_line, score
from agent.report.words import NO_FAILURE, NO_SCORE, trials_line
from diffusion.errors import UserError
from diffusion.spec import widths
from diffusion.units import format_size
from diffusion.verdicts import VERSUS_BASELINE
from memory.directives import all_directives, citations
from memory.ledger import totals
from memory.queries import progress, records
from memory.queries.effect import effect as effect_of
from memory.searches import SearchRow, find_search
from tools.gates.directive_kinds import described
from tools.jobs.replicate import noise_of

SHOWN_ROWS = 5
QUESTIONS = (
    "how far is it", "what is best", "why trial 3", "what failed", "how much is left", "what is noise",
    "what does width_0 do", "what did it cost", "which directives",
)  # fmt: skip
Lines = list[str]


def answer(db: Database, search: int, question: str) -> Lines | None:
    """The answer to a question in words, or None where the words are not understood."""
    text = question.lower()
    if match := re.search(r"\b(?:(round)|trial|why)\s+(\d{1,9})\b", text):
        return why(db, search, int(match[2]), is_round=bool(match[1]))
    if match := re.search(r"\b(base_channel|num_blocks|(?:mult|attn|width)_\d)\b", text):
        return effect(db, search, match[1])
    for words, told in BY_WORDS:
        if re.search(rf"\b(?:{words})", text):
            return told(db, search)
    return None


def standing(db: Database, search: int) -> str:
    """The state of the search and its rounds, in one line."""
    row = find_search(db, search)
    why = f" ({row.reason})" if row.reason not in (None, row.state) else ""
    rounds = f"{progress.rounds_over(db, row)} of {row.rounds} rounds done"
    return "; ".join([f"{row.name} is {row.state}{why}, {rounds}", *at_work(db, row)])


def at_work(db: Database, row: SearchRow) -> Lines:
    """What each round does that a process works on now."""
    return [f"round {each['round']} is {each['doing']}" for each in progress.under_way(db, row)]


def how_far(db: Database, search: int) -> Lines:
    """Where the search stands."""
    lines = [f"{standing(db, search)}.", trials_line(progress.search_counts(db, search))]
    lines += [
        f"Trial {each['trial']} of round {each['round']}, {_with_widths(each['spec'])}: {each['doing']}."
        for each in progress.running(db, search)
    ]
    return lines + best(db, search)[:1]


def best(db: Database, search: int) -> Lines:
    """The best trials, best first."""
    ranking = records.best(db, search, limit=SHOWN_ROWS)
    if not ranking:
        return [NO_SCORE]
    return [_trial_line(row) for row in ranking]


def failures(db: Database, search: int) -> Lines:
    """What failed or was refused, latest first."""
    rows = progress.failures(db, search, limit=SHOWN_ROWS)
    found = [f"Round {row['round']}, {row['kind']}: {row['spec'] or 'no valid spec'}. {row['why']}" for row in rows]
    return found or [NO_FAILURE]


def left(db: Database, search: int) -> Lines:
    """Rounds that are left, and what was used."""
    row = progress.remaining(db, search)[0]
    return [f"{row['rounds_left']} of {row['rounds']} rounds are left.", *cost(db, search)]


def cost(db: Database, search: int) -> Lines:
    """What was used."""
    return [f"Used: {ledger_line(totals(db, search))}."]


def noise(db: Database, search: int) -> Lines:
    """What retraining alone does to a score."""
    found = noise_of(db, search)
    if found is None:
        return ["Noise is unmeasured: it takes at least two scored training seeds of one spec."]
    return [
        f"Training again with another seed moves a score by about {found.cv:.1%} ({found.degrees_of_freedom} degrees "
        "of freedom); a difference of that size means nothing."
    ]


def directives(db: Database, search: int) -> Lines:
    """What the user has told the search, and what it has changed."""
    changed: dict[int, list[str]] = {}
    for row in citations(db, search, None):
        changed.setdefault(row["directive"], []).append(f"round {row['round']}: {row['what']}")
    lines = []
    for each in all_directives(db, search):
        since = f", obeyed since round {each.seen_round}" if each.seen_round is not None else ""
        lines.append(f"{described(each)} ({each.state}{since})")
        lines += [f"  {what}" for what in changed.get(each.id, [])]
    return lines or ["No directive was given yet; /help shows how to give one."]


def effect(db: Database, search: int, parameter: str) -> Lines:
    """What one of the numbers, or the width of a stage, seems to do: pairs that differ in nothing else come first."""
    try:
        rows = effect_of(db, search, parameter)
    except UserError as error:
        return [f"{error}."]
    lines = [
        f"{parameter} {row['from']} → {row['to']}, all else equal: {row['mean_difference']:+.4g} on average over "
        f"{row['count']} pair(s) of trials; below zero is better."
        for row in rows
        if row["kind"] == "pair"
    ]
    lines += [
        f"{parameter}={row['value']}, whatever else differs: mean {score(row['mean'])} over {row['count']}, best "
        f"{score(row['best'])} (trial {row['best_trial']})."
        for row in rows
        if row["kind"] == "value"
    ]
    return lines or [f"No scored trial says anything about {parameter} yet."]


def why(db: Database, search: int, number: int, *, is_round: bool = False) -> Lines:
    """Why a trial (or a round's trial) was tried, what came of it, and which directives had a part in it."""
    column = "round" if is_round else "trial"
    row = db.conn.execute(f"SELECT trial FROM results WHERE search = ? AND {column} = ?", [search, number]).fetchone()
    if row is None:
        known = db.conn.execute("SELECT max(trial) AS last FROM results WHERE search = ?", [search]).fetchone()["last"]
        return [f"'{number}' is not a {column} of this search; its latest trial is {known or 'not there yet'}."]
    shown = records.show_trial(db, row["trial"])
    lines = [
        f"Trial {shown['trial']} (round {shown['round']}): {_with_widths(shown['spec'])}, proposed by "
        f"{shown['proposer']}.",
        f"Its reason: {shown['reason'] or 'none was given'}",
        _outcome(shown),
    ]
    return lines + _cited(db, search, shown["round"])


def _cited(db: Database, search: int, round_number: int) -> Lines:
    rows = citations(db, search, round_number)
    return [f'Directive {row["directive"]}, "{row["text"]}", had a part in this round: {row["what"]}.' for row in rows]


def _outcome(shown: dict[str, Any]) -> str:
    if shown["rfid"] is None:
        return f"It {shown['state']}: {shown['error']}" if shown["error"] else f"It is {shown['state']}."
    return f"It scored {shown['metric']} {score(shown['rfid'])}: {VERSUS_BASELINE[shown['verdict']['baseline']]}."


def _trial_line(row: dict[str, Any]) -> str:
    macs = format_size(row["macs"]["paper"])
    against = "the baseline" if row["round"] == 0 else VERSUS_BASELINE[row["verdict"]["baseline"]]
    found = f"{row['metric']} {score(row['rfid'])} ({against}), {macs} MACs"
    return f"Trial {row['trial']}: {_with_widths(row['spec'])}, {found}."


def _with_widths(spec: str) -> str:
    return f"{spec} (widths {widths(spec)})"


BY_WORDS: tuple[tuple[str, Callable[[Database, int], Lines]], ...] = (
    ("fail|refus|wrong|error", failures),
    ("nois|seed|random", noise),
    ("left|remain|budget|how long", left),
    ("cost|spent|money|token|price|used", cost),
    ("directive|told|instruct|rule", directives),
    ("best|winner|leading|top", best),
    ("status|how far|progress|going|state|running|round", how_far),
)
