"""The model card that an exported folder carries: what the model is, how to draw with it, and how its score was taken.

The text is the template beside this file. Whatever came from a model, a data set or a user is data: in a table it is
one escaped line, in the lineage it is JSON in which nothing can end the fence or become markup. Nothing is measured
here.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from diffusion.cost.closed_form import cost
from diffusion.frozen import Frozen
from diffusion.settings import Protocol
from diffusion.spec import SpecField, UNetSpec

TEMPLATE = "model_card.md.j2"
FOLDER = "path/to/this/folder"
MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+!|~&:@$])")  # what Markdown or HTML could take for more than text
INERT = "`<>&"  # written as \u escapes in JSON, which stays the same JSON
MOST_FEWER_STEPS = 100
FROM_FACTS = ("protocol", "step", "score", "data", "lineage", "versions", "student")
LONGEST_CELL = 500  # characters of foreign text in one cell


class CardScore(Frozen):
    """A score and what was measured with it; without replicas `ci95` is None and `training_seeds` 1."""

    value: float
    ci95: tuple[float, float] | None = None
    training_seeds: int = 1
    sampling_seed: int = 0
    kid: float | None = None
    kid_std: float | None = None
    precision: float | None = None
    recall: float | None = None


Row = tuple[str, str, str]  # what, the student's, its teacher's


@dataclass(frozen=True)
class Beside:
    """What was measured of a student and its teacher."""

    rows: tuple[Row, ...]
    verdict: str
    pictures: Mapping[str, Path]  # by the names that they have beside the card; none where a score drew other images


class StudentFacts(Frozen):
    """What a student has beside a spec."""

    choices: str
    """what is left of each unit, in one line"""
    retrained: bool
    costs: tuple[tuple[str, int, int], ...]
    """what is counted, of the student and of its teacher"""
    beside: tuple[Row, ...] = ()
    """what was measured, of the student and of its teacher"""
    verdict: str = ""
    """whether the student is better or worse beyond noise"""
    pictures: tuple[str, ...] = ()
    """files beside the card, drawn from the same noise"""


class ModelCardFacts(Frozen):
    """What a card is made from. The name of the score and all costs follow from `protocol` and `spec`.

    `data` holds the rows of the data card, label and value; `lineage` what JSON can hold, such as search, trial,
    proposer and reason; `versions` package names with their versions.
    """

    spec: SpecField
    protocol: Protocol
    step: int
    score: CardScore | None
    data: tuple[tuple[str, str], ...]
    lineage: dict[str, Any]
    versions: dict[str, str]
    student: StudentFacts | None = None


def model_card(facts: ModelCardFacts) -> str:
    """The text of ``README.md``, with front matter as the Hugging Face hub reads it."""
    protocol, spec = facts.protocol, facts.spec
    settings, steps = protocol.settings, protocol.strategy.diffusion_steps
    text = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            **{name: getattr(facts, name) for name in FROM_FACTS},
            spec=str(spec),
            base_channel=spec.base_channel,
            num_blocks=spec.num_blocks,
            channel_mult=spec.channel_mult,
            widths=spec.widths,
            attention=_attention(spec, settings.resolution),
            settings=settings,
            family=settings.family,
            folder=json.dumps(FOLDER),
            diffusion_steps=steps,
            fewer_steps=fewer_steps(steps),
            metric=protocol.score.metric,
            fingerprint=protocol.fingerprint,
            cost=cost(spec, settings.family, settings.resolution, settings.channels),
            rows=flat(protocol.model_dump(mode="json", exclude=_unsaid(protocol))),
        )
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _unsaid(protocol: Protocol) -> dict[str, Any]:
    """What a protocol has no word of: it was there before others had."""
    of_itself = {} if protocol.teacher else {"teacher": True}
    return of_itself | ({} if protocol.settings.values else {"settings": {"values"}})


def fewer_steps(diffusion_steps: int) -> int:
    """The largest number up to 100 that divides the steps: what diffusers' trailing spacing takes in equal strides."""
    return max(n for n in range(1, min(MOST_FEWER_STEPS, diffusion_steps // 2) + 1) if diffusion_steps % n == 0)


def flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """A nested object as rows of a dotted name and a value."""
    rows: list[tuple[str, object]] = []
    for name, entry in value.items():
        rows += flat(entry, f"{prefix}{name}.") if isinstance(entry, dict) else [(f"{prefix}{name}", entry)]
    return rows


def cell(value: object) -> str:
    """Foreign text as one line of plain text in a table."""
    line = " ".join("".join(char if char.isprintable() else " " for char in str(value)).split())
    line = line if len(line) <= LONGEST_CELL else line[: LONGEST_CELL - 1] + "…"
    return MARKUP.sub(r"\\\1", line) or "–"


def quoted(value: object) -> str:
    """JSON that no text inside can leave: backticks, angle brackets and what does not print are escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    return "".join(_inert(char) for char in text)


def _inert(char: str) -> str:
    if char in INERT:
        return f"\\u{ord(char):04x}"
    return char if char == "\n" or char.isprintable() else json.dumps(char)[1:-1]


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def _attention(spec: UNetSpec, resolution: int) -> str:
    sides = [f"{resolution >> stage}×{resolution >> stage}" for stage, flag in enumerate(spec.attn) if flag]
    return f"attention at {', '.join(sides)} and in the middle" if sides else "attention in the middle alone"


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown is escaped by `cell` and `quoted`
    )
    found.filters |= {"cell": cell, "quoted": quoted}
    found.globals["number"] = number
    return found
