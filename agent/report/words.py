"""Sentences for people that are said in more than one place, each spelled once."""

from collections.abc import Mapping

NO_SCORE = "No trial has a score yet."
NO_FAILURE = "No trial failed and no proposal was refused."
NO_MODEL = "No language model is in charge"


def trials_line(counts: Mapping[str, int]) -> str:
    """How the trials and proposals of a search ended."""
    return (
        f"Trials: {counts['scored']} scored, {counts['failed']} failed, {counts['pruned']} stopped early; "
        f"{counts['refused']} proposals refused."
    )
