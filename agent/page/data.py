"""What a page about a search holds, as models that JSON can hold: the report writes it into a file, others serve it.

All text goes through one gate on its way in: what acts on a reader instead of being read is spelled out, and it is
bounded. Markup is not escaped here: that is for whoever writes markup.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from agent.report.results import Result
from diffusion.units import printable, visible
from memory.searches import CountConvention, Kind, State

LONGEST_TEXT = 2_000  # characters of one reason, refusal or directive


def shown(text: object) -> object:
    """Foreign text on one line, cut where it is long; anything else as it is."""
    return _cut(printable(" ".join(text.split()))) if isinstance(text, str) else text


def shown_lines(text: object) -> object:
    """The same with its line breaks."""
    return _cut(visible(text)) if isinstance(text, str) else text


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


Text = Annotated[str, BeforeValidator(shown)]
Lines = Annotated[str, BeforeValidator(shown_lines)]


class About(Result):
    """The search itself."""

    search: int
    name: Text
    kind: Kind
    state: State
    reason: Text | None
    """why it ended"""
    created: str
    finished: str | None
    written: str
    """when this was read"""
    version: str
    """of diffnas-agent"""
    dataset: Text
    resolution: int
    channels: int
    family: str
    searcher: Text
    backend: Text
    bench: Text | None
    """the table in which results were looked up"""
    budget_macs: int
    count: CountConvention
    rounds: int
    rounds_done: int
    metric: Text
    protocol: str


class Said(Result):
    """What the search is for and what came of it, a sentence each."""

    goal: Text
    result: Text
    more: list[Text]
    """what else has to be known of the result"""
    recommended: int | None
    """the trial that the result is about"""
    is_measured: bool
    """whether the result rests on more than one training"""


class Point(Result):
    """A trial."""

    trial: int
    round: int
    begun: str
    finished: str | None
    spec: str
    widths: str
    state: str
    score: float | None
    low: float | None
    """lower end of the score's 95 % interval"""
    high: float | None
    paper: int
    """multiply-accumulates by either convention"""
    total: int
    params: int
    proposer: Text
    cached: bool
    verdict: str | None
    """against the baseline, by its first score"""
    seconds: float
    """of training"""
    reason: Text
    """the proposer's sentence"""
    error: Text | None
    training: int


class Seed(Result):
    """A further training of a trial's spec, with another seed."""

    trial: int
    seed: int
    state: str
    score: float | None
    finished: str | None
    is_race: bool
    """whether it was made in the race at the end"""


class Refusal(Result):
    """A proposal that was refused."""

    round: int
    at: str
    proposer: Text
    spec: Text | None
    kind: Text
    why: Text


class Given(Result):
    """A directive of the user."""

    directive: int
    at: str
    round: int | None
    """the first that obeyed it"""
    says: Text
    """what it means"""
    text: Text
    """what was typed"""
    author: Text
    state: str
    ended: str | None


class Race(Result):
    """What the race at the end has shown so far."""

    finalists: list[str]
    begun: str | None
    ended: str | None
    recommended: str
    verdict: str
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    why: Text


class Mean(Result):
    """The scores of the trials that have a parameter at one value: their geometric mean with its 95 % interval."""

    value: int
    trials: int
    mean: float
    low: float | None
    high: float | None


class Step(Result):
    """Two values of a parameter, over pairs of trials that differ in nothing else: the ratio of the scores."""

    before: int
    after: int
    pairs: int
    ratio: float
    """below 1 is better"""
    low: float | None
    high: float | None


class Effect(Result):
    """What a parameter seems to do."""

    parameter: str
    label: str
    means: list[Mean]
    steps: list[Step]


class Curve(Result):
    """How the loss of a training went."""

    trial: int
    spec: str
    role: Literal["best", "baseline", "other"]
    points: list[tuple[int, float]]


class Grid(Result):
    """Images that a trial drew; two of one seed began with the same noise."""

    trial: int
    spec: str
    role: Literal["best", "baseline"]
    seed: int
    path: str
    """of the file, on this machine"""


class Table(Result):
    """A table; numbers are text already."""

    caption: Text
    columns: list[Text]
    rows: list[list[Text]]


class Figure(Result):
    """What one of the drawing functions draws: its name there, and its data."""

    draws: Literal["regret", "ranking", "sizes", "strategies"]
    title: Text
    says: Text
    """what is seen, for who cannot see it"""
    data: list[dict[str, Any]]


class Finding(Result):
    """What another command found, or this one's own result where it has a shape of its own."""

    anchor: str
    title: Text
    says: list[Text]
    figures: list[Figure]
    tables: list[Table]


class Loading(Result):
    """How the model is had: commands and lines of Python to be copied, or why it cannot be."""

    says: Text
    command: Lines | None
    python: Lines | None


class PageData(Result):
    """Everything about a search that a page shows."""

    about: About
    """the search: name, kind, state, data set, budget, rounds, who proposes, protocol"""
    said: Said
    """`goal` and `result` in a sentence each, `more` that has to be known of it, the trial that is `recommended`"""
    counts: dict[str, int]
    """how many trials are scored, failed, pruned, trained and running, how many proposals refused"""
    trials: list[Point]
    """its trials by round, of very many the best, the newest and some between"""
    left_out: int
    """trials that are not among them"""
    fronts: dict[CountConvention, list[int]]
    """the trials that none beats in score and cost, cheapest first, by either convention"""
    seeds: list[Seed]
    """further trainings with other seeds, of the baseline and of the race"""
    refusals: list[Refusal]
    """proposals that were refused"""
    directives: list[Given]
    """what the user told it"""
    race: Race | None
    """what the race at the end has shown"""
    effects: list[Effect]
    """what each parameter seems to do"""
    curves: list[Curve]
    """how the loss of the best trainings went"""
    grids: list[Grid]
    """images of the best and of the baseline, from one noise"""
    findings: list[Finding]
    """what `compare`, `rank-study`, `compress`, `confirm` and `strategy` found"""
    ledger: list[Table]
    """what it used"""
    protocol: list[tuple[Text, Text]]
    """how every number was taken"""
    load: Loading
    """how to have the model"""
