"""What the reading commands show: plain values for scripts, and how they look to people."""

import json
from typing import Any

from rich.console import Console
from sqlite_utils import Database

from agent.report.tables import ledger_line, print_table, print_trials, say, score
from agent.report.words import NO_FAILURE, NO_SCORE
from diffusion.units import format_size
from memory.directives import DirectiveRow, active_directives
from memory.ledger import totals
from memory.queries.progress import search_counts
from memory.queries.records import best
from memory.searches import SearchRow, find_search, list_searches
from memory.trials import rounds_done

SHOWN_CHARACTERS = 60
DIRECTIVE_FIELDS = ("id", "kind", "arguments", "text", "author", "state", "created", "seen_round")


def search_status(db: Database, name: str | None) -> dict[str, Any]:
    """``status --json`` (CONTRACT.md)."""
    return _status(db, find_search(db, name))


def all_searches(db: Database) -> list[dict[str, Any]]:
    """``list --json``: the status of every search."""
    return [_status(db, row) for row in list_searches(db)]


def _status(db: Database, row: SearchRow) -> dict[str, Any]:
    ranking = best(db, row.id, limit=None)
    shown = [{name: found[name] for name in ("trial", "spec", "rfid", "metric", "macs", "params")} for found in ranking]
    baseline = next((short for short, found in zip(shown, ranking, strict=True) if found["round"] == 0), None)
    return {
        "search": row.id,
        "name": row.name,
        "state": row.state,
        "reason": row.reason,
        "round": max(rounds_done(db, row.id), 0),
        "rounds": row.rounds,
        "budget_macs": row.budget_macs,
        "count": row.count_convention,
        "backend": row.backend,
        "protocol": row.protocol,
        "best": shown[0] if shown else None,
        "baseline": baseline,
        "trials": search_counts(db, row.id),
        "ledger": totals(db, row.id).model_dump(),
        "directives": [_directive(found) for found in active_directives(db, row.id)],
        "created": row.created,
    }


def _directive(found: DirectiveRow) -> dict[str, Any]:
    """A directive as scripts read it; what it says is in its kind and arguments."""
    return {name: getattr(found, name) for name in DIRECTIVE_FIELDS}


def print_status(console: Console, found: dict[str, Any]) -> None:
    """One search in a few lines."""
    say(
        console,
        f"{found['name']} (search {found['search']}): {found['state']}, round {found['round']} of {found['rounds']}",
    )
    for title in ("best", "baseline"):
        if row := found[title]:
            macs = format_size(row["macs"][found["count"]])
            say(
                console,
                f"{title}: trial {row['trial']} {row['spec']}, {row['metric']} {score(row['rfid'])}, {macs} MACs",
            )
    say(console, f"protocol: {found['protocol']}")
    counts = ", ".join(f"{count} {state}" for state, count in found["trials"].items())
    say(console, f"trials: {counts}\nused: {ledger_line(found['ledger'])}")
    for directive in found["directives"]:
        say(console, f"directive {directive['id']} ({directive['kind']}): {directive['text']}")
    if found["state"] in ("interrupted", "paused"):
        chat = "/resume in a chat, or " if found["state"] == "paused" else ""
        say(console, f"go on with: {chat}diffnas-agent resume {found['name']}", whole=True)


def print_searches(console: Console, found: list[dict[str, Any]]) -> None:
    """All searches, one a line."""
    rows = [
        (
            row["name"],
            row["state"],
            f"{row['round']}/{row['rounds']}",
            row["best"]["spec"] if row["best"] else "–",
            score(row["best"]["rfid"]) if row["best"] else "–",
            row["best"]["metric"] if row["best"] else "–",
        )
        for row in found
    ]
    columns = ("name", "state", "round", "spec", "score", "metric")
    print_table(console, columns, rows, right="round,score")


def print_top(console: Console, found: list[dict[str, Any]]) -> None:
    """Trials in their order, with the protocol that makes them comparable."""
    if not found:
        say(console, NO_SCORE)
        return
    print_trials(console, found)
    say(console, f"{found[0]['metric']}, lower is better; protocol {found[0]['protocol']}")


def print_failures(console: Console, found: list[dict[str, Any]]) -> None:
    """Failures and refusals with their reasons."""
    if not found:
        say(console, NO_FAILURE)
        return
    rows = [(row["round"], row["kind"], row["spec"] or "–", row["proposer"], row["why"]) for row in found]
    print_table(console, ("round", "", "spec", "proposed by", "why"), rows)


def print_trial(console: Console, found: dict[str, Any]) -> None:
    """Everything about one trial, as indented JSON: what is not asked for often needs no table."""
    console.print_json(json.dumps(found))


def print_rows(console: Console, found: list[dict[str, Any]]) -> None:
    """Rows of a SELECT."""
    if not found:
        say(console, "no rows")
        return
    columns = list(found[0])
    print_table(console, columns, [[_cell(row[name]) for name in columns] for row in found])


def _cell(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
