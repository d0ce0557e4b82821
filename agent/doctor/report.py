"""What a visit of the doctor found; without anything that asks a model, which may not be importable."""

from dataclasses import dataclass

from agent.doctor.checks import Check
from agent.report.results import Result
from memory.backends import Way


@dataclass(frozen=True)
class Grade:
    """What became of one case."""

    name: str
    skill: str
    passed: bool
    why: str | None
    calls: int
    seconds: float


class Skill(Result):
    """How many cases of a skill were passed."""

    passed: int
    cases: int


class ExamReport(Result):
    """The result of an exam."""

    llm: str
    """the backend"""
    base_url: str | None
    """its server, or null"""
    answers: Way
    """how it is asked: `tools`, `json_schema` or `fenced_json`"""
    passed: int
    """cases passed"""
    cases: int
    """cases in all: 20"""
    score: float
    """the share that was passed"""
    usable: bool
    """whether that is enough: 12 or more"""
    skills: dict[str, Skill]
    """`{passed, cases}` for each skill"""
    tokens_per_second: float | None
    """tokens written by the second, reading the prompt included; null if the server tells no numbers"""
    calls: int
    """calls of the model"""
    input_tokens: int
    """tokens read"""
    output_tokens: int
    """tokens written"""
    cost_usd: float | None
    """what that cost; null if the price is unknown"""
    seconds: float
    """how long the exam took"""
    results: list[Grade]
    """a list of `{name, skill, passed, why, calls, seconds}`; `why` is null where nothing was wrong"""


class Visit(Result):
    """``doctor --json``."""

    checks: list[Check]
    """a list of `{name, state, found, remedy}`; `state` is `ok`, `warning` or `failed`"""
    model: ExamReport | None
    """the exam of `--llm`, or null without it"""
