"""What ``diffnas-agent doctor`` does: a line for each check, the exam of a model, and the exit code.

What asks a model is imported when one is examined: the checks are to say so if that cannot be imported at all.
"""

from rich.console import Console

from agent.config.settings import RunConfig
from agent.config.sources import Resolved
from agent.doctor.checks import Check, checks
from agent.doctor.report import ExamReport, Grade, Visit
from agent.report.console import foreign, people, put_json
from agent.report.results import plain
from agent.report.tables import mark, say
from diffusion.errors import command
from memory.backends import remember_backend
from memory.connection import check_memory, opened

UNFIT = 1  # a check failed, or the model did not pass
MARKS = {"ok": "[green]ok[/green]     ", "warning": "[yellow]warning[/yellow]", "failed": "[red]failed[/red] "}


def visit(resolved: Resolved, *, as_json: bool) -> int:
    """Check everything, examine the model if one was asked for, and say what was found; the exit code.

    Raises:
        UserError: the model cannot be asked from here.
    """
    settings = resolved.config
    asked = resolved.sources["llm"] == "option"
    console = people(stderr=as_json)
    if asked:
        from agent.backends.registry import check_backend

        check_backend(settings.backend.llm, settings.backend.base_url)  # said before any work
    found = _checked(console, settings)
    _say_what_follows(console, settings, found)
    report = _examined(console, settings) if asked else None
    if as_json:
        put_json(plain(Visit(checks=found, model=report)))
    failed = any(check.state == "failed" for check in found)
    return UNFIT if failed or (report and not report.usable) else 0


def _checked(console: Console, settings: RunConfig) -> list[Check]:
    """Look at everything, a line for each."""
    found = []
    for check in checks(settings):
        found.append(check)
        mark(console, f"{MARKS[check.state]} {check.name}: {foreign(check.found)}")
        if check.remedy:
            say(console, f"        {check.remedy}", whole=True)
    return found


def _say_what_follows(console: Console, settings: RunConfig, found: list[Check]) -> None:
    """How much is to be mended, or what comes next where nothing is."""
    failed = [check.name for check in found if check.state == "failed"]
    warned = [check.name for check in found if check.state == "warning"]
    if failed:
        say(console, f"{len(failed)} of {len(found)} checks failed: {', '.join(failed)}; what mends it stands above.")
        return
    but = f" but for {', '.join(warned)}, without which a search does" if warned else ""
    say(console, f"Everything is there{but}. Next:")
    say(console, f"    {command('run', '--preset', settings.search.preset, db=settings.places.db)}", whole=True)


def _examined(console: Console, settings: RunConfig) -> ExamReport:
    """Hold the exam, a line for each case, and remember what came of it."""
    from agent.backends.registry import make_chain
    from agent.doctor.exam import examine

    check_memory(settings.places.db)
    backend = make_chain(settings.changed(llm_fallbacks=None))[0]
    say(console, f"\nExamining {backend.address}; no GPU is used.")
    report = examine(backend, lambda grade: _say_grade(console, grade))
    with opened(settings.places.db) as db:
        remember_backend(
            db,
            report.llm,
            report.base_url,
            report.answers,
            source="doctor",
            passed=report.passed,
            cases=report.cases,
            tokens_per_second=report.tokens_per_second,
            detail=plain(report)["results"],
        )
    _say_report(console, report)
    return report


def _say_grade(console: Console, grade: Grade) -> None:
    verdict = "[green]passed[/green]" if grade.passed else "[red]failed[/red]"
    why = f": {foreign(grade.why)}" if grade.why else ""
    mark(console, f"{verdict} {grade.skill}: {grade.name}{why}")


def _say_report(console: Console, report: ExamReport) -> None:
    """The score by skill, the speed, and what follows."""
    from agent.doctor.exam import PASS_MARK

    console.line()
    for skill, count in report.skills.items():
        say(console, f"  {skill:<29} {count.passed} of {count.cases}")
    speed = report.tokens_per_second
    told = f"{speed:.1f} tokens a second" if speed else "the server tells no numbers of tokens"
    ways = {"tools": "tool calls", "json_schema": "a JSON schema", "fenced_json": "fenced JSON"}
    say(
        console,
        f"{report.llm}: {report.passed} of {report.cases}, asked by {ways[report.answers]}, {told}; "
        f"{report.calls} calls in {report.seconds:.0f} s. A search will ask it in the same way.",
    )
    if not report.usable:
        say(
            console,
            f"Below {PASS_MARK} most rounds end with the fallback's proposal; take another model, or --llm offline.",
        )
