"""The tables of docs/searchers.md: ``diffnas-agent compare … --json > FILE``, then this with FILE."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def tables(found: Mapping[str, Any]) -> str:
    """Regret with intervals, how soon the best were tried, and which pairs the test tells apart, in Markdown."""
    marks = list(found["searchers"][0]["regret"])
    head = ["searcher", *(f"regret after {mark}, %" for mark in marks), "recommended, %", *_shares(found), "diversity"]
    rows = [[each["searcher"], *(_percent(each["regret"][mark]) for mark in marks), _percent(each["recommended"])]
            + [_reached(each, share) for share in each["reached"]] + [f"{each['diversity']['mean']:.2f}"]
            for each in found["searchers"]]  # fmt: skip
    if found["chance"]:
        chance = [f"{100 * found['chance'][mark]:.2f}" for mark in marks]
        rows.append(["*chance*", *chance, *[""] * (len(head) - 1 - len(marks))])
    blocks = [_markdown(head, rows)]
    for mark in marks:
        names = [each["searcher"] for each in found["searchers"]]
        rows = [[a, *(_pair(found, mark, a, b) for b in names)] for a in names]
        blocks.append(_markdown([f"after {mark}", *names], rows))
    return "\n\n".join(blocks)


def _shares(found: Mapping[str, Any]) -> list[str]:
    return [f"best {each['share']:.0%} ({each['networks']})" for each in found["searchers"][0]["reached"]]


def _percent(mean: Mapping[str, Any]) -> str:
    """``1.23 (0.98 to 1.51)``"""
    between = "" if mean["low"] is None else f" ({100 * mean['low']:.2f} to {100 * mean['high']:.2f})"
    return f"{100 * mean['mean']:.2f}{between}"


def _reached(searcher: Mapping[str, Any], share: Mapping[str, Any]) -> str:
    """How many searches tried one, and after how many evaluations."""
    median = "" if share["evaluations"] is None else f", {share['evaluations']:g}"
    return f"{share['reached']} of {searcher['seeds']}{median}"


def _pair(found: Mapping[str, Any], mark: str, a: str, b: str) -> str:
    """The corrected p of a pair, in bold where the row's searcher is the better one; a dash with itself."""
    if a == b:
        return "–"
    pair = next(
        each for each in found["pairs"] if each["evaluations"] == int(mark) and {each["a"], each["b"]} == {a, b}
    )
    text = f"{pair['p_corrected']:.3f}" if pair["p_corrected"] >= 0.001 else "<0.001"
    return f"**{text}**" if pair["better"] == a else text


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    print(tables(json.loads(Path(sys.argv[1]).read_text())))
