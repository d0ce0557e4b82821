"""One self-contained HTML file: the data of a page, the template, and the assets within it.

The policy in its head lets this very script run, these styles and embedded images, and nothing else: a browser refuses
to load or to send anything. Every text is escaped by the template; the data lie in a block that is not run, in which no
text can end the block.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agent.page.assets import CHARTS, LIBRARIES, PAGE, REPORT, STYLE, asset
from agent.page.data import Effect, PageData, Point, Step, Table
from agent.page.pictures import as_data_url
from agent.page.points import ranked
from agent.report.tables import NONE, how_scored, score, span
from diffusion.settings import Protocol
from diffusion.units import format_size

TEMPLATE = "report.html.j2"
COLUMNS = (
    "trial", "round", "spec", "widths", "score", "95 % interval", "MACs paper", "MACs total", "params", "state",
    "against the baseline", "proposed by", "why",
)  # fmt: skip
NOT_DRAWN: dict[str, Any] = {
    "trials": {"__all__": {"reason", "error", "training"}},
    "ledger": True,
    "protocol": True,
    "load": True,
}
"""Parts of the data that the tables hold and no figure needs."""
INERT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})

NO_PICTURES = "No images were kept: they are drawn when a trained network is scored, and a table of results has none."
ONE_NOISE = "Both began with the same noise, image by image."
OTHER_NOISE = "They were drawn from different noise, so single images do not compare."
COURSE = (
    "Dots are trials, the line is the best score so far, hollow diamonds are further trainings with other seeds; they "
    "move no line. Crosses below are refusals and failures, dotted lines directives, the shaded part the race."
)


def html_of(page: PageData, protocol: Protocol) -> str:
    """The whole file."""
    script = "\n".join(asset(name) for name in (*LIBRARIES, CHARTS, PAGE, REPORT))
    pictures = [(grid, url) for grid in page.grids if (url := as_data_url(Path(grid.path)))]
    rounds = list(rounds_of(page))
    return _environment().get_template(TEMPLATE).render(
        page=page,
        policy=policy_for(script),
        style=Markup(asset(STYLE)),  # ours
        script=Markup(script),  # ours
        data=Markup(embedded(page.model_dump(mode="json", exclude=NOT_DRAWN))),  # nothing in it ends it
        sections=sections_of(page, rounds),
        facts=facts_of(page),
        scored=ranked(page.trials),
        course_says=COURSE,
        means=means_of(page),
        steps=steps_of(page),
        pictures=pictures,
        pictures_say=_say_pictures(page, len(pictures)),
        curves=curves_of(page),
        columns=COLUMNS,
        rows=[row_of(each) for each in page.trials],
        rounds=rounds,
        how=f"Scores are {how_scored(protocol)}.",
        protocol=Table(caption="Protocol", columns=["what", "value"], rows=[list(row) for row in page.protocol]),
    )  # fmt: skip


def policy_for(script: str) -> str:
    """What a browser may do with the file."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(value: Any) -> str:
    """JSON for a block in a page: what could end the block, or a line of a script, is an escape."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(INERT)


def sections_of(page: PageData, rounds: list[Any]) -> list[tuple[str, str]]:
    """What is there, as anchors with titles."""
    scored, findings = bool(ranked(page.trials)), [(each.anchor, each.title) for each in page.findings]
    known: list[tuple[bool, str, str]] = [
        (scored, "cost", "Score and cost"),
        (scored, "course", "Course"),
        (bool(page.effects), "effects", "Parameters"),
        (True, "samples", "Samples"),
        (True, "curves", "Training curves"),
        *((True, anchor, title) for anchor, title in findings),
        (bool(page.trials), "all-trials", "Trials"),
        (bool(rounds), "reasoning", "Reasoning"),
        (True, "load", "Load the model"),
        (True, "ledger", "Ledger"),
        (True, "protocol", "How it was measured"),
    ]
    return [(anchor, title) for is_there, anchor, title in known if is_there]


def facts_of(page: PageData) -> list[tuple[str, str]]:
    """The search in a few boxes."""
    about, counts = page.about, page.counts
    trials = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"
    state = about.state if about.reason is None else f"{about.state}: {about.reason}"
    return [
        ("state", state),
        ("rounds done", f"{about.rounds_done} of {about.rounds}"),
        ("trials and proposals", trials),
        ("data", f"{about.dataset}, {about.resolution}×{about.resolution}×{about.channels}"),
        ("budget", f"{format_size(about.budget_macs)} MACs ({about.count})"),
        ("who proposes", f"{about.searcher} ({about.backend})"),
        ("begun", moment(about.created)),
        ("protocol", about.protocol),
        *([("results from", f"the table {about.bench}")] if about.bench else []),
    ]


def row_of(each: Point) -> list[str]:
    """A trial as cells."""
    sizes = [format_size(number) for number in (each.paper, each.total, each.params)]
    state = f"{each.state}, cached" if each.cached else each.state
    verdict = "baseline" if each.round == 0 else each.verdict or NONE
    why = ". ".join(filter(None, (each.reason.rstrip("."), each.error)))
    return [
        str(each.trial), str(each.round), each.spec, each.widths, score(each.score), span(each.low, each.high),
        *sizes, state, verdict, each.proposer, why,
    ]  # fmt: skip


def rounds_of(page: PageData) -> Iterator[tuple[int, str, list[str]]]:
    """For each round what it came to, and what was said in it."""
    refused: dict[int, list[str]] = {}
    for each in page.refusals:
        asked = f" {each.spec}" if each.spec else ""
        refused.setdefault(each.round, []).append(f"{each.proposer} proposed{asked}; refused ({each.kind}): {each.why}")
    trials = {each.round: each for each in page.trials}
    for number in sorted(refused.keys() | trials.keys()):
        trial, lines = trials.get(number), refused.get(number, [])
        if trial is not None:
            lines = [*lines, f"{trial.proposer}: {trial.reason or 'no reason was given'}", _came_to(trial, page)]
        told = f"{trial.spec}, {_outcome(trial)}" if trial else f"{len(lines)} refused"
        yield number, told, lines


def _outcome(trial: Point) -> str:
    return trial.state if trial.score is None else score(trial.score)


def _came_to(trial: Point, page: PageData) -> str:
    if trial.score is None:
        return f"{trial.state}: {trial.error}" if trial.error else f"{trial.state}, without a score yet"
    interval = "" if trial.low is None else f" ({span(trial.low, trial.high)})"
    against = f", {trial.verdict} against the baseline" if trial.verdict else ""
    return f"scored {page.about.metric} {score(trial.score)}{interval}{against}"


def means_of(page: PageData) -> Table:
    """Means by value as a table."""
    rows = [
        [each.label, str(mean.value), str(mean.trials), score(mean.mean), _between(mean.low, mean.high)]
        for each in page.effects
        for mean in each.means
    ]
    columns = ["parameter", "value", "trials", "mean score", "95 % interval"]
    return Table(caption="Mean scores by value (confounded)", columns=columns, rows=rows)


def steps_of(page: PageData) -> Table:
    """Pairs that differ in one parameter as a table."""
    rows = [
        [each.label, _change(each, step), str(step.pairs), f"{step.ratio:.3g} ×",
         _between(step.low, step.high)]
        for each in page.effects
        for step in each.steps
    ]  # fmt: skip
    columns = ["parameter", "change", "pairs", "the score becomes", "95 % interval"]
    return Table(caption="Pairs of trials that differ in this alone; below 1 is better", columns=columns, rows=rows)


def _change(effect: Effect, step: Step) -> str:
    if effect.parameter.startswith("attn_"):
        return "off → on"
    return f"{step.before} → {step.after}"


def curves_of(page: PageData) -> Table:
    """Where each curve begins and ends."""
    rows = [
        [str(each.trial), each.spec, each.role, f"{each.points[0][1]:.4g} at {each.points[0][0]:,}",
         f"{each.points[-1][1]:.4g} at {each.points[-1][0]:,}"]
        for each in page.curves
    ]  # fmt: skip
    return Table(caption="Loss at steps", columns=["trial", "spec", "role", "begins", "ends"], rows=rows)


def _between(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{low:.3g} to {high:.3g}"


def _say_pictures(page: PageData, shown: int) -> str:
    if not shown:
        return NO_PICTURES
    if shown == 1:
        return f"The other has no images here: of the {page.grids[0].role} alone there are."
    return ONE_NOISE if len({each.seed for each in page.grids}) == 1 else OTHER_NOISE


def moment(text: str) -> str:
    """A stored time for people."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    found.filters["moment"] = moment
    return found
